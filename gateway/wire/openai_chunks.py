"""A turn as clients of OpenAI's Chat Completions format get it: chunks, whole completions and errors, as bytes.

Source: `ChatCompletion`, `ChatCompletionChunk` and `Stream` of the openai 3.54 client. Beyond them `reasoning_content` (as
DeepSeek has it, and with it LangChain, LibreChat, Open WebUI and the AI SDK), `usage.cost` and the finish reason `error` (as
OpenRouter has them).
"""

from collections.abc import Iterator
from typing import Any, Final, assert_never

from gateway.core.errors import ErrorCode, GatewayError
from gateway.core.events import Rerouted, SourceFound, UsageReported
from gateway.core.ids import turn_time
from gateway.core.jsontext import dumps, dumps_text
from gateway.core.messages import ToolCall
from gateway.core.tape import Item, Run, RunKind, Tape
from gateway.core.turn import TurnBegun, TurnEnded
from gateway.wire.frames import END

ID_PREFIX: Final = "chatcmpl-"
DONE: Final = "[DONE]"

_CODES: Final[dict[ErrorCode, str]] = {
    "unauthenticated": "invalid_api_key",
    "unknown_model": "model_not_found",
    "unknown_provider": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
    "daily_limit_reached": "insufficient_quota",
}
_STATUSES: Final[dict[ErrorCode, int]] = {"unknown_model": 404, "unknown_provider": 404, "invalid_request": 400}
_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_code(code: ErrorCode) -> str:
    """OpenAI's word for an error, or ours where it has none."""
    return _CODES.get(code, code)


def error_status(code: ErrorCode, status: int) -> int:
    """The HTTP status from which OpenAI's clients make the exception that their users expect."""
    return _STATUSES.get(code, status)


def error_body(error: GatewayError) -> dict[str, Any]:
    """An error object, for an answer or for a stream that has begun."""
    status = error_status(error.code, error.status)
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    param = error.fields[0][0] if error.fields else None
    return {"error": {"message": error.detail, "type": kind, "param": param or None, "code": error_code(error.code)}}


def completion_id(turn_id: str) -> str:
    """A turn's id as the id of a completion."""
    return ID_PREFIX + turn_id


def parse_completion_id(text: str) -> str | None:
    """The turn id in a completion's, or None."""
    turn_id = text.removeprefix(ID_PREFIX)
    return turn_id if turn_id != text and turn_time(turn_id) is not None else None


def model_name(provider: str, model: str) -> str:
    """A model's name among those of all providers."""
    return f"{provider}/{model}"


def completion_body(begun: TurnBegun, ended: TurnEnded, tape: Tape) -> bytes:
    """A whole reply."""
    reply = ended.reply
    message: dict[str, Any] = {"role": "assistant", "content": reply.content, "refusal": None}
    if reply.tool_calls:
        message["content"] = reply.content or None
        message["tool_calls"] = [_call(call) for call in reply.tool_calls]
    if reply.thoughts:
        message["reasoning_content"] = "".join(thought.content for thought in reply.thoughts)
    if annotations := [_annotation(source, text) for source, text in _placed_sources(tape) if source.url]:
        message["annotations"] = annotations
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(ended)}
    body = _envelope(begun, ended.provider, ended.model, "chat.completion") | _extras(begun) | _from_cache(ended)
    return dumps(body | {"choices": [choice], "usage": _usage(ended)})


