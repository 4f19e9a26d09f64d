"""A prompt as a request to Anthropic's Messages API.

Source: the Messages API reference and `anthropic.types.message_create_params` of the vendor's SDK (anthropic 2.12).
"""

import binascii
from typing import Any, assert_never
from urllib.parse import unquote

from gateway.core.errors import GatewayError
from gateway.core.jsontext import dumps_to_keep
from gateway.core.messages import (
    AssistantMessage,
    Part,
    Prompt,
    ReplyFormat,
    TextPart,
    ToolChoice,
    ToolResult,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.anthropic_errors import THINKING_BLOCKS
from gateway.providers.anthropic_state import kept_content
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.common import open_loop, portable_id
from gateway.providers.models import traits

API_VERSION = "2023-06-01"
MEDIA_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
OPENING = "…"
"""Stands for the user's words where a history begins with the assistant's: the first message must be the user's."""


def encode(prompt: Prompt, route: Route, stream: bool) -> UpstreamRequest:
    """Build the call. Raises `GatewayError` (`provider_rejected`) for an image, a message or a format the API can't take."""
    body: dict[str, Any] = {
        "model": route.model,
        "max_tokens": prompt.max_tokens,
        "messages": _messages(prompt, route),
    }
    if prompt.system and prompt.system.strip():
        body["system"] = prompt.system
    body |= _tools(prompt, route) | _sampling(prompt, route) | _format(prompt.format)
    if stream:
        body["stream"] = True
    headers = {"content-type": "application/json", "x-api-key": route.api_key, "anthropic-version": API_VERSION}
    return UpstreamRequest(f"{route.base_url.rstrip('/')}/v1/messages", headers, dumps_to_keep(body))


def _sampling(prompt: Prompt, route: Route) -> dict[str, Any]:
    known = traits("anthropic", route.model)
    found: dict[str, Any] = {}
    if prompt.temperature is not None and known.temperature and "temperature" not in route.dropped:
        found["temperature"] = min(max(prompt.temperature, 0.0), 1.0)
    if prompt.stop:
        found["stop_sequences"] = prompt.stop
    if known.thinking and "thinking" not in route.dropped:
        # These models think anyway; unasked, they keep what they thought to themselves.
        found["thinking"] = {"type": "adaptive", "display": "summarized"}
    return found


def _format(wanted: ReplyFormat | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    if wanted.schema is None:
        raise GatewayError("provider_rejected", "This provider gives JSON only as a schema says (response_format json_schema).")
    return {"output_config": {"format": {"type": "json_schema", "schema": wanted.schema}}}


def _tools(prompt: Prompt, route: Route) -> dict[str, Any]:
    """A history with tool blocks needs declared tools, even when the request brings none."""
    if prompt.tools:
        forced = traits("anthropic", route.model).forced_tools and "tool_choice" not in route.dropped
        choice = _choice(prompt.tool_choice, forced)
        return {"tools": [_tool(spec) for spec in prompt.tools]} | ({"tool_choice": choice} if choice else {})
    called = dict.fromkeys(
        call.name for message in prompt.messages if isinstance(message, AssistantMessage) for call in message.tool_calls
    )
    if not called:
        return {}
    return {"tools": [_tool(ToolSpec(name, "", {})) for name in called], "tool_choice": {"type": "none"}}


def _tool(spec: ToolSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description,
        "input_schema": {"properties": {}, **spec.parameters, "type": "object"},
    }


def _choice(choice: ToolChoice | None, forced: bool) -> dict[str, Any] | None:
    """Models that refuse to be forced (`any`, `tool`) still take `auto` and `none`."""
    if choice is None:
        return None
    match choice.mode:
        case "auto" | "none":
            return {"type": choice.mode}
        case "required":
            return {"type": "any"} if forced else None
        case "named":
            return {"type": "tool", "name": choice.name} if forced else None
        case _:
            assert_never(choice.mode)


def _messages(prompt: Prompt, route: Route) -> list[dict[str, Any]]:
    """The turns, user's and assistant's by turns; what follows upon the same role is merged into it."""
    turns: list[dict[str, Any]] = []
    wire_ids: dict[str, str] = {}
    # The API ties a thinking block to all that stands before it (system, tools, messages) and may refuse a request where that
    # has changed: within one loop it hardly does, over days it will.
    loop = open_loop(prompt.messages) if prompt.tools and THINKING_BLOCKS not in route.dropped else None
    for position, message in enumerate(prompt.messages):
        match message:
            case UserMessage(parts):
                _add(turns, "user", [block for part in parts if (block := _part(part)) is not None])
            case AssistantMessage():
                _add(turns, "assistant", _assistant(message, route, wire_ids, loop is not None and position > loop))
            case ToolResults(results):
                _add(turns, "user", [_result(result, wire_ids) for result in results])
            case _:
                assert_never(message)
    begun = isinstance(prompt.messages[-1], AssistantMessage) and traits("anthropic", route.model).prefill
    if not turns or (turns[-1]["role"] != "user" and not begun):
        raise GatewayError("provider_rejected", "The message is empty.")
    if turns[0]["role"] != "user":
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": OPENING}]})
    return turns


def _add(turns: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        turns.append({"role": role, "content": blocks})


def _part(part: Part) -> dict[str, Any] | None:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text} if part.text.strip() else None
    return {"type": "image", "source": _image_source(part.url)}


def _image_source(url: str) -> dict[str, Any]:
    scheme, _, rest = url.strip().partition(":")
    if scheme.lower() in ("http", "https"):
        return {"type": "url", "url": url.strip()}
    if scheme.lower() != "data":
        raise GatewayError("provider_rejected", "An image must be given by an http, https or data URL.")
    head, _, data = rest.partition(",")
    media_type, *options = head.lower().replace(" ", "").split(";")
    media_type = "image/jpeg" if media_type == "image/jpg" else media_type
    if media_type not in MEDIA_TYPES:
        raise GatewayError("provider_rejected", "This provider takes PNG, JPEG, GIF and WebP images only.")
    data = "".join((unquote(data) if "%" in data else data).split())
    if "base64" not in options or not _is_base64(data):
        raise GatewayError("provider_rejected", "An image in the message is not valid base64.")
    return {"type": "base64", "media_type": media_type, "data": data}


def _is_base64(data: str) -> bool:
    try:
        return bool(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        return False


def _assistant(message: AssistantMessage, route: Route, wire_ids: dict[str, str], replay: bool) -> list[dict[str, Any]]:
    """Encode the assistant's turn, from what was kept of it where that fits; note the ids its results must name."""
    content = kept_content(message, route.model) if replay else None
    if content is not None:
        uses = [block for block in content if block["type"] == "tool_use"]
        wire_ids.update((call.id, use["id"]) for call, use in zip(message.tool_calls, uses, strict=True))
        return content
    wire_ids.update((call.id, portable_id(call.id)) for call in message.tool_calls)
    blocks: list[dict[str, Any]] = [{"type": "text", "text": message.text}] if message.text.strip() else []
    return blocks + [
        {"type": "tool_use", "id": wire_ids[call.id], "name": call.name, "input": call.arguments} for call in message.tool_calls
    ]


def _result(result: ToolResult, wire_ids: dict[str, str]) -> dict[str, Any]:
    call_id = wire_ids.get(result.call_id) or portable_id(result.call_id)
    block = {"type": "tool_result", "tool_use_id": call_id}
    return block | ({"content": result.content} if result.content.strip() else {})
