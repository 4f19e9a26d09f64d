"""A prompt as the body of Gemini's generateContent.

Sources: https://ai.google.dev/api/generate-content, https://ai.google.dev/gemini-api/docs/function-calling and
https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from collections.abc import Sequence
from typing import Any, assert_never
from urllib.parse import quote

from gateway.core.jsontext import dumps_to_keep, is_object, loads
from gateway.core.messages import (
    AssistantMessage,
    ImagePart,
    Message,
    Prompt,
    TextPart,
    ToolChoice,
    ToolResults,
    ToolSpec,
    UserMessage,
)
from gateway.providers.base import Route, UpstreamRequest
from gateway.providers.gemini_images import image_part
from gateway.providers.gemini_state import ModelPart, restore
from gateway.providers.models import traits

# The documented stand-in for a signature that never was: history from another model, or a reply that was cut.
NO_SIGNATURE = "skip_thought_signature_validator"
# Contents must begin with a user's; an app may open a conversation with a greeting of its own.
_OPENING = "."
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


def encode(prompt: Prompt, route: Route, stream: bool) -> UpstreamRequest:
    """Return the call for `prompt`; raise `GatewayError` (`provider_rejected`) for an image that cannot be sent."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    model = quote(route.model.removeprefix("models/"), safe="")
    return UpstreamRequest(
        url=f"{route.base_url.rstrip('/')}/v1beta/models/{model}:{method}",
        headers={"x-goog-api-key": route.api_key, "content-type": "application/json"},
        body=dumps_to_keep(_body(prompt, route)),
    )


def _body(prompt: Prompt, route: Route) -> dict[str, Any]:
    body: dict[str, Any] = {"contents": _contents(prompt, route)}
    if prompt.system and "systemInstruction" not in route.dropped:
        body["systemInstruction"] = {"parts": [{"text": prompt.system}]}
    if prompt.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in prompt.tools]}]
        if prompt.tool_choice is not None:
            body["toolConfig"] = {"functionCallingConfig": _calling(prompt.tool_choice)}
    config = _generation_config(prompt, route)
    if config:
        body["generationConfig"] = config
    return body


def _generation_config(prompt: Prompt, route: Route) -> dict[str, Any]:
    known = traits(route.provider, route.model)
    config: dict[str, Any] = {"maxOutputTokens": prompt.max_tokens}
    if prompt.temperature is not None and known.temperature:
        config["temperature"] = prompt.temperature
    if known.thinking:
        config["thinkingConfig"] = {"includeThoughts": True}
    if prompt.stop:
        config["stopSequences"] = prompt.stop
    if prompt.format is not None:
        config["responseMimeType"] = "application/json"
        if prompt.format.schema is not None:
            config["responseJsonSchema"] = prompt.format.schema
    return {name: value for name, value in config.items() if name not in route.dropped}


def _declaration(tool: ToolSpec) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters:
        declaration["parametersJsonSchema"] = tool.parameters
    return declaration


def _calling(choice: ToolChoice) -> dict[str, Any]:
    config: dict[str, Any] = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        config["allowedFunctionNames"] = [choice.name]
    return config


def _contents(prompt: Prompt, route: Route) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = []
    call_ids: Sequence[str | None] = ()
    for message in prompt.messages:
        role, parts, call_ids = _message(message, route, call_ids)
        _append(contents, role, parts)
    opening = prompt.system if prompt.system and "systemInstruction" in route.dropped else None
    if opening:
        _prepend(contents, opening)
    elif contents and contents[0]["role"] == "model":
        _prepend(contents, _OPENING)
    return contents


def _message(
    message: Message, route: Route, call_ids: Sequence[str | None]
) -> tuple[str, list[dict[str, Any]], Sequence[str | None]]:
    """Return role and parts of a message, and Gemini's own ids of the calls it leaves open."""
    match message:
        case UserMessage():
            return "user", _user_parts(message), ()
        case AssistantMessage():
            parts = restore(message, route.provider)
            ids = [part.call_id for part in parts if part.call is not None]
            return "model", _model_parts(parts, traits(route.provider, route.model).signatures), ids
        case ToolResults():
            return "user", _responses(message, call_ids), ()
        case _:
            assert_never(message)


def _append(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """Add a content, or its parts to the one before where the same side speaks on.

    The responses to one turn's calls stay a content of their own: Gemini counts them against the calls.
    """
    if not parts:
        return
    last = contents[-1] if contents else {}
    if last.get("role") == role and "functionResponse" not in last["parts"][0]:
        last["parts"].extend(parts)
    else:
        contents.append({"role": role, "parts": parts})


def _prepend(contents: list[dict[str, Any]], text: str) -> None:
    first: list[dict[str, Any]] = []
    _append(first, "user", [{"text": text}])
    for content in contents:
        _append(first, content["role"], content["parts"])
    contents[:] = first


def _user_parts(message: UserMessage) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart(text):
                if text:
                    parts.append({"text": text})
            case ImagePart(url):
                parts.append(image_part(url))
            case _:
                assert_never(part)
    return parts


def _model_parts(parts: Sequence[ModelPart], signed_calls: bool) -> list[dict[str, Any]]:
    """Return the parts of a turn; with `signed_calls` the first call gets a stand-in for a signature it has not."""
    encoded: list[dict[str, Any]] = []
    for part in parts:
        signature = part.signature
        if part.call is not None:
            fields: dict[str, Any] = {"functionCall": _named(part.call.name, part.call_id) | {"args": part.call.arguments}}
            if signature is None and signed_calls:
                signature = NO_SIGNATURE
            signed_calls = False
        elif part.text or signature:
            fields = {"text": part.text}
        else:
            continue
        encoded.append(fields if signature is None else fields | {"thoughtSignature": signature})
    return encoded


def _responses(message: ToolResults, call_ids: Sequence[str | None]) -> list[dict[str, Any]]:
    padded = [*call_ids, *[None] * len(message.results)]
    return [
        {"functionResponse": _named(result.name, call_id) | {"response": _response(result.content)}}
        for result, call_id in zip(message.results, padded, strict=False)
    ]


def _named(name: str, call_id: str | None) -> dict[str, Any]:
    return {"name": name} if call_id is None else {"name": name, "id": call_id}


def _response(content: str) -> dict[str, Any]:
    """Return a tool's result as the object that Gemini wants."""
    try:
        value = loads(content)
    except ValueError:
        value = None
    return value if is_object(value) else {"output": content}
