"""What Anthropic's Messages refuse.

Sources: recorded 400s, the SDK's request types, public reports, the vendor's notes on models from Opus 4.6 on and on the
API version 2026-10-21.
"""

import re
from typing import Any, NoReturn

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.signatures import verdict

LATEST = "2026-10-21"
VERSIONS = ("2023-06-01", LATEST)
_FIELDS = names(
    "cache_control container context_management diagnostics inference_geo max_tokens mcp_servers messages metadata model "
    "output_config service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p "
    "user_profile_id workspace_id betas"
)
BLOCKS = names(
    "bash_code_execution_tool_result code_execution_tool_result compaction container_upload document fallback image "
    "mcp_tool_result mcp_tool_use redacted_thinking search_result server_tool_use text text_editor_code_execution_tool_result "
    "thinking tool_reference tool_result tool_search_tool_result tool_use web_fetch_tool_result web_search_tool_result"
)
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_NO_SAMPLING = re.compile(r"claude-(opus-4-[7-9]|opus-[5-9]|sonnet-[5-9]|haiku-[5-9]|fable-)")
_NO_PREFILL = re.compile(r"claude-(opus-4-[6-9]|sonnet-4-[6-9]|opus-[5-9]|sonnet-[5-9]|haiku-[5-9]|fable-)")


def check(body: dict[str, Any], version: str) -> None:
    """Raise `RefusedError` for what the endpoint refuses under an API version."""
    for name in body:
        if name not in _FIELDS:
            _refuse(f"{name}: Extra inputs are not permitted")
    max_tokens = body.get("max_tokens")
    if max_tokens is None:
        _refuse("max_tokens: Field required")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        _refuse("max_tokens: Input should be greater than or equal to 1")
    _check_messages(body)
    _check_system(body.get("system"))
    _check_tools(body)
    if version == LATEST:
        _check_latest(body)
    _check_sampling(body)


def _check_latest(body: dict[str, Any]) -> None:
    """What is refused from 2026-10-21 on, whatever the model."""
    for name in ("temperature", "top_p", "top_k"):
        if name in body:
            _refuse(f"{name}: Extra inputs are not permitted")
    for index, message in enumerate(body["messages"]):
        for number, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            where = f"messages.{index}.content.{number}"
            if message["role"] == "assistant" and block["type"] == "document":
                _refuse(f"{where}: `document` blocks are not permitted in `assistant` messages")
            if message["role"] == "user" and block["type"] == "text" and block.get("citations"):
                _refuse(f"{where}: `citations` are not permitted on `text` blocks in `user` messages")


