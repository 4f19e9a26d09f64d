"""What can go wrong, as the caller sees it: one root, one table of codes (RFC 9457 problems)."""

from dataclasses import dataclass
from typing import Literal, get_args

ErrorCode = Literal[
    "invalid_json",
    "unknown_provider",
    "unknown_model",
    "provider_rejected",
    "unauthenticated",
    "forbidden",
    "not_found",
    "method_not_allowed",
    "turn_ended",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "idempotency_mismatch",
    "rate_limited",
    "daily_limit_reached",
    "internal_error",
    "provider_error",
    "interrupted",
    "turn_elsewhere",
    "log_unavailable",
    "sign_in_unavailable",
    "provider_overloaded",
    "provider_not_configured",
    "shutting_down",
    "overloaded",
    "provider_timeout",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """What an error code stands for: HTTP status, a short title, and whether the same request may succeed later."""

    status: int
    title: str
    retryable: bool = False


KINDS: dict[ErrorCode, Kind] = {
    "invalid_json": Kind(400, "The body is not JSON"),
    "unknown_provider": Kind(400, "Unknown provider"),
    "unknown_model": Kind(400, "Unknown model"),
    "provider_rejected": Kind(400, "The provider refused the request"),
    "unauthenticated": Kind(401, "Authentication needed"),
    "forbidden": Kind(403, "Not allowed"),
    "not_found": Kind(404, "Not found"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "turn_ended": Kind(409, "The turn has ended"),
    "body_too_large": Kind(413, "The body is too large"),
    "unsupported_media_type": Kind(415, "Unsupported media type"),
    "invalid_request": Kind(422, "The request is not valid"),
    "idempotency_mismatch": Kind(422, "Not the request this key or id belongs to"),
    "rate_limited": Kind(429, "Too many requests", retryable=True),
    "daily_limit_reached": Kind(429, "Daily limit reached"),
    "internal_error": Kind(500, "Internal error", retryable=True),
    "provider_error": Kind(502, "The provider failed", retryable=True),
    "interrupted": Kind(503, "The reply was interrupted", retryable=True),
    "turn_elsewhere": Kind(503, "The turn runs in another process", retryable=True),
    "log_unavailable": Kind(503, "The log is not available now", retryable=True),
    "sign_in_unavailable": Kind(503, "Signing in is not possible now", retryable=True),
    "provider_overloaded": Kind(503, "The provider is overloaded", retryable=True),
    "provider_not_configured": Kind(503, "The provider is not configured"),
    "shutting_down": Kind(503, "The server is shutting down", retryable=True),
    "overloaded": Kind(503, "The server is overloaded", retryable=True),
    "provider_timeout": Kind(504, "The provider did not answer in time", retryable=True),
}
assert set(KINDS) == set(get_args(ErrorCode))


class GatewayError(Exception):
    """The one error that crosses rooms.

    `detail` is one plain sentence for the user, `retry_after` seconds, `fields` the places of a 422 as `(loc, msg)`.
    Nothing here may hold a key, an upstream body or SQL: it is shown to the client as it stands.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        retryable: bool | None = None,
        retry_after: float | None = None,
        fields: tuple[tuple[str, str], ...] = (),
        turn_id: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: ErrorCode = code
        self.detail = detail
        self.retryable = KINDS[code].retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.fields = fields
        self.turn_id = turn_id

    @property
    def status(self) -> int:
        """The HTTP status the code stands for."""
        return KINDS[self.code].status


UpstreamKind = Literal["rejected", "key_refused", "quota", "rate_limited", "overloaded", "server", "broken", "timeout", "connect"]


class UpstreamError(GatewayError):
    """A provider's failure, with what retries, fallback and the operator's log need to know.

    `kind` decides what may be tried next: `key_refused` and `quota` another key, `rejected` nothing (save once without
    `refused_parameter`), the rest the same again. `upstream_status` is the provider's own HTTP status (or the status inside
    its error object), `upstream_text` its own words: for the log, never for the client.
    """

    def __init__(
        self,
        code: ErrorCode,
        detail: str,
        *,
        kind: UpstreamKind,
        upstream_status: int | None = None,
        upstream_text: str = "",
        refused_parameter: str | None = None,
        retry_after: float | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(code, detail, retry_after=retry_after, retryable=retryable)
        self.kind: UpstreamKind = kind
        self.upstream_status = upstream_status
        self.upstream_text = upstream_text
        self.refused_parameter = refused_parameter
