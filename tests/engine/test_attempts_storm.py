"""Calls that answer, fail, fall silent and are cancelled at random: each turn is told its end once, and no key stays held."""

import asyncio
import random
from typing import Final

import pytest

from gateway.core import events as ev
from gateway.core.errors import UpstreamError, UpstreamKind
from gateway.engine.breaker import BreakerPolicy
from gateway.engine.policy import Policy
from tests.engine.pretending import AT_ONCE, PROMPT, Act, Pretended, Turns, answers, fails, trail

FAILURES: Final[list[tuple[UpstreamKind, int | None]]] = [
    ("server", 500),
    ("broken", None),
    ("timeout", None),
    ("connect", None),
    ("overloaded", 529),
    ("rate_limited", 429),
    ("quota", 429),
    ("key_refused", 401),
    ("key_refused", 403),
    ("rejected", 400),
]
SAID: Final = ev.TextDelta("بدأ")
OVERLOADED: Final = ev.Failed(UpstreamError("provider_overloaded", "…", kind="overloaded"))


def any_act(dice: random.Random) -> Act:
    kind, status = dice.choice(FAILURES)
    return dice.choice(
        [
            answers("واحد|اثنان|ثلاثة"),
            Act([[SAID]], silent=True),
            Act(silent=True),
            Act([[SAID, OVERLOADED]]),
            fails(kind, status, after=dice.choice([(), (), (SAID,)]), parameter=dice.choice([None, "temperature"])),
            fails(kind, status),
        ]
    )


async def ask(turns: Turns, dice: random.Random) -> None:
    """A turn of which nobody wants more than some batches."""
    choice = turns.router.choose(None, None)
    own = trail(choice)
    wanted = dice.choice([1, 2, 3, 99, 99])
    taken: list[list[ev.Event]] = []

    def take(batch: list[ev.Event]) -> bool:
        assert batch
        assert len(taken) < wanted, "it had enough"
        taken.append(batch)
        own.fold.extend(batch)
        return len(taken) == wanted

    await turns.attempts.run(choice, PROMPT, own, take, stream=dice.random() < 0.7)
    ends = [event for batch in taken for event in batch if isinstance(event, ev.Finished | ev.Failed)]
    assert len(ends) == 1 or len(taken) == wanted


@pytest.mark.parametrize("seed", range(40))
async def test_calls_cancelled_at_random_leave_every_key_free(seed: int) -> None:
    dice = random.Random(seed)
    upstream = Pretended(openai=[any_act(dice) for _ in range(100)], groq=[any_act(dice) for _ in range(100)])
    turns = Turns(
        upstream,
        keys={"openai": 2, "groq": 2},
        fallback=dice.choice([[], ["groq"]]),
        policy=Policy(max_retries=2, backoff=AT_ONCE, continue_on_break=dice.random() < 0.5),
        breaker=BreakerPolicy(minimum=3, open_s=0.0, open_max_s=0.0),
    )
    tasks: list[asyncio.Task[None]] = []
    for _ in range(50):
        tasks.append(asyncio.create_task(ask(turns, dice)))
        for _ in range(dice.randrange(6)):
            await asyncio.sleep(0)
        if dice.random() < 0.5:
            dice.choice(tasks).cancel()
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)] == []
    assert upstream.open == 0
    for key in (key for pool in turns.router.pools.values() for key in pool.keys):
        assert key.in_flight == 0
        assert not key.rests.probed("model")
        # Open for no time at all: whoever comes next is the probe, unless one is still out.
        assert key.breaker.ready()