def _check_messages(body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if messages is None:
        _refuse("messages: Field required")
    if not isinstance(messages, list) or not messages:
        _refuse("messages: at least one message is required")
    used: list[str] = []
    role = ""
    for index, message in enumerate(messages):
        _check_message(message, index, role, last=index == len(messages) - 1)
        role = message["role"]
        used = _check_results(message, index, used)
    if used:
        _unanswered(len(messages) - 1, used)
    if role == "assistant" and _NO_PREFILL.match(body["model"]):
        _refuse("This model does not support assistant message prefill. The conversation must end with a user message.")


def _check_message(message: Any, index: int, before: str, *, last: bool) -> None:
    if not isinstance(message, dict):
        _refuse(f"messages.{index}: Input should be a valid dictionary or object")
    for name in message:
        if name not in ("role", "content"):
            _refuse(f"messages.{index}.{name}: Extra inputs are not permitted")
    role = message.get("role")
    _check_role(role, index, before)
    content = message.get("content")
    if content is None:
        _refuse(f"messages.{index}.content: Field required")
    may_be_empty = last and role == "assistant"
    if not content and not may_be_empty:
        _refuse(f"messages.{index}: all messages must have non-empty content except for the optional final assistant message")
    if isinstance(content, list):
        for number, block in enumerate(content):
            _check_block(block, f"messages.{index}.content.{number}", role)
    elif not isinstance(content, str):
        _refuse(f"messages.{index}.content: Input should be a valid string or list")
    elif not content.strip() and not may_be_empty:
        _refuse("messages: text content blocks must contain non-whitespace text")


def _check_role(role: Any, index: int, before: str) -> None:
    if role == "system":
        _refuse(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
            'not "system" as an input message role.'
        )
    if role not in ("user", "assistant"):
        _refuse(f"messages.{index}.role: Input should be 'user' or 'assistant'")
    if index == 0 and role != "user":
        _refuse('messages: first message must use the "user" role')
    if role == before:
        # The live endpoint merges these nowadays; a client that relies on it has lost the shape of its history.
        _refuse(f'messages: roles must alternate between "user" and "assistant", but found multiple "{role}" roles in a row')


def _check_block(block: Any, where: str, role: Any) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in BLOCKS:
        known = ", ".join(f"'{name}'" for name in sorted(BLOCKS))
        _refuse(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {known}")
    if kind == "text":
        _check_text(block.get("text"), where, role)
    elif kind == "tool_use":
        _check_tool_use(block, where)
    elif kind == "thinking":
        _check_thinking(block, where)
    elif kind == "tool_result" and not isinstance(block.get("tool_use_id"), str):
        _refuse(f"{where}.tool_result.tool_use_id: Field required")
    elif kind == "image" and (block.get("source") or {}).get("type") not in ("base64", "url", "file"):
        _refuse(f"{where}.image.source: Field required")


def _check_tool_use(block: dict[str, Any], where: str) -> None:
    if not isinstance(block.get("id"), str) or not _ID.fullmatch(block["id"]):
        _refuse(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block.get("input"), dict):
        _refuse(f"{where}.tool_use.input: Input should be a valid dictionary")
    if not isinstance(block.get("name"), str) or not block["name"]:
        _refuse(f"{where}.tool_use.name: Field required")


def _check_thinking(block: dict[str, Any], where: str) -> None:
    if not isinstance(block.get("signature"), str) or not block["signature"]:
        _refuse(f"{where}.thinking.signature: Field required")
    if verdict(block["signature"], block.get("thinking")) in ("broken", "moved"):
        _refuse(f"{where}: Invalid `signature` in `thinking` block")


def _check_text(text: Any, where: str, role: Any) -> None:
    if not isinstance(text, str):
        _refuse(f"{where}.text.text: Field required")
    if not text:
        _refuse("messages: text content blocks must be non-empty")
    # A recorded request shows that an assistant's blank text is taken.
    if not text.strip() and role == "user":
        _refuse("messages: text content blocks must contain non-whitespace text")


def _check_results(message: dict[str, Any], index: int, used: list[str]) -> list[str]:
    """Check a message against the calls of the one before; return its own calls' ids."""
    blocks = message["content"] if isinstance(message["content"], list) else []
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    for call_id in results:
        if call_id not in used:
            _refuse(
                f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
    if len(set(results)) < len(results):
        _refuse(f"messages.{index}.content: each tool_use must have a single result. Found multiple `tool_result` blocks.")
    leading = [block["type"] for block in blocks[: len(results)]]
    if sorted(results) != sorted(used) or leading.count("tool_result") != len(results):
        _unanswered(index - 1, used)
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if len(set(calls)) < len(calls):
        _refuse(f"messages.{index}: `tool_use` ids must be unique")
    return calls


def _unanswered(index: int, used: list[str]) -> NoReturn:
    _refuse(
        f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(used)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _check_system(system: Any) -> None:
    if isinstance(system, list):
        for block in system:
            if not isinstance(block, dict) or block.get("type") != "text" or not block.get("text"):
                _refuse("system: text content blocks must be non-empty")
    elif system is not None and not isinstance(system, str):
        _refuse("system: Input should be a valid string or list")


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools")
    choice = body.get("tool_choice")
    names = []
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            _refuse(f"tools.{index}: Input should be a valid dictionary or object")
        if tool.get("type") not in (None, "custom"):
            continue
        name, schema = tool.get("name"), tool.get("input_schema")
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            _refuse(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if not isinstance(schema, dict):
            _refuse(f"tools.{index}.custom.input_schema: Field required")
        if schema.get("type") != "object":
            _refuse(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
        for extra in tool:
            if extra in ("parameters", "function", "inputSchema"):
                _refuse(f"tools.{index}.custom.{extra}: Extra inputs are not permitted")
        names.append(name)
    if len(set(names)) < len(names):
        _refuse("tools: Tool names must be unique.")
    if choice is not None:
        _check_choice(choice, names)


def _check_choice(choice: Any, names: list[str]) -> None:
    if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
        _refuse("tool_choice: Input should be a valid dictionary or object to extract fields from")
    if not names:
        _refuse("tool_choice: tool_choice may only be specified while providing tools.")
    if choice["type"] == "tool" and choice.get("name") not in names:
        _refuse(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_sampling(body: dict[str, Any]) -> None:
    model, thinking = body["model"], body.get("thinking")
    if thinking is not None and not isinstance(thinking, dict):
        _refuse("thinking: Input should be a valid dictionary or object to extract fields from")
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        _refuse("temperature: range: 0..1")
    if _NO_SAMPLING.match(model):
        for name in ("temperature", "top_p", "top_k"):
            if body.get(name) not in (None, 1):
                _refuse(f"`{name}` is deprecated for this model.")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    if _NO_SAMPLING.match(model):
        _refuse('"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" instead.')
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < 1024:
        _refuse("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if body["max_tokens"] <= budget:
        _refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if temperature not in (None, 1):
        _refuse("`temperature` may only be set to 1 when thinking is enabled.")


def _refuse(message: str) -> NoReturn:
    raise RefusedError(400, message)
