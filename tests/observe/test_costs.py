"""What each recorded reply cost, reckoned by hand: the vendors' list prices, and the counts as the provider sent them."""

import json
import re
from itertools import chain

import pytest

from gateway.observe.prices import Prices
from tests.providers.fixture_cases import WIRES, Case, decode_stream, fold, replies, streams

# US dollars a million tokens as the vendors list them: input, read from a cache, written to a cache, output.
PER_MILLION = {
    "claude-3-haiku-20240307": (0.25, 0.03, 0.30, 1.25),
    "claude-3-5-haiku-20241022": (0.80, 0.08, 1.00, 4.00),
    "claude-3-5-sonnet-20241022": (3, 0.30, 3.75, 15),
    "claude-haiku-4-5-20251001": (1, 0.10, 1.25, 5),
    "claude-sonnet-4-20250514": (3, 0.30, 3.75, 15),
    "claude-sonnet-4-5-20250929": (3, 0.30, 3.75, 15),
    "claude-sonnet-4-6": (3, 0.30, 3.75, 15),
    "claude-opus-4-5-20251101": (5, 0.50, 6.25, 25),
    "claude-opus-4-6": (5, 0.50, 6.25, 25),
    "gemini-2.0-flash": (0.10, 0.025, 0.10, 0.40),
    "gemini-2.5-flash": (0.30, 0.03, 0.30, 2.50),
    "gemini-2.5-pro": (1.25, 0.125, 1.25, 10),
    "gemini-3-flash-preview": (0.50, 0.05, 0.50, 3),
    "gemini-3-pro-preview": (2, 0.20, 2, 12),
    "gemini-3.5-flash": (1.50, 0.15, 1.50, 9),
    "llama-3.3-70b-versatile": (0.59, 0.59, 0.59, 0.79),
    "openai/gpt-oss-120b": (0.15, 0.075, 0.15, 0.60),
    "qwen/qwen3-32b": (0.29, 0.29, 0.29, 0.59),
    "gpt-4.1-2025-04-14": (2, 0.50, 2, 8),
    "gpt-4.1-nano-2025-04-14": (0.10, 0.025, 0.10, 0.40),
    "gpt-4o-2024-08-06": (2.50, 1.25, 2.50, 10),
    "gpt-4o-mini-2024-07-18": (0.15, 0.075, 0.15, 0.60),
    "gpt-5-2025-08-07": (1.25, 0.125, 1.25, 10),
    "gpt-5-mini-2025-08-07": (0.25, 0.025, 0.25, 2),
    "gpt-5-nano-2025-08-07": (0.05, 0.005, 0.05, 0.40),
    "gpt-5.6-sol": (4, 0.40, 5, 20),
    "gpt-6.1-sol-2026-09-30": (2, 0.10, 2.50, 10),
    "o3-mini-2025-01-31": (1.10, 0.55, 1.10, 4.40),
}
# The same where the input is longer than 200,000 tokens.
LONG = {"claude-sonnet-4-5-20250929": (6, 0.60, 7.50, 22.50)}
MODEL = re.compile(r'"model(?:Version)?": ?"([^"]+)"')
WRITTEN = re.compile(r'"cache_write_tokens": ?(\d+)')
PRICES = Prices()


def model_of(case: Case) -> str | None:
    """The model that the reply itself names."""
    found = MODEL.search(case.body.decode())
    return found[1] if found else None


CASES = [
    case
    for name in WIRES
    for case in chain(streams(name), replies(name))
    if model_of(case) in PER_MILLION and case.expected["usage"] and case.expected["usage"].get("output_tokens") is not None
]


def counts(case: Case) -> tuple[int, int, int, int]:
    """Input neither read from nor written to a cache, read, written, and output with reasoning, as the provider means them."""
    usage, detail = case.expected["usage"], case.expected["usage_detail"]
    read = detail.get("cached_input_tokens") or 0
    if case.provider == "anthropic":
        # These are counted apart from `input_tokens`.
        return usage["input_tokens"], read, detail.get("cache_write_tokens") or 0, usage["output_tokens"]
    written = max(map(int, WRITTEN.findall(case.body.decode())), default=0)
    return usage["input_tokens"] - read - written, read, written, usage["output_tokens"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_recorded_reply_costs_what_its_vendor_asks(case: Case) -> None:
    model = model_of(case)
    assert model is not None
    parts = counts(case)
    prices = LONG[model] if model in LONG and sum(parts[:3]) > 200_000 else PER_MILLION[model]
    by_hand = sum(count * price for count, price in zip(parts, prices, strict=True)) / 1_000_000
    wire = WIRES[case.provider]
    events = decode_stream(wire, case.body) if case.kind == "sse" else wire.decode_reply(case.body)
    provider = case.provider.removesuffix("-responses")
    assert PRICES(provider, model, fold(events).usage) == pytest.approx(by_hand, rel=1e-9, abs=1e-12)


def test_what_anthropic_reads_from_and_writes_to_a_cache() -> None:
    """No recording has any: these counts are made up, their names are Anthropic's."""
    usage = {"input_tokens": 100, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 3000, "output_tokens": 50}
    body = {"type": "message", "content": [{"type": "text", "text": "كتاب"}], "stop_reason": "end_turn", "usage": usage}
    reply = fold(WIRES["anthropic"].decode_reply(json.dumps(body).encode()))
    by_hand = (100 * 3 + 2000 * 0.30 + 3000 * 3.75 + 50 * 15) / 1e6
    assert PRICES("anthropic", "claude-sonnet-4-5", reply.usage) == pytest.approx(by_hand)


def test_there_is_something_of_everything() -> None:
    assert len(CASES) > 80
    assert {case.provider for case in CASES} >= {"openai", "anthropic", "groq", "google"}
    assert all(any(counts(case)[part] for case in CASES) for part in range(4))
    assert any(case.expected["usage_detail"].get("reasoning_tokens") for case in CASES)
