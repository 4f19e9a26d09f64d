"""How long to wait before the next try: exponential with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: the first wait is at most `base_s`, each further one at most twice that, none more than `cap_s`."""

    base_s: float = 0.5
    cap_s: float = 8.0

    def delay(self, tries: int) -> float:
        """A random wait behind the `tries`-th failure (1, 2, …), evenly between nothing and its bound."""
        return random.uniform(0.0, min(self.cap_s, self.base_s * 2.0 ** min(tries - 1, 32)))  # noqa: S311 - no secret
