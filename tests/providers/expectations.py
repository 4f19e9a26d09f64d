"""What a recording's expected result means in the gateway's own terms."""

from collections.abc import Sequence
from typing import Any

from gateway.core import events as ev
from gateway.core.errors import UpstreamError
from gateway.core.turn import Reply
from tests.providers.fixture_cases import Case, fold, terminal

_REASONS: dict[str, ev.FinishReason] = {
    **dict.fromkeys(("stop", "end_turn", "stop_sequence", "pause_turn", "STOP", "completed"), "stop"),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(("length", "max_tokens", "MAX_TOKENS", "model_context_window_exceeded", "max_output_tokens"), "length"),
    **dict.fromkeys(("content_filter", "refusal", "SAFETY", "RECITATION", "BLOCKLIST"), "content_filter"),
    **dict.fromkeys(("PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"), "content_filter"),
    **dict.fromkeys(("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER"), "error"),
}


def finish_reason(expected: dict[str, Any]) -> ev.FinishReason:
    """Return the gateway's finish reason for the provider's own."""
    if expected.get("refusal"):
        return "content_filter"
    raw = expected["finish_reason"]
    reason = "stop" if raw is None else _REASONS[raw]
    return "tool_calls" if reason == "stop" and expected["tool_calls"] else reason


def check_expected(case: Case, events: Sequence[ev.Event]) -> None:
    """Assert that the events of a recorded reply say what the recording says."""
    reply, expected = fold(events), case.expected
    assert reply.content == (expected.get("refusal") or expected["text"])
    assert "".join(thought.content for thought in reply.thoughts) == expected["thoughts"]
    _check_usage(case, reply)
    end = terminal(events)
    if expected["error"] is not None or expected.get("complete") is False:
        assert isinstance(end, ev.Failed)
        assert isinstance(end.error, UpstreamError)
        return
    _check_calls(reply, expected["tool_calls"])
    assert [(source.type, source.title, source.url) for source in reply.sources] == [
        (source["type"], source.get("title"), source.get("url")) for source in expected["sources"]
    ]
    assert isinstance(end, ev.Finished), end
    # A whole Gemini reply without a candidate: neither a refusal of the prompt nor an answer.
    empty = case.provider == "google" and expected["finish_reason"] is None
    assert reply.finish_reason == ("error" if empty else finish_reason(expected))


def _check_calls(reply: Reply, expected: list[dict[str, Any]]) -> None:
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [(call["name"], call["arguments"]) for call in expected]
    assert all(call.arguments_text is None for call in reply.tool_calls)
    ids = [call.id for call in reply.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    for found, call in zip(ids, expected, strict=True):
        assert call["id"] is None or found == call["id"]


def _check_usage(case: Case, reply: Reply) -> None:
    counts, detail = case.expected["usage"] or {}, case.expected["usage_detail"]
    usage = reply.usage
    assert usage.input_tokens == _all_input(case, counts.get("input_tokens"), detail)
    assert usage.output_tokens == counts.get("output_tokens")
    assert usage.cached_tokens == detail.get("cached_input_tokens")
    assert usage.reasoning_tokens == detail.get("reasoning_tokens")
    if case.provider == "anthropic":
        assert usage.cache_write_tokens == detail.get("cache_write_tokens")


def _all_input(case: Case, count: int | None, detail: dict[str, Any]) -> int | None:
    """Anthropic reports tokens read from and written to a cache apart from the rest of the input."""
    if case.provider != "anthropic" or count is None:
        return count
    return count + int(detail.get("cached_input_tokens", 0)) + int(detail.get("cache_write_tokens", 0))


def check_refusal(case: Case, error: UpstreamError) -> None:
    """Assert what holds for every non-2xx reply: the client learns nothing of the provider's own words."""
    assert error.upstream_status == case.status
    assert len(error.upstream_text.encode()) <= 2048
    assert error.detail.endswith(".")
    message = case.expected["error"]["message"]
    assert message not in error.detail
    assert message[:40] in error.upstream_text.replace('\\"', '"')
