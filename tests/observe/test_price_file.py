"""The operator's own prices count before the list; a file that is wrong stops the start with one line."""

from pathlib import Path

import pytest

from gateway.core.events import UsageReported
from gateway.observe.price_file import read_price_table
from gateway.observe.prices import Prices
from gateway.settings import PROVIDER_NAMES, SettingsError, load
from tests.documents import README, blocks
from tests.running import Start

USAGE = UsageReported(1000, 100, 400, 20, 50)


def write(folder: Path, text: str) -> Path:
    path = folder / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_readmes_example(tmp_path: Path) -> None:
    text = next(block.text for block in blocks(README) if block.language == "toml")
    prices = Prices(read_price_table(write(tmp_path, text), PROVIDER_NAMES))
    by_hand = (550 * 0.25 + 400 * 0.025 + 50 * 0.3125 + 100 * 2.00) / 1e6
    assert prices("openai", "gpt-6-luna", USAGE) == pytest.approx(by_hand)
    assert prices("groq", "anything", USAGE) == 0
    assert prices("openai", "gpt-4o", USAGE) == Prices()("openai", "gpt-4o", USAGE)
    assert prices("google", "a-model-of-our-own", USAGE) is None
    assert prices("groq", "anything", UsageReported()) is None


def test_the_first_pattern_that_fits_counts_and_what_is_left_out_costs_as_input(tmp_path: Path) -> None:
    text = '[openai."gpt-4o-mini"]\ninput = 1\noutput = 0\n[openai."gpt-4o*"]\ninput = 2\noutput = 0\n'
    prices = Prices(read_price_table(write(tmp_path, text), PROVIDER_NAMES))
    assert prices("openai", "gpt-4o-mini", USAGE) == pytest.approx(1000 / 1e6)
    assert prices("openai", "gpt-4o-2024", USAGE) == pytest.approx(2000 / 1e6)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[openai", "is not TOML"),
        ('[mistral."*"]\ninput = 1\noutput = 1', "mistral is none of the providers openai, anthropic, groq, google"),
        ("openai = 3", 'openai takes tables such as [openai."gpt-6-*"]'),
        ("[openai]\ninput = 3", 'openai."input" takes tables'),
        ('[openai."gpt-4o"]\ninput = 1', 'openai."gpt-4o" needs output'),
        ('[openai."gpt-4o"]\ninput = 1\noutput = -1', 'openai."gpt-4o".output takes US dollars a million tokens'),
        ('[openai."gpt-4o"]\ninput = "1"\noutput = 1', 'openai."gpt-4o".input takes US dollars a million tokens'),
        ('[openai."gpt-4o"]\ninput = nan\noutput = 1', 'openai."gpt-4o".input takes US dollars a million tokens'),
        (f'[openai."gpt-4o"]\ninput = 1{"0" * 400}\noutput = 1', 'openai."gpt-4o".input takes US dollars a million tokens'),
        ('[openai."gpt-4o"]\ninput = true\noutput = 1', 'openai."gpt-4o".input takes US dollars a million tokens'),
        (
            '[openai."gpt-4o"]\ninput = 1\noutput = 1\nprompt = 2',
            'openai."gpt-4o" takes input, output, cached, cache_write, not prompt',
        ),
    ],
)
def test_a_wrong_file_stops_the_start(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load({"PRICES_FILE": str(path)}, env_file=None)
    told = str(caught.value)
    assert told.startswith(f"PRICES_FILE: {path}")
    assert complaint in told
    assert "\n" not in told


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"PRICES_FILE: .*none\.toml cannot be read: No such file"):
        load({"PRICES_FILE": str(tmp_path / "none.toml")}, env_file=None)


async def test_replies_carry_them(start_gateway: Start, tmp_path: Path) -> None:
    path = write(tmp_path, '[openai."*"]\ninput = 1000000\noutput = 0\n')
    gateway = await start_gateway(PRICES_FILE=str(path))
    usage = (await gateway.ask({"message": "ما معنى «كتاب»؟"}))["usage"]
    assert usage["cost_usd"] == usage["input_tokens"]
