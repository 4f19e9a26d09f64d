"""What is left of a limit, and the error when nothing is."""

import math
from collections.abc import Mapping
from typing import Literal

from gateway.core.errors import GatewayError
from gateway.core.value import value


@value
class Quota:
    """How many of `limit` remain, and in how many whole seconds there are more."""

    limit: int
    remaining: int
    reset_s: int


class OverLimit(GatewayError):
    """A limit of the caller's own is reached; `quota` tells which."""

    def __init__(self, code: Literal["rate_limited", "daily_limit_reached"], detail: str, quota: Quota) -> None:
        super().__init__(code, detail, retry_after=max(1, quota.reset_s))
        self.quota = quota


def tightest(*quotas: Quota | None) -> Quota | None:
    """The limit that will be reached first; of equal ones, the one that lasts longer."""
    known = [quota for quota in quotas if quota is not None]
    if len(known) < 2:
        return known[0] if known else None
    return min(known, key=lambda quota: (quota.remaining, -quota.reset_s))


def limit_headers(quota: Quota | None) -> Mapping[str, str]:
    """The RateLimit-* headers of an answer that counted (IETF draft-ietf-httpapi-ratelimit-headers, version 05)."""
    if quota is None:
        return {}
    return {
        "RateLimit-Limit": str(quota.limit),
        "RateLimit-Remaining": str(quota.remaining),
        "RateLimit-Reset": str(quota.reset_s),
    }


def whole_seconds(seconds: float) -> int:
    """Seconds to wait, rounded up and never negative."""
    return max(0, math.ceil(seconds))