class Chunks:
    """Renders a turn as chunks, for one reader; `usage`: the client wants token counts at the end.

    Each chunk has an event id (of the same kind as the gateway's own), the last ones have the final one's.
    """

    __slots__ = ("_after", "_before", "_begun", "_nulls", "_tape")

    def __init__(self, begun: TurnBegun, tape: Tape, *, usage: bool) -> None:
        self._begun = begun
        self._tape = tape
        self._nulls: dict[str, Any] = {"usage": None} if usage else {}
        envelope = dumps(_envelope(begun, begun.provider, begun.model, "chat.completion.chunk"))
        self._before = b"data: " + envelope[:-1] + b',"choices":[{"index":0,"delta":'
        self._after = b',"logprobs":null,"finish_reason":null}]' + (b',"usage":null' if usage else b"") + b"}\n\n"

    def start(self) -> bytes:
        """The first chunk."""
        begun = self._begun
        choice = {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
        envelope = _envelope(begun, begun.provider, begun.model, "chat.completion.chunk") | _extras(begun)
        return f"id: {begun.turn_id}.0\ndata: ".encode() + dumps(envelope | {"choices": [choice]} | self._nulls) + b"\n\n"

    def text(self, _: str, kind: RunKind, text: str, end: int) -> bytes:
        """A piece of the reply or of its reasoning; see `TextFrame`."""
        return self._frame(end, {"content" if kind == "text" else "reasoning_content": text})

    def item(self, _: str, item: Item, end: int) -> bytes:
        """Anything else, nothing for what the format has no place for; see `ItemFrame`."""
        match item:
            case ToolCall():
                return self._frame(end, {"tool_calls": [{"index": _calls_before(self._tape, end), **_call(item)}]})
            case SourceFound():
                if not item.url:
                    return b""
                place = {"index": _cited_before(self._tape, end)}
                return self._frame(end, {"annotations": [place | _annotation(item, _text_before(self._tape, end))]})
            case Rerouted():
                return b""
            case _:
                assert_never(item)

    def end(self, ended: TurnEnded) -> Iterator[bytes]:
        """What comes last for a completed or stopped turn, all at once: of these chunks alone the last one has an id, so
        that a client which lost any gets all of them again."""
        envelope = _envelope(self._begun, ended.provider, ended.model, "chat.completion.chunk")
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish_reason(ended)}
        frames = b"data: %b\n\n" % dumps(envelope | _from_cache(ended) | {"choices": [choice]} | self._nulls)
        usage = _usage(ended)
        if self._nulls and usage is not None:
            frames += b"data: %b\n\n" % dumps(envelope | {"choices": [], "usage": usage})
        yield frames + f"id: {self._begun.turn_id}.{END}\ndata: {DONE}\n\n".encode()

    def failed(self, error: GatewayError) -> Iterator[bytes]:
        """What comes last for a turn that failed: an error object, and no `[DONE]`. OpenAI's clients raise it."""
        yield f"id: {self._begun.turn_id}.{END}\ndata: ".encode() + dumps(error_body(error)) + b"\n\n"

    def _frame(self, end: int, delta: dict[str, Any]) -> bytes:
        return b"id: %b.%d\n%b%b%b" % (self._begun.turn_id.encode(), end, self._before, dumps(delta), self._after)


def _envelope(begun: TurnBegun, provider: str, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": completion_id(begun.turn_id),
        "object": kind,
        "created": begun.started_ms // 1000,
        "model": model_name(provider, model),
    }


def _extras(begun: TurnBegun) -> dict[str, Any]:
    """What the format does not have: once in a stream, in its first chunk."""
    found = {"conversation_id": begun.conversation_id}
    return found | {"simulated": True} if begun.simulated else found


def _from_cache(ended: TurnEnded) -> dict[str, Any]:
    """Known at the end alone: in a stream, it stands beside the finish reason."""
    return {"cached": True} if ended.cached else {}


def _call(call: ToolCall) -> dict[str, Any]:
    # What the model wrote where that was no JSON object: the client is to see it, as it would from OpenAI.
    arguments = dumps_text(call.arguments) if call.arguments_text is None else call.arguments_text
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _annotation(source: SourceFound, text_before: int) -> dict[str, Any]:
    """A citation at the place where it came: providers do not agree on what part of the text it is for."""
    place = {"start_index": text_before, "end_index": text_before}
    return {"type": "url_citation", "url_citation": {"url": source.url, "title": source.title or source.url, **place}}


def _finish_reason(ended: TurnEnded) -> str:
    """A stopped reply is one that was cut, as by its length: clients that parse replies look for that alone."""
    return ended.reply.finish_reason or "length"


def _usage(ended: TurnEnded) -> dict[str, Any] | None:
    """None where the provider told no counts: unknown is not zero, and clients add these up."""
    usage = ended.reply.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    found: dict[str, Any] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        **_details(usage),
    }
    return found if ended.cost_usd is None else found | {"cost": ended.cost_usd}


def _details(usage: UsageReported) -> dict[str, Any]:
    prompt = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
    completion = {"reasoning_tokens": usage.reasoning_tokens}
    given = {"prompt_tokens_details": prompt, "completion_tokens_details": completion}
    known = {name: {key: count for key, count in counts.items() if count is not None} for name, counts in given.items()}
    return {name: counts for name, counts in known.items() if counts}


def _calls_before(tape: Tape, end: int) -> int:
    """How many calls stand before the one that ends at `end`."""
    return sum(isinstance(segment, ToolCall) for segment, place in _placed(tape) if place < end)


def _cited_before(tape: Tape, end: int) -> int:
    """How many sources with an address stand before the one that ends at `end`."""
    return sum(isinstance(segment, SourceFound) and bool(segment.url) for segment, place in _placed(tape) if place < end)


def _text_before(tape: Tape, end: int) -> int:
    """How many characters of the reply stand before `end`."""
    runs = (segment for segment, place in _placed(tape) if place < end and isinstance(segment, Run))
    return sum(run.length for run in runs if run.kind == "text")


def _placed_sources(tape: Tape) -> Iterator[tuple[SourceFound, int]]:
    text = 0
    for segment in tape.segments:
        if isinstance(segment, SourceFound):
            yield segment, text
        elif isinstance(segment, Run) and segment.kind == "text":
            text += segment.length


def _placed(tape: Tape) -> Iterator[tuple[Run | Item, int]]:
    end = 0
    for segment in tape.segments:
        end += segment.length if isinstance(segment, Run) else 1
        yield segment, end
