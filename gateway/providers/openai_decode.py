"""Replies in OpenAI's Chat Completions format, streamed or whole, as events.

Source: `ChatCompletionChunk` and `ChatCompletion` of the openai 3.54 and groq 1.7 clients, and recorded replies. A
stream ends with `data: [DONE]`; the finish reason comes before it, and token counts may come between the two. Some servers
that speak the format send no `[DONE]`, others no finish reason: either one ends a reply.
"""

from typing import Any

from gateway.core import events as ev
from gateway.core.jsontext import loads
from gateway.providers.common import as_dict, as_int, as_list, as_str, broken, truncated
from gateway.providers.openai_calls import CallAssembly
from gateway.providers.openai_errors import find_error, stream_error
from gateway.providers.repeats import Repeats
from gateway.wire.sse import Frame

_DONE = b"[DONE]"
_MAX_SNIPPET = 500
_PLAIN = ("role", "content")
_FINISH: dict[str, ev.FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class ChatDecoder:
    """Reads the chunks of one streamed reply. Of several choices only the first one (index 0) is read."""

    __slots__ = ("_answer", "_started", "repeats")

    def __init__(self) -> None:
        self.repeats = Repeats()
        self._answer = _Answer()
        self._started = False

    def feed(self, frame: Frame) -> list[ev.Event]:
        """Events of one chunk."""
        data = frame.data
        if data == _DONE:
            return self._answer.end()
        try:
            chunk = loads(data)
        except ValueError:
            return self._unreadable(data)
        if not isinstance(chunk, dict):
            return []
        text = _plain_text(chunk)
        if text is not None and self._started and not frame.event:
            self.repeats.learn(frame, text)
            return [ev.TextDelta(text)]
        return self._chunk(frame, chunk)

    def end(self, stray: str) -> list[ev.Event]:
        """EOF: without a finish reason the reply was cut; one that came before `[DONE]` says that it is whole.

        Bare JSON is an error, or a whole reply where nothing is streamed.
        """
        if stray.lstrip().startswith("{"):
            bare = decode_reply(stray.encode())
            if not self._started or isinstance(bare[-1], ev.Failed):
                return bare if not self._started else bare[-1:]
        return self._answer.end() if self._answer.finished else [truncated()]

    def _chunk(self, frame: Frame, chunk: dict[str, Any]) -> list[ev.Event]:
        error = find_error(chunk) or (chunk if frame.event == "error" else None)
        if error:
            return [ev.Failed(stream_error(error, frame.data))]
        events: list[ev.Event] = []
        if not self._started:
            self._started = True
            events.append(ev.Started(as_str(chunk.get("model"))))
        choice = _first_choice(chunk)
        self._answer.read(as_dict(choice.get("delta")), events)
        self._answer.finish(choice.get("finish_reason"), events)
        _usage(chunk, events)
        return events

    def _unreadable(self, data: bytes) -> list[ev.Event]:
        text = data.strip()
        if text == _DONE:
            return self._answer.end()
        return [ev.Failed(broken(upstream_text=text.decode("utf-8", "replace")))] if text else []


def _plain_text(chunk: dict[str, Any]) -> str | None:
    """Return the text of a chunk that brings nothing else, the usual one: the fast path of every token."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("usage") or "error" in chunk or "x_groq" in chunk:
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("index") != 0 or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1:
        return None
    text = delta.get("content")
    return text if type(text) is str and text else None


def decode_reply(body: bytes) -> list[ev.Event]:
    """Return the events of a whole reply, the last of them terminal."""
    try:
        reply = as_dict(loads(body))
    except ValueError:
        reply = {}
    plain = _plain_reply(reply)
    if plain is not None:
        return plain
    error = find_error(reply)
    if error:
        return [ev.Failed(stream_error(error, body))]
    choice = _first_choice(reply)
    message = choice.get("message")
    if not isinstance(message, dict):
        return [ev.Failed(broken(upstream_text=body.decode("utf-8", "replace")))]
    events: list[ev.Event] = [ev.Started(as_str(reply.get("model")))]
    answer = _Answer()
    answer.read({**message, "tool_calls": _numbered(message.get("tool_calls"))}, events)
    answer.finish(choice.get("finish_reason"), events)
    _usage(reply, events)
    return events + answer.end()


def _plain_reply(reply: dict[str, Any]) -> list[ev.Event] | None:
    """Return the events of a whole reply that brings text and counts alone, the usual one."""
    choices = reply.get("choices")
    if type(choices) is not list or len(choices) != 1 or "error" in reply or "x_groq" in reply:
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("index") != 0 or "error" in choice:
        return None
    message, reason = choice.get("message"), choice.get("finish_reason")
    if type(message) is not dict or (reason != "stop" and reason != "length"):
        return None
    text = message.get("content")
    if type(text) is not str or not text or any(message[name] for name in message if name not in _PLAIN):
        return None
    events: list[ev.Event] = [ev.Started(as_str(reply.get("model"))), ev.TextDelta(text)]
    _usage(reply, events)
    events.append(ev.Finished(_FINISH[reason]))
    return events


def _first_choice(value: dict[str, Any]) -> dict[str, Any]:
    for choice in as_list(value.get("choices")):
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice
    return {}


def _numbered(calls: Any) -> list[Any]:
    """Whole calls carry no index, and some upstreams give several the same id."""
    return [{**call, "index": number} for number, call in enumerate(as_list(calls)) if isinstance(call, dict)]


class _Answer:
    """One choice: what deltas and whole messages have in common."""

    __slots__ = ("_calls", "_reason", "_refused")

    def __init__(self) -> None:
        self._calls = CallAssembly()
        self._reason: str | None = None
        self._refused = False

    def read(self, delta: dict[str, Any], events: list[ev.Event]) -> None:
        """Add the events of a delta or a message."""
        reasoning = as_str(delta.get("reasoning")) or as_str(delta.get("reasoning_content"))
        if reasoning:
            events.append(ev.ReasoningDelta(reasoning))
        self._content(delta.get("content"), events)
        self._refusal(delta.get("refusal"), events)
        _sources(delta, events)
        for fragment in as_list(delta.get("tool_calls")):
            if isinstance(fragment, dict):
                events += self._calls.add(fragment)
        if isinstance(delta.get("function_call"), dict):
            events += self._calls.add({"index": -1, "function": delta["function_call"]})

    def finish(self, reason: Any, events: list[ev.Event]) -> None:
        """Take the finish reason, if it has come: every call is whole then."""
        if isinstance(reason, str) and reason:
            self._reason = reason
            events += self._calls.finish()

    @property
    def finished(self) -> bool:
        """Whether the finish reason has come."""
        return self._reason is not None

    def end(self) -> list[ev.Event]:
        """The calls still held and the terminal event."""
        return [*self._calls.finish(), ev.Finished(self._finish_reason())]

    def _finish_reason(self) -> ev.FinishReason:
        if self._refused:
            return "content_filter"
        if self._reason is None:
            return "tool_calls" if self._calls.found else "stop"
        reason = _FINISH.get(self._reason, "error")
        return "error" if reason == "tool_calls" and not self._calls.found else reason

    def _content(self, content: Any, events: list[ev.Event]) -> None:
        if isinstance(content, str):
            if content:
                events.append(ev.TextDelta(content))
            return
        for part in as_list(content):
            # Mistral's models think in parts of the content.
            thoughts = (as_str(as_dict(thought).get("text")) for thought in as_list(as_dict(part).get("thinking")))
            events.extend(ev.ReasoningDelta(thought) for thought in thoughts if thought)
            text = as_str(as_dict(part).get("text"))
            if text:
                events.append(ev.TextDelta(text))
            self._refusal(as_dict(part).get("refusal"), events)

    def _refusal(self, refusal: Any, events: list[ev.Event]) -> None:
        if isinstance(refusal, str) and refusal:
            self._refused = True
            events.append(ev.TextDelta(refusal))


def _sources(delta: dict[str, Any], events: list[ev.Event]) -> None:
    for annotation in as_list(delta.get("annotations")):
        citation = as_dict(as_dict(annotation).get("url_citation"))
        if citation:
            events.append(ev.SourceFound("url_citation", as_str(citation.get("title")), as_str(citation.get("url"))))
    for tool in as_list(delta.get("executed_tools")):
        for result in as_list(as_dict(as_dict(tool).get("search_results")).get("results")):
            found = as_dict(result)
            if found:
                snippet = (as_str(found.get("content")) or "")[:_MAX_SNIPPET] or None
                title, url = as_str(found.get("title")), as_str(found.get("url"))
                events.append(ev.SourceFound("search_result", title, url, snippet))


def _usage(value: dict[str, Any], events: list[ev.Event]) -> None:
    """Add the token counts. Groq may give them twice, at the top and in `x_groq`: they are the same ones."""
    usage = as_dict(value.get("usage")) or as_dict(as_dict(value.get("x_groq")).get("usage"))
    if not usage:
        return
    prompt, completion = as_dict(usage.get("prompt_tokens_details")), as_dict(usage.get("completion_tokens_details"))
    events.append(
        ev.UsageReported(
            input_tokens=as_int(usage.get("prompt_tokens")),
            output_tokens=as_int(usage.get("completion_tokens")),
            cached_tokens=as_int(prompt.get("cached_tokens")),
            reasoning_tokens=as_int(completion.get("reasoning_tokens")),
            cache_write_tokens=as_int(prompt.get("cache_write_tokens")),
        )
    )
