"""The fault table over real sockets: statuses, bodies and moments, for each provider, whole and streamed."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.core.errors import KINDS
from tests.faults import fault_table
from tests.faults.fault_bench import NAMES, TEXT, Bench, Seen, Setup, bench, run_all
from tests.faults.fault_table import Cell

Table = Callable[[str, bool], Iterator[Cell]]


@pytest.fixture
async def faults() -> AsyncIterator[Bench]:
    """A bench that checks, at the end, that nothing is left open."""
    async with bench() as running:
        yield running


def test_there_are_enough_cells() -> None:
    tables = (fault_table.by_status, fault_table.once, fault_table.by_moment)
    cells = [cell for table in tables for name in NAMES for stream in (False, True) for cell in table(name, stream)]
    assert len({(cell.provider, cell.stream, cell.script) for cell in cells}) == len(cells) >= 1000


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize(
    "table", [fault_table.by_status, fault_table.once, fault_table.by_moment], ids=lambda table: table.__name__
)
async def test_cells(faults: Bench, table: Table, provider: str, stream: bool) -> None:
    async def check(cell: Cell) -> str | None:
        setup = Setup(turn_timeout_s=0.5) if cell.stalls and not cell.stream else Setup()
        seen = await faults.cell(cell.provider, cell.script, stream=cell.stream, setup=setup, hasty=cell.stalls)
        wrong = list(differences(cell, seen))
        return f"{cell.script}: {'; '.join(wrong)}" if wrong else None

    cells = list(table(provider, stream))
    await run_all([lambda cell=cell: check(cell) for cell in cells if not cell.stalls])  # type: ignore[misc]
    await run_all([lambda cell=cell: check(cell) for cell in cells if cell.stalls])  # type: ignore[misc]


def differences(cell: Cell, seen: Seen) -> Iterator[str]:
    """What is not as it has to be, for the client, in the log and upstream."""
    expected, ended, told = cell.expected, seen.record.ended, seen.told
    found = (ended.status, ended.error.code if ended.error else None)
    if found != ("completed" if expected.code is None else "failed", expected.code):
        yield f"ended {found}, not {expected.code}"
    if ended.error is not None and ended.error.retryable != expected.retryable:
        yield f"retryable is {ended.error.retryable}"
    if len(seen.calls) != expected.calls or set(seen.calls) != {cell.provider}:
        yield f"called {seen.calls}, not {expected.calls} times"
    if len(ended.attempts) != len(seen.calls) - (expected.code is None):
        yield f"logged {len(ended.attempts)} failed calls of {len(seen.calls)}"
    if (ended.provider, ended.reply.content) != (cell.provider, told.text):
        yield f"logged {ended.reply.content!r} of {ended.provider}, told {told.text!r}"
    if extent(told.text) != expected.text:
        yield f"text {told.text!r} is not {expected.text}"
    yield from _told(cell, seen)


def _told(cell: Cell, seen: Seen) -> Iterator[str]:
    expected, told = cell.expected, seen.told
    last = "done" if expected.code is None else "failed"
    if told.names[0] != "start" or told.names[-1] != last or {"done", "failed"} & set(told.names[:-1]):
        yield f"told {told.names}"
    early = expected.code is not None and expected.text == "none"
    if told.status != (KINDS[expected.code].status if early and expected.code else 200):
        yield f"status {told.status}"
    if expected.code is not None and told.last["code"] != expected.code:
        yield f"told {told.last['code']}"
    if expected.code == "provider_overloaded" and not told.last.get("retry_after"):
        yield "no time to come back"
    if told.names.count("status") != len({*range(expected.calls - 1)}):
        yield f"{told.names.count('status')} marks for {expected.calls} calls"


def extent(text: str) -> str:
    """How much of the reply a text is."""
    if not text:
        return "none"
    if text == TEXT:
        return "whole"
    return "part" if TEXT.startswith(text) else f"something else: {text!r}"
