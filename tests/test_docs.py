"""The documentation is true: its commands run as printed, its tables name what there is, its links lead somewhere."""

import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from gateway.core.errors import KINDS
from gateway.settings import Settings
from tests.documents import DOCUMENTS, README, ROOT, Example, anchors, blocks, examples, links, prints, section, table_rows

START_S = 60
EXAMPLES = examples(README)


@dataclass(frozen=True, slots=True)
class Server:
    """A gateway started as a newcomer starts it: no settings, no key."""

    address: str
    home: Path


@dataclass(frozen=True, slots=True)
class Run:
    """What commands did."""

    status: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="gw-", dir="/tmp"))
    home.chmod(0o755)
    command = [sys.executable, str(ROOT / "run.py"), "--port", "0", "--data-dir", str(home / "data")]
    process = subprocess.Popen(
        command, cwd=home, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}, stderr=subprocess.PIPE, text=True
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if "Gateway ready at" in line:
                ready.set()
        ready.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        ready.wait(START_S)
        found = re.search(r"Gateway ready at http://(\S+)", "".join(said))
        assert found is not None, "".join(said)
        yield Server(found[1], home)
        process.terminate()
        assert process.wait(START_S) == 0, "".join(said)
    finally:
        process.kill()
        process.wait()
        listener.join()
        assert process.stderr is not None
        process.stderr.close()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def runs(server: Server) -> dict[int, Run]:
    """Every example of the README, run in order in one shell, by line."""
    if shutil.which("curl") is None:
        pytest.skip("the README's examples need curl, which is not installed")
    folder = server.home / "runs"
    folder.mkdir()
    script = "".join(
        f"{{\n{example.command.replace('localhost:8000', server.address)}}} > {example.line}.out 2> {example.line}.err\n"
        f"echo $? > {example.line}.status\n"
        for example in EXAMPLES
    )
    subprocess.run(["bash", "-c", script], cwd=folder, timeout=120, check=True)
    return {
        example.line: Run(
            int((folder / f"{example.line}.status").read_text()),
            (folder / f"{example.line}.out").read_text(encoding="utf-8"),
            (folder / f"{example.line}.err").read_text(encoding="utf-8"),
        )
        for example in EXAMPLES
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_does_what_the_readme_prints(runs: dict[int, Run], example: Example) -> None:
    run = runs[example.line]
    assert run.status == 0, run.errors
    if example.printed is not None:
        assert prints(example.printed, run.output), run.output
    else:
        assert '"code":' not in run.output


def test_repeated_questions_get_one_answer(runs: dict[int, Run]) -> None:
    run = next(runs[example.line] for example in EXAMPLES if example.command.count("Idempotency-Key: question-1") == 2)
    first, second = run.output.split("}{")
    assert first[1:] == second[:-1]


def test_the_python_client_prints_the_reply(server: Server) -> None:
    program = next(block.text for block in blocks(README) if block.language == "python")
    run = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program.replace("localhost:8000", server.address)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    assert "[محاكاة]" in run.stdout
    assert "«قمر»" in run.stdout


def test_the_queries_run(server: Server, runs: dict[int, Run]) -> None:
    assert runs, "the queries look at what the examples left"
    statements = next(block.text for block in blocks(README) if block.language == "sql").split(";")

    async def rows() -> list[int]:
        connection = await asyncpg.connect(host=str(server.home / "data" / "postgres"), user="postgres", database="postgres")
        try:
            return [len(await connection.fetch(statement)) for statement in statements if statement.strip()]
        finally:
            await connection.close()

    assert all(asyncio.run(rows()))


def test_settings_table_names_every_setting_with_its_default() -> None:
    documented: dict[str, str] = {}
    for names, default, *_ in table_rows(section(README, "Settings")):
        for name in re.findall(r"`([A-Z_]+)`", names):
            documented[name.lower()] = default.strip("`")
    assert documented.keys() == Settings.model_fields.keys()
    wrong = {
        name: default
        for name, default in documented.items()
        if default != "see below" and default != _shown(Settings.model_fields[name].default)
    }
    assert not wrong


def _shown(default: object) -> str:
    if default in (None, (), ""):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_errors_table_names_every_code_with_its_status() -> None:
    rows = table_rows(section(README, "Errors"))
    documented = {code: int(status) for status, codes, _ in rows for code in re.findall(r"`(\w+)`", codes)}
    assert documented == {code: kind.status for code, kind in KINDS.items()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in links(path):
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    commands = re.findall(r"`make ([a-z ]+)", text) + re.findall(r"^make ([a-z ]+)", text, re.MULTILINE)
    assert {word for words in commands for word in words.split()} <= targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(path: Path) -> None:
    places = re.findall(r"`((?:gateway|simulator|tests|schema|docs)/[\w./-]*)`", path.read_text(encoding="utf-8"))
    assert not [place for place in places if not (ROOT / place).exists()]
