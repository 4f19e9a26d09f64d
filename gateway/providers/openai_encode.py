"""Prompts as requests in OpenAI's Chat Completions format.

Source: `CompletionCreateParams` of the openai 3.54 and groq 1.7 clients. Groq refuses fields that it does not know
inside messages, so a message holds nothing but what both take.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from gateway.core.jsontext import dumps_text, dumps_to_keep
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Part,
    Prompt,
    ReplyFormat,
    TextPart,
    ToolCall,
    ToolChoice,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.common import portable_id, short_id
from gateway.providers.models import Traits, traits
from gateway.providers.openai_errors import TOOL_CALL_IDS

_OPENAI_HOST = "api.openai.com"


def encode(path: str, prompt: Prompt, route: Route, stream: bool) -> UpstreamRequest:
    """Return the call; `path` goes behind the base URL."""
    known = traits(route.provider, route.model)
    body: dict[str, Any] = {"model": route.model, "messages": _messages(prompt, known, route)}
    if stream:
        body["stream"] = True
        if "stream_options" not in route.dropped:
            body["stream_options"] = _stream_options(route)
    limit = _limit_name(known, route.dropped)
    if limit:
        body[limit] = prompt.max_tokens
    if prompt.temperature is not None and known.temperature and "temperature" not in route.dropped:
        body["temperature"] = prompt.temperature
    if known.reasoning_format and "reasoning_format" not in route.dropped:
        body["reasoning_format"] = known.reasoning_format
    if prompt.format is not None:
        body["response_format"] = _format(prompt.format)
    if prompt.stop:
        body["stop"] = prompt.stop
    if prompt.tools:
        body |= _tools(prompt, known, route)
    return UpstreamRequest(route.base_url.rstrip("/") + path, bearer(route), dumps_to_keep(body))


def bearer(route: Route) -> dict[str, str]:
    """Return the headers of a call; servers of one's own may need no key."""
    key = {"Authorization": f"Bearer {route.api_key}"} if route.api_key else {}
    return key | {"Content-Type": "application/json"}


def is_openai(route: Route) -> bool:
    """Whether the call goes to OpenAI itself, and not to a server that speaks its format."""
    return urlsplit(route.base_url).hostname == _OPENAI_HOST


def _stream_options(route: Route) -> dict[str, Any]:
    """OpenAI pads every chunk against traffic analysis; nobody but its own host takes the switch against it."""
    options = {"include_usage": True}
    if is_openai(route):
        options["include_obfuscation"] = False
    return options


def _format(wanted: ReplyFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": described_schema(wanted, wanted.schema)}


def described_schema(wanted: ReplyFormat, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with what OpenAI takes beside it."""
    more = {"description": wanted.description, "strict": wanted.strict}
    return {"name": wanted.name, "schema": schema} | {name: given for name, given in more.items() if given is not None}


def _limit_name(known: Traits, dropped: frozenset[str]) -> str | None:
    """Reasoning models refuse `max_tokens`, other servers know nothing else; some models refuse any limit this high."""
    if "max_output_tokens" in dropped:
        return None
    names = (known.output_limit, "max_completion_tokens", "max_tokens")
    return next((name for name in names if name not in dropped), None)


def _system_role(known: Traits, route: Route) -> str:
    return "user" if "system_role" in route.dropped else known.system_role


def _tools(prompt: Prompt, known: Traits, route: Route) -> dict[str, Any]:
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in prompt.tools]}
    if prompt.tool_choice is not None:
        fields["tool_choice"] = _tool_choice(prompt.tool_choice)
    effort = known.effort_with_tools
    if "reasoning_effort" in route.dropped:
        # A model that stands in no row refuses tools beside its default effort and names this parameter, too.
        effort = None if effort else "none"
    if effort:
        fields["reasoning_effort"] = effort
    return fields


def _tool(tool: ToolSpec) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = object_schema(tool.parameters)
    return {"type": "function", "function": function}


def object_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    """OpenAI refuses a schema that is not of type "object"; clients leave it empty for tools without arguments."""
    return parameters if "type" in parameters else {"type": "object", "properties": {}, **parameters}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "named":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _messages(prompt: Prompt, known: Traits, route: Route) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    wire_id = short_id if TOOL_CALL_IDS in route.dropped else portable_id
    if prompt.system:
        messages.append({"role": _system_role(known, route), "content": prompt.system})
    for message in prompt.messages:
        messages += _message(message, wire_id)
    return messages


def _message(message: Message, wire_id: Callable[[str], str]) -> list[dict[str, Any]]:
    match message:
        case UserMessage(parts):
            return [{"role": "user", "content": _content(parts)}]
        case AssistantMessage(text, calls):
            entry: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
            if calls:
                entry["tool_calls"] = [_call(call, wire_id) for call in calls]
            return [entry]
        case ToolResults(results):
            return [{"role": "tool", "tool_call_id": wire_id(result.call_id), "content": result.content} for result in results]


def _content(parts: tuple[Part, ...]) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    if any(isinstance(part, ImagePart) for part in parts):
        return [_part(part) for part in parts]
    return "".join(part.text for part in parts if not isinstance(part, ImagePart))


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, ImagePart):
        return {"type": "image_url", "image_url": {"url": part.url}}
    return {"type": "text", "text": part.text}


def _call(call: ToolCall, wire_id: Callable[[str], str]) -> dict[str, Any]:
    function = {"name": call.name, "arguments": dumps_text(call.arguments)}
    return {"id": wire_id(call.id), "type": "function", "function": function}
