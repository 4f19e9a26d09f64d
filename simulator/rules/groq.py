"""What Groq refuses, beyond what its models cannot do.

Sources: public reports of its schema errors (`'messages.2' : for 'role:assistant' the following must be satisfied[…]`), the
SDK's request types.
"""

from typing import Any, NoReturn

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.rules.chat import check_kinds, objects, unpaired

_FIELDS = names(
    "citation_options compound_custom disable_tool_validation documents exclude_domains frequency_penalty function_call "
    "functions include_domains include_reasoning max_completion_tokens max_tokens messages metadata model n "
    "parallel_tool_calls presence_penalty reasoning_effort reasoning_format response_format search_settings seed "
    "service_tier stop store stream stream_options temperature tool_choice tools top_p user"
)
_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "function_call"},
    "tool": {"role", "content", "name", "tool_call_id"},
    "function": {"role", "content", "name"},
}
_EFFORTS = {"qwen3": {"none", "default"}, "gpt-oss": {"low", "medium", "high"}}


def check(body: dict[str, Any]) -> None:
    """Raise `RefusedError` for what the endpoint refuses."""
    for name in body:
        if name not in _FIELDS:
            raise RefusedError(400, f"property '{name}' is unsupported")
    check_kinds(body)
    if body.get("n") not in (None, 1):
        raise RefusedError(400, "'n' : number must be at most 1")
    messages = body.get("messages")
    if not messages:
        raise RefusedError(400, "'messages' : minimum number of items is 1")
    for index, message in objects(messages, "messages"):
        _check_message(message, f"messages.{index}")
    _check_pairs(messages)
    _check_tools(body)
    _check_reasoning(body)


def _check_message(message: dict[str, Any], where: str) -> None:
    role = message.get("role")
    if role not in _MESSAGE_FIELDS:
        raise RefusedError(400, f"'{where}' : discriminator property 'role' has invalid value")
    for name in message:
        if name not in _MESSAGE_FIELDS[role]:
            _unsatisfied(where, role, where, f"property '{name}' is unsupported")
    if role == "tool" and not message.get("tool_call_id"):
        _unsatisfied(where, role, f"{where}.tool_call_id", "property 'tool_call_id' is missing")
    content = message.get("content")
    if content is None and not (role == "assistant" and message.get("tool_calls")):
        _unsatisfied(where, role, f"{where}.content", "property 'content' is missing")
    if not isinstance(content, str | list | None):
        _unsatisfied(where, role, f"{where}.content", "value must be a string")
    for index, call in objects(message.get("tool_calls", []), f"{where}.tool_calls"):
        function = call.get("function")
        if not call.get("id") or not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
            _unsatisfied(where, role, f"{where}.tool_calls.{index}", "value must be a function call with an id")


def _check_pairs(messages: list[dict[str, Any]]) -> None:
    broken = unpaired(messages)
    if broken is not None:
        raise RefusedError(400, f"'messages.{broken.index}' : tool call ids {', '.join(broken.ids)}: {broken.kind}")


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        return
    names = set()
    for index, tool in objects(tools, "tools"):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict) or not function.get("name"):
            raise RefusedError(400, f"'tools.{index}.function' : property 'name' is missing")
        if not isinstance(function.get("parameters", {}), dict):
            raise RefusedError(400, f"'tools.{index}.function.parameters' : value must be an object")
        names.add(function["name"])
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and (choice.get("function") or {}).get("name") not in names:
        raise RefusedError(400, "Tool choice is not one of the tools provided")


def _check_reasoning(body: dict[str, Any]) -> None:
    if body.get("reasoning_format") is not None and body.get("include_reasoning") is not None:
        raise RefusedError(400, "cannot specify both reasoning_format and include_reasoning")
    effort = body.get("reasoning_effort")
    for family, known in _EFFORTS.items():
        later = family == "qwen3" and "qwen3.8" in body["model"]
        if effort is not None and family in body["model"] and effort not in known and not later:
            choices = ", ".join(f"`{name}`" for name in sorted(known))
            raise RefusedError(400, f"`reasoning_effort` must be one of {choices}")


def _unsatisfied(where: str, role: str, at: str, what: str) -> NoReturn:
    raise RefusedError(400, f"'{where}' : for 'role:{role}' the following must be satisfied[('{at}' : {what})]")
