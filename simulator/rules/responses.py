"""What OpenAI's Responses API refuses.

Sources: the SDK's request types, public reports of its errors (encrypted reasoning, items without what belongs to them).
"""

from typing import Any, NoReturn

from simulator.formats.base import RefusedError
from simulator.rules import names
from simulator.rules.chat import check_kinds, objects
from simulator.rules.openai import check_name, is_reasoning
from simulator.signatures import verdict

_FIELDS = names(
    "background conversation include input instructions max_output_tokens max_tool_calls metadata model parallel_tool_calls "
    "previous_response_id prompt prompt_cache_key prompt_cache_retention reasoning safety_identifier service_tier store "
    "stream stream_options temperature text tool_choice tools top_logprobs top_p truncation user"
)
_ITEM_FIELDS = {
    "message": names("type role content phase id status"),
    "function_call": names("type call_id name arguments id status"),
    "function_call_output": names("type call_id output id status"),
    "reasoning": names("type id summary encrypted_content content status"),
}
_PARTS = {
    "user": names("input_text input_image input_file"),
    "system": names("input_text"),
    "developer": names("input_text"),
    "assistant": names("output_text refusal input_text"),
}
_INCLUDES = names("reasoning.encrypted_content message.output_text.logprobs web_search_call.action.sources")
_KINDS: dict[str, type] = {"reasoning": dict, "include": list, "instructions": str, "store": bool, "max_output_tokens": int}
_MIN_TOKENS = 16
_MAX_CALL_ID = 64


def check(body: dict[str, Any]) -> None:
    """Raise `RefusedError` for what the endpoint refuses."""
    for name in body:
        if name not in _FIELDS:
            _refuse(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    check_kinds(body)
    _check_parameters(body)
    _check_tools(body)
    given = body.get("input")
    if given is None:
        _refuse("Missing required parameter: 'input'.", "input", "missing_required_parameter")
    if isinstance(given, str):
        return
    items = [item for _, item in objects(given, "input")]
    if not items:
        _refuse("Invalid 'input': empty array. Expected an array with minimum length 1.", "input", "empty_array")
    for index, item in enumerate(items):
        _check_item(item, f"input[{index}]")
    _check_calls(items)
    _check_reasoning(items)


def _check_parameters(body: dict[str, Any]) -> None:
    for name, kind in _KINDS.items():
        if body.get(name) is not None and not isinstance(body[name], kind):
            _refuse(f"Invalid type for '{name}'.", name, "invalid_type")
    limit = body.get("max_output_tokens")
    if limit is not None and limit < _MIN_TOKENS:
        text = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_MIN_TOKENS}, but got {limit}."
        _refuse(text, "max_output_tokens", "integer_below_min_value")
    if body.get("stream_options") is not None and not body.get("stream"):
        _refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None)
    for name in body.get("include") or ():
        if name not in _INCLUDES:
            _refuse(f"Invalid value: '{name}'.", "include[0]", "invalid_value")
    if is_reasoning(body["model"]):
        if body.get("temperature") not in (None, 1) or body.get("top_p") not in (None, 1):
            _refuse("Unsupported parameter: 'temperature' is not supported with this model.", "temperature", None)
        return
    if body.get("reasoning"):
        name = f"reasoning.{next(iter(body['reasoning']))}"
        _refuse(f"Unsupported parameter: '{name}' is not supported with this model.", name, "unsupported_parameter")
    if "reasoning.encrypted_content" in (body.get("include") or ()):
        _refuse("Encrypted content is not supported with this model.", "include", None)


