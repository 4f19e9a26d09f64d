"""What OpenAI's Chat Completions refuse.

Sources: recorded 400s (unsupported parameters, roles, tools beside reasoning), the SDK's request types, public reports.
"""

import re
from typing import Any, NoReturn

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.rules.chat import check_kinds, objects, unpaired

_FIELDS = names(
    "audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages metadata "
    "modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key prompt_cache_options "
    "prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier stop store stream "
    "stream_options temperature tool_choice tools top_logprobs top_p user verbosity web_search_options"
)
_MESSAGE_FIELDS = {
    "system": {"role", "content", "name"},
    "developer": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "audio", "function_call"},
    "tool": {"role", "content", "tool_call_id"},
    "function": {"role", "content", "name"},
}
_PARTS = {"text", "image_url", "input_audio", "file", "refusal"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_VERSION = re.compile(r"gpt-(\d+)(?:\.(\d+))?")
_ALWAYS_REASONING = re.compile(r"gpt-6-astra|gpt-6\.[12]-sol")
MAX_ID = 40


def check(body: dict[str, Any]) -> None:
    """Raise `RefusedError` for what the endpoint refuses."""
    for name in body:
        if name not in _FIELDS:
            raise RefusedError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    check_kinds(body)
    _check_messages(body)
    _check_tools(body)
    _check_parameters(body)


def _check_messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if messages is None:
        raise RefusedError(400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    if messages == []:
        _empty_array("messages")
    for index, message in objects(messages, "messages"):
        _check_message(message, f"messages[{index}]", index)
    if body["model"].startswith(("o1-mini", "o1-preview")) and messages[0].get("role") in ("system", "developer"):
        role = messages[0]["role"]
        text = f"Unsupported value: 'messages[0].role' does not support '{role}' with this model."
        raise RefusedError(400, text, param="messages[0].role", code="unsupported_value")
    _check_pairs(messages)


def _check_message(message: dict[str, Any], where: str, index: int) -> None:
    role = message.get("role")
    if role not in _MESSAGE_FIELDS:
        known = ", ".join(f"'{name}'" for name in ("system", "assistant", "user", "function", "tool", "developer"))
        text = f"Invalid value: '{role}'. Supported values are: {known}."
        raise RefusedError(400, text, param=f"{where}.role", code="invalid_value")
    for name in message:
        if name not in _MESSAGE_FIELDS[role]:
            text = f"Unknown parameter: '{where}.{name}'."
            raise RefusedError(400, text, param=f"{where}.{name}", code="unknown_parameter")
    content = message.get("content")
    if content is None and not (role == "assistant" and (message.get("tool_calls") or message.get("refusal"))):
        text = "Invalid value for 'content': expected a string, got null."
        raise RefusedError(400, text, param=f"messages.[{index}].content")
    _check_content(content, f"{where}.content")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        text = f"Missing required parameter: '{where}.tool_call_id'."
        raise RefusedError(400, text, param=f"{where}.tool_call_id", code="missing_required_parameter")
    _check_calls(message, where)


def _check_content(content: Any, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if content == []:
        _empty_array(where)
    for index, part in objects(content, where):
        kind = part.get("type")
        if kind not in _PARTS:
            known = ", ".join(f"'{name}'" for name in sorted(_PARTS))
            text = f"Invalid value: '{kind}'. Supported values are: {known}."
            raise RefusedError(400, text, param=f"{where}[{index}].type", code="invalid_value")
        image = part.get("image_url")
        if kind == "image_url" and not (isinstance(image, dict) and isinstance(image.get("url"), str)):
            text = f"Invalid type for '{where}[{index}].image_url': expected an object with a url."
            raise RefusedError(400, text, param=f"{where}[{index}].image_url", code="invalid_type")


def _check_calls(message: dict[str, Any], where: str) -> None:
    if "tool_calls" not in message:
        return
    if not message["tool_calls"]:
        _empty_array(f"{where}.tool_calls")
    for index, call in objects(message["tool_calls"], f"{where}.tool_calls"):
        at = f"{where}.tool_calls[{index}]"
        call_id, function = call.get("id"), call.get("function")
        if not isinstance(call_id, str) or call.get("type") != "function" or not isinstance(function, dict):
            raise RefusedError(
                400, f"Missing required parameter: '{at}.id'.", param=f"{at}.id", code="missing_required_parameter"
            )
        if len(call_id) > MAX_ID:
            text = (
                f"Invalid '{at}.id': string too long. Expected a string with maximum length {MAX_ID}, "
                f"but got a string with length {len(call_id)} instead."
            )
            raise RefusedError(400, text, param=f"{at}.id", code="string_above_max_length")
        if not isinstance(function.get("arguments"), str):
            text = f"Invalid type for '{at}.function.arguments': expected a string, but got something else instead."
            raise RefusedError(400, text, param=f"{at}.function.arguments", code="invalid_type")
        check_name(function.get("name"), f"{at}.function.name")


def _check_pairs(messages: list[dict[str, Any]]) -> None:
    broken = unpaired(messages)
    if broken is None:
        return
    param = f"messages.[{broken.index}].role"
    if broken.kind == "stray":
        text = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
        raise RefusedError(400, text, param=param)
    if broken.kind == "duplicate":
        raise RefusedError(400, f"Invalid parameter: duplicate value for 'tool_call_id' in {', '.join(broken.ids)}.", param=param)
    text = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(broken.ids)}"
    )
    raise RefusedError(400, text, param=param)


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                raise RefusedError(400, f"'{name}' is only allowed when 'tools' are specified.", param=name)
        return
    if not tools:
        _empty_array("tools")
    names = []
    for index, tool in objects(tools, "tools"):
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            text = f"Missing required parameter: 'tools[{index}].function'."
            raise RefusedError(400, text, param=f"tools[{index}].function", code="missing_required_parameter")
        check_name(function.get("name"), f"tools[{index}].function.name")
        names.append(function["name"])
        parameters = function.get("parameters")
        if parameters is not None and (not isinstance(parameters, dict) or parameters.get("type", "object") != "object"):
            text = f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of 'type: \"object\"'."
            raise RefusedError(400, text, param=f"tools[{index}].function.parameters", code="invalid_function_parameters")
    _check_choice(body.get("tool_choice"), names)


def _check_choice(choice: Any, names: list[str]) -> None:
    if choice is None or choice in ("auto", "none", "required"):
        return
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if not isinstance(function, dict):
        raise RefusedError(400, "Invalid value for 'tool_choice'.", param="tool_choice", code="invalid_value")
    if function.get("name") not in names:
        text = f"Tool choice '{function.get('name')}' not found in 'tools' parameter."
        raise RefusedError(400, text, param="tool_choice")


def check_name(name: Any, where: str) -> None:
    """Raise `RefusedError` for what is no tool's name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f"Invalid '{where}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        raise RefusedError(400, text, param=where, code="invalid_value")


def _check_parameters(body: dict[str, Any]) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise RefusedError(400, text, param="stream_options")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise RefusedError(400, text, code="invalid_parameter_combination")
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 2:
        text = f"Invalid 'temperature': decimal out of range. Expected a value between 0 and 2, but got {temperature}."
        raise RefusedError(400, text, param="temperature", code="decimal_out_of_range")
    if is_reasoning(body["model"]):
        _check_reasoning(body, body["model"])
    elif body.get("reasoning_effort") is not None:
        _unsupported("reasoning_effort")


def is_reasoning(model: str) -> bool:
    """Whether a model of this name reasons before it answers."""
    return bool(re.match(r"o\d|gpt-(5|[6-9])", model)) and "-chat" not in model


def _check_reasoning(body: dict[str, Any], model: str) -> None:
    if body.get("max_tokens") is not None:
        _unsupported("max_tokens", " Use 'max_completion_tokens' instead.")
    for name in ("stop", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty"):
        if body.get(name):
            _unsupported(name)
    effort = body.get("reasoning_effort")
    if effort == "none" and (_version(model) < (5, 1) or _ALWAYS_REASONING.match(model)):
        text = "Unsupported value: 'reasoning_effort' does not support 'none' with this model."
        raise RefusedError(400, text, param="reasoning_effort", code="unsupported_value")
    for name in ("temperature", "top_p"):
        if body.get(name) not in (None, 1) and effort != "none":
            text = (
                f"Unsupported value: '{name}' does not support {body[name]} with this model. "
                "Only the default (1) value is supported."
            )
            raise RefusedError(400, text, param=name, code="unsupported_value")
    # 5.4 and 5.5 do not reason unless told to; later ones do unless told not to.
    reasons = effort != "none" if _version(model) >= (5, 6) else effort not in (None, "none")
    if body.get("tools") and _version(model) >= (5, 4) and reasons:
        text = (
            f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. "
            "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
        )
        raise RefusedError(400, text, param="reasoning_effort")


def _version(model: str) -> tuple[int, int]:
    found = _VERSION.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _unsupported(name: str, hint: str = "") -> NoReturn:
    text = f"Unsupported parameter: '{name}' is not supported with this model.{hint}"
    raise RefusedError(400, text, param=name, code="unsupported_parameter")


def _empty_array(where: str) -> NoReturn:
    text = f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array instead."
    raise RefusedError(400, text, param=where, code="empty_array")
