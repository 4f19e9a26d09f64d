"""A turn's cost is what the price list itself computes, in every tier."""

import pytest
from genai_prices import Usage, calc_price
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.events import UsageReported
from gateway.observe.prices import Prices

MODELS = [
    ("openai", "gpt-6-luna"),
    ("openai", "gpt-4o"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-sonnet-4-5"),
    ("groq", "openai/gpt-oss-120b"),
    ("google", "gemini-3.8-flash"),
    ("google", "gemini-2.5-pro"),
    ("openrouter", "openai/gpt-4o"),
]
PRICES = Prices()


@given(
    model=st.sampled_from(MODELS),
    total=st.integers(0, 2_000_000),
    cached=st.floats(0, 1),
    written=st.floats(0, 1),
    output=st.integers(0, 200_000),
)
def test_equals_the_price_list(model: tuple[str, str], total: int, cached: float, written: float, output: int) -> None:
    read = int(total * cached)
    wrote = int((total - read) * written)
    usage = Usage(input_tokens=total, cache_read_tokens=read, cache_write_tokens=wrote, output_tokens=output)
    expected = float(calc_price(usage, model_ref=model[1], provider_id=model[0]).total_price)
    reported = UsageReported(total, output, read, None, wrote)
    assert PRICES(*model, reported) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_a_cost_by_hand() -> None:
    """gpt-4o: 2.50 $ a million tokens in, 1.25 cached, 10.00 out."""
    cost = PRICES("openai", "gpt-4o", UsageReported(1000, 100, 400, 0, 0))
    assert cost == pytest.approx((600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6)


def test_unknown_is_not_zero() -> None:
    assert PRICES("openai", "a-model-of-our-own", UsageReported(10, 10)) is None
    assert PRICES("nobody", "gpt-4o", UsageReported(10, 10)) is None
    assert PRICES("openai", "gpt-4o", UsageReported()) is None
