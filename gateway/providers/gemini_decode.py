"""Gemini's replies as events: each chunk of a stream is a GenerateContentResponse, as is a reply that comes at once.

Any of `candidates`, `content` and `parts` may be missing; a stream ends with plain EOF, so only a finish reason says
that it is whole, and an error may still follow it, without any framing.
Source: https://ai.google.dev/api/generate-content and the types of google-genai 3.4.0.
"""

from collections.abc import Iterator
from typing import Any, Final

from gateway.core.errors import UpstreamError
from gateway.core.events import (
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    SourceFound,
    Started,
    StateKept,
    TextDelta,
    ToolCalled,
    UsageReported,
)
from gateway.core.jsontext import loads
from gateway.providers.common import as_dict, as_int, as_list, as_str, broken, clip, truncated
from gateway.providers.gemini_errors import stream_error
from gateway.providers.gemini_state import PartLog
from gateway.wire.sse import Frame

_UNSPECIFIED = frozenset({"", "FINISH_REASON_UNSPECIFIED", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})
_CUT_BY_FILTER = "SAFETY"
_ENDS: dict[str, FinishReason] = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length"}
_FILTERED = frozenset(
    {
        _CUT_BY_FILTER,
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "ESCALATION",
        "MODEL_ARMOR",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
_SOURCE_KINDS = (("web", "web"), ("retrievedContext", "retrieved_context"), ("maps", "maps"))
_METADATA = frozenset({"urlContextMetadata", "groundingMetadata", "citationMetadata"})


class GeminiDecoder:
    """Reads one reply, of whatever number of chunks."""

    __slots__ = ("_counts", "_finish", "_parts", "_started")
    repeats: Final = None

    def __init__(self) -> None:
        self._started = False
        self._finish: str | None = None
        self._counts: dict[str, Any] = {}
        self._parts = PartLog()

    def feed(self, frame: Frame) -> list[Event]:
        """Events of one SSE frame; a terminal event, if any, is the last."""
        try:
            value = loads(frame.data)
        except ValueError:
            return [*self._usage(), Failed(_not_json(frame.data))] if frame.data.strip() else []
        return self.read(value)

    def end(self, stray: str) -> list[Event]:
        """Events at EOF. `stray` may hold what a server that gave up wrote without framing."""
        unframed = stray.strip()
        events: list[Event] = []
        if unframed.startswith(("{", "[")):
            try:
                events = self.read(loads(unframed))
            except ValueError:
                events = [*self._usage(), Failed(_not_json(unframed.encode()))]
        return events if _has_failed(events) else events + self.close(None)

    def read(self, value: object) -> list[Event]:
        """Events of one chunk or an array of them; `Failed`, if any, is the last."""
        events: list[Event] = []
        for chunk in value if isinstance(value, list) else (value,):
            if isinstance(chunk, dict):
                failure = self._chunk(chunk, events)
                if failure is not None:
                    return [*events, *self._usage(), Failed(failure)]
        return events

    def close(self, unsaid: FinishReason | None) -> list[Event]:
        """The last events; `unsaid` is the reason to assume where none was given, None if that means a cut reply."""
        reason = unsaid if self._finish is None else _reason(self._finish)
        if reason is None:
            return [*self._usage(), truncated()]
        kept = self._parts.data()
        state = [StateKept(kept)] if kept is not None else []
        return [*self._usage(whole=True), *state, Finished(reason)]

    def _chunk(self, chunk: dict[str, Any], events: list[Event]) -> UpstreamError | None:
        error = chunk.get("error")
        if error:
            return stream_error(error)
        counts = chunk.get("usageMetadata")
        if type(counts) is dict:
            self._counts.update(counts)
        candidate = _first(chunk.get("candidates"))
        if candidate is not None:
            if not self._started:
                self._start(chunk, events)
            self._candidate(candidate, events)
        elif "promptFeedback" in chunk:
            return self._feedback(as_dict(chunk["promptFeedback"]))
        return None

    def _start(self, chunk: dict[str, Any], events: list[Event]) -> None:
        """Tell the model's name, and of the counts those that don't grow: a stopped reply has no better ones."""
        self._started = True
        events.append(Started(as_str(chunk.get("modelVersion"))))
        input_tokens, cached = self._count("promptTokenCount"), self._count("cachedContentTokenCount")
        if input_tokens is not None:
            events.append(UsageReported(input_tokens=input_tokens, cached_tokens=cached))

    def _candidate(self, candidate: dict[str, Any], events: list[Event]) -> None:
        content = candidate.get("content")
        parts = content.get("parts") if type(content) is dict else None
        if type(parts) is list:
            for part in parts:
                if type(part) is dict:
                    self._part(part, events)
        reason = candidate.get("finishReason")
        if type(reason) is str and reason not in _UNSPECIFIED:
            self._finish = reason
        if not _METADATA.isdisjoint(candidate):
            events.extend(_sources(candidate))

    def _part(self, part: dict[str, Any], events: list[Event]) -> None:
        text = part.get("text")
        if type(text) is str:
            if not part.get("thought"):
                if text:
                    events.append(TextDelta(text))
                self._parts.text(len(text), part.get("thoughtSignature"))
            elif text:
                events.append(ReasoningDelta(text))
        elif "functionCall" in part:
            self._call(as_dict(part["functionCall"]), part.get("thoughtSignature"), events)
        elif part.keys() == {"thoughtSignature"}:
            self._parts.text(0, part["thoughtSignature"])

    def _call(self, call: dict[str, Any], signature: object, events: list[Event]) -> None:
        name = as_str(call.get("name"))
        if not name:
            return
        call_id = as_str(call.get("id")) or None
        arguments = call.get("args")
        self._parts.call(name, call_id, signature)
        events.append(ToolCalled(call_id, name, arguments if isinstance(arguments, (dict, str)) else {}))

    def _feedback(self, feedback: dict[str, Any]) -> UpstreamError | None:
        reason = as_str(feedback.get("blockReason")) or ""
        if reason in _UNSPECIFIED:
            return None
        if self._started:
            self._finish = _CUT_BY_FILTER
            return None
        return UpstreamError(
            "provider_rejected",
            "The provider refused to answer this message.",
            kind="rejected",
            upstream_status=200,
            upstream_text=clip(f"promptFeedback: {reason} {as_str(feedback.get('blockReasonMessage')) or ''}"),
        )

    def _usage(self, whole: bool = False) -> list[UsageReported]:
        """The counts as last told, field by field; `whole` says that nothing more would have come."""
        prompt, cached = self._count("promptTokenCount"), self._count("cachedContentTokenCount")
        answer, thoughts = self._count("candidatesTokenCount"), self._count("thoughtsTokenCount")
        output = None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0)
        if output is None and whole and prompt is not None and self._is_total(prompt):
            output = 0
        usage = UsageReported(prompt, output, cached, thoughts)
        return [usage] if usage != UsageReported() else []

    def _is_total(self, prompt: int) -> bool:
        """Whether the total leaves nothing for an answer: zero counts are left out."""
        return self._count("totalTokenCount") == prompt + (self._count("toolUsePromptTokenCount") or 0)

    def _count(self, name: str) -> int | None:
        return as_int(self._counts.get(name))


def decode_reply(body: bytes) -> list[Event]:
    """Events of a whole reply: one response, or the array of chunks that a stream without `alt=sse` is."""
    try:
        value = loads(body)
    except ValueError:
        return [Failed(_not_json(body))]
    chunks = as_list(value) or [value]
    if not any(isinstance(chunk, dict) and chunk.keys() & {"candidates", "promptFeedback", "error"} for chunk in chunks):
        return [Failed(broken(upstream_text=body.decode("utf-8", "replace")))]
    decoder = GeminiDecoder()
    events = decoder.read(value)
    if _has_failed(events):
        return events
    answered = any(isinstance(event, (TextDelta, ReasoningDelta, ToolCalled)) for event in events)
    return events + decoder.close("stop" if answered else "error")


def _has_failed(events: list[Event]) -> bool:
    return bool(events) and isinstance(events[-1], Failed)


def _not_json(data: bytes) -> UpstreamError:
    return broken(upstream_text=data.decode("utf-8", "replace"))


def _reason(finish_reason: str) -> FinishReason:
    """Return what Gemini's word means; one that is not known stands for no good end."""
    return "content_filter" if finish_reason in _FILTERED else _ENDS.get(finish_reason, "error")


def _first(candidates: object) -> dict[str, Any] | None:
    """Return the candidate with index 0; protobuf's JSON leaves a zero out."""
    if type(candidates) is list:
        for candidate in candidates:
            if type(candidate) is dict and not candidate.get("index"):
                return candidate
    return None


def _sources(candidate: dict[str, Any]) -> Iterator[SourceFound]:
    """Sources of a candidate; metadata that a later chunk repeats is told again."""
    for fetched in _objects(candidate, "urlContextMetadata", "urlMetadata"):
        if url := as_str(fetched.get("retrievedUrl")):
            yield SourceFound("url_context", url=url)
    for chunk in _objects(candidate, "groundingMetadata", "groundingChunks"):
        for field, kind in _SOURCE_KINDS:
            if isinstance(found := chunk.get(field), dict):
                title, url, text = (as_str(found.get(name)) for name in ("title", "uri", "text"))
                yield SourceFound(kind, title, url, text)
    for cited in _objects(candidate, "citationMetadata", "citationSources"):
        if url := as_str(cited.get("uri")):
            yield SourceFound("citation", as_str(cited.get("title")), url)


def _objects(candidate: dict[str, Any], metadata: str, name: str) -> list[dict[str, Any]]:
    return [item for item in as_list(as_dict(candidate.get(metadata)).get(name)) if isinstance(item, dict)]
