"""The fault table once more, with somebody else to ask: over real sockets, for each provider, whole and streamed."""

from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.engine.breaker import BreakerPolicy
from simulator import Script
from tests.faults import fault_table
from tests.faults.fault_bench import NAMES, TEXT, Bench, Log, Seen, Setup, bench, run_all
from tests.faults.fault_table import Cell

QUESTION = "ما معنى كلمة «كتاب»؟"


@pytest.fixture
async def faults() -> AsyncIterator[Bench]:
    """A bench that checks, at the end, that nothing is left open."""
    async with bench() as running:
        yield running


def next_to(provider: str) -> str:
    """Who is asked when a provider fails."""
    return NAMES[(NAMES.index(provider) + 1) % len(NAMES)]


def cells(provider: str, stream: bool) -> list[Cell]:
    """Every failure at every moment, and every status once."""
    statuses = [cell for cell in fault_table.by_status(provider, stream) if "body=own" in cell.script]
    return [*fault_table.by_moment(provider, stream), *statuses]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", NAMES)
async def test_before_the_first_output_another_provider_answers(faults: Bench, provider: str, stream: bool) -> None:
    setup = Setup(fallback=(next_to(provider),))
    # A silent whole reply lasts as long as its turn: nobody is left to ask then.
    table = [cell for cell in cells(provider, stream) if stream or not cell.stalls]

    async def check(cell: Cell) -> str | None:
        seen = await faults.cell(provider, f"{cell.script} provider={provider}", stream=stream, setup=setup, hasty=cell.stalls)
        wrong = list(_answered(cell, seen, next_to(provider)))
        return f"{cell.script}: {'; '.join(wrong)}" if wrong else None

    await run_all([lambda cell=cell: check(cell) for cell in table])  # type: ignore[misc]


def _answered(cell: Cell, seen: Seen, other: str) -> Iterator[str]:
    expected, ended = cell.expected, seen.record.ended
    rejected = expected.code == "provider_rejected"
    switched = expected.code is not None and expected.text == "none" and not rejected
    calls = 1 if switched and cell.stalls else expected.calls
    if seen.calls != [cell.provider] * calls + [other] * switched:
        yield f"called {seen.calls}"
    if switched and (ended.status, ended.provider, seen.told.text) != ("completed", other, TEXT):
        yield f"ended {seen.short()}"
    if not switched and (ended.status == "completed") != (expected.code is None):
        yield f"ended {seen.short()}"
    if len(ended.attempts) != len(seen.calls) - (ended.status == "completed"):
        yield f"logged {ended.attempts}"
    if (seen.told.names.count("status") > 0) != (len(seen.calls) > 1):
        yield f"told {seen.told.names}"


@pytest.mark.parametrize("provider", NAMES)
async def test_with_continuation_no_break_is_an_error(faults: Bench, provider: str) -> None:
    setup = Setup(fallback=(next_to(provider),), continue_on_break=True)

    async def check(cell: Cell) -> str | None:
        seen = await faults.cell(provider, f"{cell.script} provider={provider}", stream=True, setup=setup, hasty=cell.stalls)
        ended, told = seen.record.ended, seen.told
        if ended.status != "completed" or told.text != TEXT or ended.reply.content != TEXT:
            return f"{cell.script}: {seen.short()}"
        if told.names[-1] != "done" or told.status != 200 or len(ended.attempts) != len(seen.calls) - 1:
            return f"{cell.script}: told {told.names}, tried {ended.attempts}"
        return None

    await run_all([lambda cell=cell: check(cell) for cell in fault_table.by_moment(provider, True)])  # type: ignore[misc]


async def test_one_that_always_fails_is_reached_by_probes_alone(faults: Bench) -> None:
    faults.simulator.script(Script(status=500, provider="openai"), calls=None)
    log = Log()
    engine = faults.engine(Setup(fallback=("groq",)), log, breaker=BreakerPolicy(minimum=6, open_s=1000.0))

    async def check() -> str | None:
        seen = await faults.ask(engine, log, "openai", QUESTION, stream=True)
        return None if seen.record.ended.status == "completed" else str(seen.short())

    for _ in range(3):
        assert await check() is None
    failing = faults.simulator.log.providers["openai"]
    assert failing == 6
    await run_all([check] * 300)
    assert faults.simulator.log.providers["openai"] == failing
    health = faults.routers[engine].health()
    assert (health["openai"].state, health["groq"].state) == ("down", "up")
    await engine.drain(1.0)


async def test_two_of_three_keys_limited_is_no_failure(faults: Bench) -> None:
    for key in ("key-1", "key-2"):
        faults.simulator.script(Script(status=429, retry_after=50, key=key), calls=None)
    log = Log()
    engine = faults.engine(Setup(retries=0, keys=("key-1", "key-2", "key-3")), log)

    async def check() -> str | None:
        seen = await faults.ask(engine, log, "anthropic", QUESTION, stream=False)
        return None if seen.record.ended.status == "completed" else str(seen.short())

    await run_all([check] * 300, at_once=1)
    keys = faults.simulator.log.keys
    assert (keys["key-1"], keys["key-2"], keys["key-3"]) == (1, 1, 300)
    states = {key.name: key.state for key in faults.routers[engine].health()["anthropic"].keys}
    assert states == {"anthropic#1": "limited", "anthropic#2": "limited", "anthropic#3": "up"}
    await engine.drain(1.0)


async def test_keys_limited_in_the_middle_of_traffic(faults: Bench) -> None:
    log = Log()
    engine = faults.engine(Setup(retries=0, keys=("key-1", "key-2", "key-3")), log)

    async def check() -> str | None:
        seen = await faults.ask(engine, log, "groq", QUESTION, stream=True)
        return None if seen.record.ended.status == "completed" else str(seen.short())

    await run_all([check] * 90)
    assert min(faults.simulator.log.keys.values()) >= 20, "spread over the keys"
    for key in ("key-1", "key-2"):
        faults.simulator.script(Script(status=429, retry_after=50, key=key), calls=None)
    await run_all([check] * 200)
    await engine.drain(1.0)


@pytest.mark.parametrize("provider", NAMES)
async def test_a_refused_key_gives_way_to_the_next(faults: Bench, provider: str) -> None:
    log = Log()
    engine = faults.engine(Setup(retries=0, keys=("invalid-1", "key-2")), log)
    for _ in range(4):
        seen = await faults.ask(engine, log, provider, QUESTION, stream=True)
        assert seen.record.ended.status == "completed"
    assert faults.simulator.log.keys["invalid-1"] == 1
    states = {key.name: key.state for key in faults.routers[engine].health()[provider].keys}
    assert states == {f"{provider}#1": "refused", f"{provider}#2": "up"}
    await engine.drain(1.0)