def _check_tools(body: dict[str, Any]) -> None:
    tools = body.get("tools") or []
    known = []
    for index, tool in objects(tools, "tools"):
        where = f"tools[{index}]"
        if tool.get("type") != "function":
            _refuse(f"Invalid value: '{tool.get('type')}'.", f"{where}.type", "invalid_value")
        check_name(tool.get("name"), f"{where}.name")
        known.append(tool["name"])
        schema = tool.get("parameters")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            text = f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of 'type: \"object\"'."
            _refuse(text, f"{where}.parameters", "invalid_function_parameters")
        # Strict unless told otherwise: each property must be required then, and no other allowed.
        if tool.get("strict", True) and (schema.get("additionalProperties") is not False):
            text = f"Invalid schema for function '{tool['name']}': 'additionalProperties' is required to be supplied and false."
            _refuse(text, f"{where}.parameters", "invalid_function_parameters")
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        if choice.get("type") != "function" or choice.get("name") not in known:
            _refuse("Tool choice not found in 'tools' parameter.", "tool_choice", None)
    elif choice is not None and (choice not in ("auto", "none", "required") or (choice == "required" and not known)):
        _refuse("Invalid value for 'tool_choice'.", "tool_choice", "invalid_value")


def _check_item(item: dict[str, Any], where: str) -> None:
    kind = item.get("type", "message")
    fields = _ITEM_FIELDS.get(kind)
    if fields is None:
        _refuse(f"Invalid value: '{kind}'.", where, "invalid_value")
    for name in item:
        if name not in fields:
            _refuse(f"Unknown parameter: '{where}.{name}'.", f"{where}.{name}", "unknown_parameter")
    match kind:
        case "message":
            _check_message(item, where)
        case "function_call":
            check_name(item.get("name"), f"{where}.name")
            if not isinstance(item.get("arguments"), str):
                _refuse(f"Invalid type for '{where}.arguments': expected a string.", f"{where}.arguments", "invalid_type")
        case "function_call_output":
            if not isinstance(item.get("output"), str | list):
                _missing(f"{where}.output")
        case _:
            if not isinstance(item.get("id"), str) or not isinstance(item.get("summary"), list):
                _missing(f"{where}.summary")
    if kind.startswith("function_call"):
        call_id = item.get("call_id")
        if not isinstance(call_id, str) or not 1 <= len(call_id) <= _MAX_CALL_ID:
            _missing(f"{where}.call_id")


def _check_message(item: dict[str, Any], where: str) -> None:
    role = item.get("role")
    known = _PARTS.get(role) if isinstance(role, str) else None
    if known is None:
        _refuse(f"Invalid value: '{role}'.", f"{where}.role", "invalid_value")
    content = item.get("content")
    if isinstance(content, str):
        return
    for index, part in objects(content, f"{where}.content"):
        at = f"{where}.content[{index}]"
        if part.get("type") not in known:
            text = f"Invalid value: '{part.get('type')}'. Supported values are: {', '.join(sorted(known))}."
            _refuse(text, f"{at}.type", "invalid_value")
        if part["type"] == "input_image" and not isinstance(part.get("image_url"), str):
            _refuse(f"Invalid type for '{at}.image_url': expected a string.", f"{at}.image_url", "invalid_type")


def _check_calls(items: list[dict[str, Any]]) -> None:
    """Each call has one output behind it, and each output its call before it."""
    waiting: list[str] = []
    for item in items:
        if item.get("type") == "function_call":
            waiting.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            if item["call_id"] not in waiting:
                _refuse(f"No tool call found for function call output with call_id {item['call_id']}.", "input", None)
            waiting.remove(item["call_id"])
    if waiting:
        _refuse(f"No tool output found for function call {waiting[0]}.", "input", None)


def _check_reasoning(items: list[dict[str, Any]]) -> None:
    """Nothing is stored here: reasoning must bring its content with it, and stand before what it led to."""
    for index, item in enumerate(items):
        if item.get("type") != "reasoning":
            continue
        sealed = item.get("encrypted_content")
        if not sealed:
            text = f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
            raise RefusedError(404, text, param="input")
        if not isinstance(sealed, str) or verdict(sealed, [item["id"], item["summary"]]) != "ours":
            _refuse("The encrypted content gAAA...DQ== could not be verified.", None, "invalid_encrypted_content")
        following = items[index + 1] if index + 1 < len(items) else {}
        if following.get("type") not in ("function_call", "reasoning") and following.get("role") != "assistant":
            text = f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
            _refuse(text, "input", None)


def _missing(where: str) -> NoReturn:
    _refuse(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")


def _refuse(text: str, param: str | None, code: str | None) -> NoReturn:
    raise RefusedError(400, text, param=param, code=code)
