"""Rates as people write them."""

import pytest

from gateway.core.rates import parse_rates


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("20/minute", [(20, 60)]),
        ("1 per 2 seconds", [(1, 2)]),
        ("5/second;100/hour", [(5, 1), (100, 3600)]),
        (" 3 / 10 Minutes , 1000/Day ", [(3, 600), (1000, 86_400)]),
        ("10 per 3600 seconds|2000/month", [(10, 3600), (2000, 2_592_000)]),
        ("5/year", [(5, 31_104_000)]),
    ],
)
def test_rates_that_are_read(text: str, bounds: list[tuple[int, int]]) -> None:
    assert [(rate.amount, rate.seconds) for rate in parse_rates(text)] == bounds


def test_they_are_shown_as_they_were_written() -> None:
    assert [rate.text for rate in parse_rates("5/second; 100 per 2 hours")] == ["5/second", "100 per 2 hours"]


@pytest.mark.parametrize("text", ["", " ", "none", "OFF", "0"])
def test_no_rate(text: str) -> None:
    assert parse_rates(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "20",
        "minute",
        "twenty/minute",
        "20/fortnight",
        "0/minute",
        "-1/minute",
        "9999999/day",
        "5/0 minutes",
        "5/1000 days",
        "5/2 years",
        "٢٠/minute",
        "20/minute;x",
        "20/minute;",
        "9" * 5000 + "/day",
    ],
)
def test_rates_that_stop_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="takes a rate such as 20/minute"):
        parse_rates(text)
