"""Requests a minute (or hour, or day): per caller, and per address where nobody is known yet."""

import logging

from gateway.access.addresses import rate_key
from gateway.access.breaker import Breaker
from gateway.access.callers import Caller
from gateway.access.quota import OverLimit, Quota, tightest, whole_seconds
from gateway.access.windows import Hits, LocalWindows, SharedWindows
from gateway.core.rates import Rates
from gateway.store.base import RelayUnavailable

log = logging.getLogger(__name__)


class RateLimits:
    """Counts where replicas share a limit, if they do; in this process while that place is away."""

    def __init__(self, *, users: Rates, keys: Rates, sign_in: Rates, resume: Rates, shared: SharedWindows | None = None) -> None:
        self._turn: dict[str, Rates] = {"user": users, "key": keys}
        self._sign_in = sign_in
        self._resume = resume
        # Apart, so that a flood of addresses pushes no caller's window out of memory.
        self._callers = LocalWindows()
        self._addresses = LocalWindows()
        self._shared = shared
        self._breaker = Breaker()

    async def turn(self, caller: Caller) -> Quota | None:
        """Count a turn that begins; None where there is no limit. Raises `OverLimit` `rate_limited`, as all do here."""
        if caller.id is None:
            return None
        return await self._hit(self._turn.get(caller.kind, ()), f"turn:{caller.id}", self._callers)

    def rate_of(self, kind: str) -> str:
        """The rate of turns of a kind of caller, such as `20/minute`; empty: no limit."""
        return ", ".join(rate.text for rate in self._turn.get(kind, ()))

    async def resume(self, caller: Caller) -> Quota | None:
        """Count joining, resuming or replaying a turn."""
        if caller.kind not in self._turn or caller.id is None:
            return None
        return await self._hit(self._resume, f"resume:{caller.id}", self._callers)

    async def sign_in(self, address: str) -> Quota | None:
        """Count an attempt to sign in; IPv6 addresses by their /64."""
        return await self._hit(self._sign_in, f"auth:{rate_key(address)}", self._addresses)

    async def close(self) -> None:
        """Close the connections."""
        if self._shared is not None:
            await self._shared.close()

    async def _hit(self, rates: Rates, name: str, local: LocalWindows) -> Quota | None:
        if not rates:
            return None
        shared = self._shared
        hits = local.hit(rates, name) if shared is None else await self._shared_hits(shared, rates, name, local)
        quotas = []
        for rate, (passed, remaining, reset_s) in zip(rates, hits, strict=False):
            quota = Quota(rate.amount, max(0, remaining), whole_seconds(reset_s))
            if not passed:
                raise OverLimit("rate_limited", "Too many requests in a short time; wait a moment.", quota)
            quotas.append(quota)
        return tightest(*quotas)

    async def _shared_hits(self, shared: SharedWindows, rates: Rates, name: str, local: LocalWindows) -> Hits:
        if self._breaker.lets_try():
            try:
                found = await shared.hit(rates, name)
            except RelayUnavailable as error:
                if self._breaker.failed():
                    log.warning("rate limits are counted by each process alone: Redis fails: %s", error)
            else:
                self._breaker.worked()
                return found
        return local.hit(rates, name)
