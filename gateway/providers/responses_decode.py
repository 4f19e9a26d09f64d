"""Replies of OpenAI's Responses API, streamed or whole, as events.

A reply is a list of output items (messages, reasoning, function calls). A stream tells them piece by piece and then once
more whole; `response.completed` or `response.incomplete` ends it and brings the token counts. Items that the deltas told are
not told again. Calls, and citations, are taken from whole items alone.
Source: `ResponseStreamEvent` and `Response` of the vendor's SDK (openai 3.54).
"""

from typing import Any, Final

from gateway.core import events as ev
from gateway.core.jsontext import loads
from gateway.providers.common import as_dict, as_int, as_list, as_str, broken, truncated
from gateway.providers.openai_errors import find_error, stream_error
from gateway.providers.responses_state import keep, texts
from gateway.wire.sse import Frame

_TEXT = "response.output_text.delta"
_INCOMPLETE: dict[str, ev.FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
_BETWEEN_PARTS = "\n\n"


class ResponseDecoder:
    """Decodes one reply; see `gateway.providers.base.Decoder`."""

    __slots__ = ("_called", "_items", "_part", "_refused", "_started", "_told")
    repeats: Final = None

    def __init__(self) -> None:
        self._items: dict[int, dict[str, Any]] = {}
        self._told: set[int] = set()
        self._part: tuple[int, int] | None = None
        self._started = False
        self._refused = False
        self._called = False

    def feed(self, frame: Frame) -> list[ev.Event]:
        """Events of one frame; what follows upon a terminal one is not fed."""
        try:
            event = loads(frame.data)
        except ValueError:
            text = frame.data.decode("utf-8", "replace").strip()
            return [] if text in ("", "[DONE]") else [ev.Failed(broken(upstream_text=text))]
        if not isinstance(event, dict):
            return []
        if event.get("type") == _TEXT:
            return self._text(event)
        return self._event(event, frame)

    def end(self, stray: str) -> list[ev.Event]:
        """EOF before the reply's last event: it is cut. Bare JSON is an error, or a whole reply where nothing is streamed."""
        if stray.lstrip().startswith("{"):
            bare = decode_reply(stray.encode())
            if not self._started or isinstance(bare[-1], ev.Failed):
                return bare[-1:] if self._started else bare
        return [truncated()]

    def whole(self, response: dict[str, Any], raw: bytes) -> list[ev.Event]:
        """All events of a whole response."""
        match response.get("status"):
            case "completed" | "incomplete":
                return self._end(response)
            case "failed":
                return self._failed(response, raw)
            case _:
                return [ev.Failed(broken(upstream_text=raw.decode("utf-8", "replace")))]

    def _event(self, event: dict[str, Any], frame: Frame) -> list[ev.Event]:
        match event.get("type"):
            case "response.created" | "response.queued" | "response.in_progress":
                return self._start(as_dict(event.get("response")))
            case "response.reasoning_summary_text.delta":
                return self._thought(event, "summary_index")
            case "response.reasoning_text.delta":
                return self._thought(event, "content_index")
            case "response.refusal.delta":
                self._refused = True
                return self._text(event)
            case "response.output_item.done":
                return self._item(_index(event), as_dict(event.get("item")))
            case "response.completed" | "response.incomplete":
                return self._end(as_dict(event.get("response")))
            case "response.failed":
                return self._failed(as_dict(event.get("response")), frame.data)
            case "error":
                return [ev.Failed(stream_error(find_error(event) or event, frame.data))]
            case _:
                error = find_error(event)
                return [ev.Failed(stream_error(error, frame.data))] if error else []

    def _start(self, response: dict[str, Any]) -> list[ev.Event]:
        if self._started:
            return []
        self._started = True
        return [ev.Started(as_str(response.get("model")))]

    def _text(self, event: dict[str, Any]) -> list[ev.Event]:
        text = event.get("delta")
        if not isinstance(text, str) or not text:
            return []
        self._told.add(_index(event))
        self._part = None
        return [ev.TextDelta(text)]

    def _thought(self, event: dict[str, Any], part: str) -> list[ev.Event]:
        text = as_str(event.get("delta"))
        if not text:
            return []
        index = _index(event)
        self._told.add(index)
        return [self._reasoning((index, as_int(event.get(part)) or 0), text)]

    def _reasoning(self, part: tuple[int, int], text: str) -> ev.ReasoningDelta:
        """Parts of a summary are paragraphs: where one follows upon another, a blank line stands between them."""
        follows = self._part is not None and self._part != part
        self._part = part
        return ev.ReasoningDelta(_BETWEEN_PARTS + text if follows else text)

    def _item(self, index: int, item: dict[str, Any]) -> list[ev.Event]:
        """Events of a whole item, without what its deltas have told."""
        if index in self._items:
            return []
        self._items[index] = item
        told = index in self._told
        match item.get("type"):
            case "message":
                return self._message(item, told)
            case "reasoning" if not told:
                parts = texts(item.get("summary")) or texts(item.get("content"))
                return [self._reasoning((index, number), text) for number, text in enumerate(parts)]
            case "function_call":
                return self._call(item, item.get("arguments"))
            case "custom_tool_call":
                return self._call(item, {"input": as_str(item.get("input")) or ""})
            case _:
                return []

    def _message(self, item: dict[str, Any], told: bool) -> list[ev.Event]:
        parts = [as_dict(part) for part in as_list(item.get("content"))]
        self._refused = self._refused or any(part.get("refusal") for part in parts)
        said: list[ev.Event] = [] if told else [ev.TextDelta(text) for text in texts(parts)]
        self._part = None
        return said + [_source(as_dict(cited)) for part in parts for cited in as_list(part.get("annotations")) if as_dict(cited)]

    def _call(self, item: dict[str, Any], arguments: Any) -> list[ev.Event]:
        name = as_str(item.get("name"))
        if not name:
            return []
        self._called, self._part = True, None
        return [ev.ToolCalled(as_str(item.get("call_id")), name, arguments if isinstance(arguments, str | dict) else "")]

    def _end(self, response: dict[str, Any]) -> list[ev.Event]:
        events = self._start(response)
        for index, item in enumerate(as_list(response.get("output"))):
            events += self._item(index, as_dict(item))
        events += _usage(response)
        state = keep([self._items[index] for index in sorted(self._items)])
        if state is not None:
            events.append(ev.StateKept(state))
        return [*events, ev.Finished(self._reason(response))]

    def _failed(self, response: dict[str, Any], raw: bytes) -> list[ev.Event]:
        return [*self._start(response), *_usage(response), ev.Failed(stream_error(find_error(response) or {}, raw))]

    def _reason(self, response: dict[str, Any]) -> ev.FinishReason:
        if self._refused:
            return "content_filter"
        if response.get("status") == "incomplete":
            return _INCOMPLETE.get(as_str(as_dict(response.get("incomplete_details")).get("reason")) or "", "error")
        return "tool_calls" if self._called else "stop"


def decode_reply(body: bytes) -> list[ev.Event]:
    """Return the events of a whole reply, the last of them terminal."""
    try:
        response = as_dict(loads(body))
    except ValueError:
        response = {}
    error = find_error(response)
    if error and response.get("status") != "failed":
        return [ev.Failed(stream_error(error, body))]
    return ResponseDecoder().whole(response, body)


def _index(event: dict[str, Any]) -> int:
    index = event.get("output_index")
    return index if isinstance(index, int) else -1


def _source(cited: dict[str, Any]) -> ev.SourceFound:
    """Citations of pages have a title and a URL, those of files a name."""
    title = as_str(cited.get("title")) or as_str(cited.get("filename"))
    return ev.SourceFound(as_str(cited.get("type")) or "citation", title, as_str(cited.get("url")))


def _usage(response: dict[str, Any]) -> list[ev.Event]:
    usage = as_dict(response.get("usage"))
    if not usage:
        return []
    read, written = as_dict(usage.get("input_tokens_details")), as_dict(usage.get("output_tokens_details"))
    return [
        ev.UsageReported(
            input_tokens=as_int(usage.get("input_tokens")),
            output_tokens=as_int(usage.get("output_tokens")),
            cached_tokens=as_int(read.get("cached_tokens")),
            reasoning_tokens=as_int(written.get("reasoning_tokens")),
            cache_write_tokens=as_int(read.get("cache_write_tokens")),
        )
    ]
