"""Whom a turn asked, and what came of it."""

from collections.abc import Callable

from gateway.core.errors import UpstreamError
from gateway.core.events import Event, UsageReported
from gateway.core.fold import Fold
from gateway.core.messages import Prompt
from gateway.core.turn import Attempt
from gateway.engine.usage import NOTHING, added, at_least

Price = Callable[[str, str, UsageReported], float | None]


class Trail:
    """`provider` and `model` are those asked last; `attempts` the calls that did not answer the turn, in order.

    A reply that was continued is several providers' work: `parts` holds what each of the earlier ones used, `own` what the
    current one did. `unsaid` is what a broken whole reply held. `cached`: the reply is another turn's, which paid for it;
    `question_hash`: see `TurnEnded`.
    """

    __slots__ = ("attempts", "cached", "fold", "model", "own", "parts", "provider", "question_hash", "unsaid")

    def __init__(self, provider: str, model: str, fold: Fold) -> None:
        self.provider = provider
        self.model = model
        self.fold = fold
        self.attempts: list[Attempt] = []
        self.parts: list[tuple[str, str, UsageReported]] = []
        self.own = NOTHING
        self.unsaid: list[Event] = []
        self.cached = False
        self.question_hash: str | None = None

    def asked(self, provider: str, model: str) -> None:
        """A call goes out."""
        self.provider, self.model = provider, model
        self.own = NOTHING
        self.unsaid = []

    def failed(self, error: UpstreamError) -> None:
        """The call did not answer the turn."""
        self.attempts.append(Attempt(self.provider, self.model, error.code, error.upstream_status))

    def broke_off(self) -> None:
        """What has come stays; somebody else goes on."""
        self.parts.append((self.provider, self.model, self.own if self.parts else self.fold.usage))

    def usage_before(self) -> UsageReported:
        """What the earlier parts used."""
        total = self.parts[0][2]
        for _, _, usage in self.parts[1:]:
            total = added(total, usage)
        return total

    def cost(self, price: Price, cut: Prompt | None = None) -> float | None:
        """US dollars for the whole reply, None when a price or a count is unknown. Where it was cut, `cut` is what was asked:
        then the counts that are missing are estimated, since what came is paid for."""
        if self.cached:
            return 0.0
        if not self.parts:
            usage = self.fold.usage
            return price(self.provider, self.model, usage if cut is None else at_least(usage, cut, self.fold.size))
        costs = [price(*part) for part in (*self.parts, (self.provider, self.model, self.own))]
        return None if None in costs else sum(cost for cost in costs if cost is not None)
