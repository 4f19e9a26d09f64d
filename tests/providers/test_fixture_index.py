"""The recordings are what their meta files and their index say."""

import hashlib

import pytest

from tests.providers import fixture_cases as fx

CASES = [case for name in fx.DIRECTORIES for case in fx.cases(name)]


def test_every_recording_is_as_it_was_taken() -> None:
    """Fails where an editor or a checkout changed line ends."""
    changed = [str(case) for case in CASES if hashlib.sha256(case.body).hexdigest() != case.meta["sha256"]]
    assert changed == []


@pytest.mark.parametrize("provider", fx.DIRECTORIES)
def test_the_index_names_every_recording(provider: str) -> None:
    heading = f"## {fx.DIRECTORIES[provider]}/"
    index = (fx.FIXTURES / "README.md").read_text().split(heading)[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in index.splitlines() if "`" in line] == [
        f"{case.name}.{case.kind}" for case in fx.cases(provider)
    ]


def test_what_was_made_up_says_so_in_its_name() -> None:
    made_up = {"derived": "derived-", "handmade-by-source-repo": "handmade-", "handmade": "handmade-"}
    for case in CASES:
        fidelity = case.meta["fidelity"].split(" ")[0]
        assert case.name.startswith(made_up.get(fidelity, ("stream-", "json-", "error-", "compat-"))), str(case)
