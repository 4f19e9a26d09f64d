"""What a turn's spans say, by the names of OpenTelemetry's semantic conventions; ids, names and numbers, never what was said."""

from typing import Final

from gateway.core.turn import Attempt, TurnRecord

Attributes = dict[str, str | bool | int | float | list[str]]

_PROVIDERS: Final = {"google": "gcp.gemini"}


def turn_attributes(record: TurnRecord, *, stored: bool) -> Attributes:
    """Of the turn's own span. Tokens stand on the call that used them, so that nobody adds them up twice."""
    begun, ended = record.begun, record.ended
    found: Attributes = {
        "gateway.turn.id": begun.turn_id,
        "gateway.turn.status": ended.status,
        "gateway.turn.logged": "stored" if stored else "spooled",
        "gateway.turn.failed_attempts": len(ended.attempts),
        "gateway.request.id": begun.request_id,
        "gen_ai.conversation.id": begun.conversation_id,
    }
    if begun.caller is not None:
        found["gateway.caller"] = begun.caller
    if ended.cost_usd is not None:
        found["gateway.cost_usd"] = ended.cost_usd
    if ended.first_output_ms is not None:
        found["gateway.time_to_first_token_s"] = (ended.first_output_ms - begun.started_ms) / 1000
    if ended.error is not None:
        found["error.type"] = ended.error.code
    return found


def ask_attributes(record: TurnRecord, attempt: Attempt | None, host: str, port: int | None) -> Attributes:
    """Of one upstream call, whatever came of it; `attempt` None: the one that answered, or was asked last."""
    provider, model = (attempt.provider, attempt.model) if attempt else (record.ended.provider, record.ended.model)
    found: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider),
        "gen_ai.request.model": model,
        "server.address": host,
    }
    if port is not None:
        found["server.port"] = port
    return found


def failure_attributes(attempt: Attempt) -> Attributes:
    """Of a call that did not answer its turn, besides."""
    found: Attributes = {"error.type": attempt.code}
    if attempt.upstream_status is not None:
        found["http.response.status_code"] = attempt.upstream_status
    return found


def answer_attributes(record: TurnRecord) -> Attributes:
    """Of the call that answered its turn, besides."""
    begun, reply = record.begun, record.ended.reply
    found: Attributes = {"gen_ai.conversation.id": begun.conversation_id, "gen_ai.output.type": "text"}
    if reply.finish_reason is not None:
        found["gen_ai.response.finish_reasons"] = [reply.finish_reason]
    usage = reply.usage
    for name, count in (
        ("gen_ai.usage.input_tokens", usage.input_tokens),
        ("gen_ai.usage.output_tokens", usage.output_tokens),
        ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
        ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
    ):
        if count is not None:
            found[name] = count
    return found
