"""docs/deploy.md and docs/scaling.md: their SQL runs, and they name settings and files that there are, and all of the files."""

import re
from pathlib import Path

import asyncpg
import pytest

from gateway.settings import Settings
from tests.documents import ROOT, blocks

DEPLOY = ROOT / "docs" / "deploy.md"
SCALING = ROOT / "docs" / "scaling.md"
STATEMENTS = [
    statement.strip()
    for block in blocks(SCALING)
    if block.language == "sql"
    for statement in block.text.split(";")
    if statement.strip()
]
# Of others: PostgreSQL's and systemd's words, build arguments, hosts' own variables.
NOT_OURS = {"PATH", "VACUUM FULL", "RUN_AS", "RAILWAY_RUN_UID", "ARG"}


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda statement: statement.split("\n")[0][:40])
async def test_sql_runs(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.fetch(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("path", [DEPLOY, SCALING], ids=lambda path: path.name)
def test_settings_are_settings(path: Path) -> None:
    spans = re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))
    named = {name for span in spans for name in re.findall(r"^([A-Z][A-Z_]+)(?:=|$)", span)} - NOT_OURS
    assert named
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_every_file_is_described() -> None:
    text = DEPLOY.read_text(encoding="utf-8") + (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file()]
    whole = ("helm", "pgbouncer")
    missing = [path.name for path in files if path.name not in text and path.relative_to(ROOT / "deploy").parts[0] not in whole]
    # compose.conf is docker-compose.yml's own.
    assert missing == ["compose.conf"]
    named = re.findall(r"deploy/[\w./-]+\.\w+", text)
    assert not [name for name in named if not (ROOT / name).is_file()]
