"""Prompts as requests to OpenAI's Responses API.

Source: `ResponseCreateParams` of the vendor's SDK (openai 3.54). Nothing is stored there: the whole history goes with each
request, and reasoning comes and goes encrypted.
"""

from typing import Any, assert_never

from gateway.core.errors import GatewayError
from gateway.core.jsontext import dumps_text, dumps_to_keep
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Part,
    Prompt,
    ReplyFormat,
    ToolChoice,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.common import open_loop, portable_id
from gateway.providers.models import traits
from gateway.providers.openai_encode import bearer, described_schema, is_openai, object_schema
from gateway.providers.responses_errors import REASONING_ITEMS
from gateway.providers.responses_state import kept_items

_MIN_OUTPUT_TOKENS = 16


def encode(prompt: Prompt, route: Route, stream: bool) -> UpstreamRequest:
    """Return the call: POST `{base}/responses`. Raises `GatewayError` (`provider_rejected`) for what the API has no word for."""
    if prompt.stop:
        raise GatewayError("provider_rejected", "This model takes no `stop`: OpenAI's Responses API has nothing like it.")
    fields = {"model": route.model, "input": _input(prompt, route), "store": False} | _reasoning(route) | _tools(prompt)
    if prompt.format is not None:
        fields["text"] = {"format": _format(prompt.format)}
    if prompt.system:
        fields["instructions"] = prompt.system
    if "max_output_tokens" not in route.dropped:
        fields["max_output_tokens"] = max(prompt.max_tokens, _MIN_OUTPUT_TOKENS)
    known = traits(route.provider, route.model)
    if prompt.temperature is not None and known.temperature and "temperature" not in route.dropped:
        fields["temperature"] = prompt.temperature
    if stream:
        fields["stream"] = True
        if is_openai(route) and "stream_options" not in route.dropped:
            fields["stream_options"] = {"include_obfuscation": False}
    return UpstreamRequest(f"{route.base_url.rstrip('/')}/responses", bearer(route), dumps_to_keep(fields))


def _reasoning(route: Route) -> dict[str, Any]:
    """Reasoning models tell nothing of their reasoning unless asked."""
    fields: dict[str, Any] = {}
    if traits(route.provider, route.model).thinking:
        if "reasoning" not in route.dropped:
            fields["reasoning"] = {"summary": "auto"}
        if "include" not in route.dropped:
            fields["include"] = ["reasoning.encrypted_content"]
    return fields


def _format(wanted: ReplyFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema"} | described_schema(wanted, wanted.schema)


def _tools(prompt: Prompt) -> dict[str, Any]:
    if not prompt.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in prompt.tools]}
    if prompt.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(prompt.tool_choice)
    return fields


def _tool(tool: ToolSpec) -> dict[str, Any]:
    """Unless told otherwise, this endpoint takes a schema as strict, and refuses what most clients write."""
    described = {"description": tool.description} if tool.description else {}
    named = {"type": "function", "name": tool.name}
    return named | described | {"parameters": object_schema(tool.parameters), "strict": False}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode


def _input(prompt: Prompt, route: Route) -> list[dict[str, Any]]:
    loop = open_loop(prompt.messages) if REASONING_ITEMS not in route.dropped else len(prompt.messages)
    items: list[dict[str, Any]] = []
    for position, message in enumerate(prompt.messages):
        items += _items(message, route, replay=position > loop)
    return items


def _items(message: Message, route: Route, *, replay: bool) -> list[dict[str, Any]]:
    match message:
        case UserMessage(parts):
            return [{"role": "user", "content": _content(parts)}]
        case AssistantMessage(text, calls):
            kept = kept_items(message, route.provider, route.model) if replay else None
            if kept is not None:
                return kept
            said: list[dict[str, Any]] = [{"role": "assistant", "content": text}] if text or not calls else []
            return said + [
                {
                    "type": "function_call",
                    "call_id": portable_id(call.id),
                    "name": call.name,
                    "arguments": dumps_text(call.arguments),
                }
                for call in calls
            ]
        case ToolResults(results):
            return [
                {"type": "function_call_output", "call_id": portable_id(result.call_id), "output": result.content}
                for result in results
            ]
        case _:
            assert_never(message)


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    if any(isinstance(part, ImagePart) for part in parts):
        return [_part(part) for part in parts]
    return "".join(part.text for part in parts if not isinstance(part, ImagePart))


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "input_image", "image_url": part.url, "detail": "auto"}
    return {"type": "input_text", "text": part.text}
