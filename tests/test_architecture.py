"""The rooms and their doors: who may import whom, who may read the environment, who may own a task, how long a file may be."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from gateway.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
LINE_LIMIT = 300

IMPORTS: dict[str, frozenset[str]] = {
    "core": frozenset(),
    "wire": frozenset({"core"}),
    "providers": frozenset({"core", "wire"}),
    "store": frozenset({"core"}),
    "engine": frozenset({"core", "wire", "providers.base", "store.base"}),
    "access": frozenset({"core", "store.base"}),
    "observe": frozenset({"core", "store.base"}),
    "web": frozenset({"core", "wire", "engine", "access", "store.base", "observe"}),
}
"""What of the gateway each room may import, besides itself and the gateway's version."""

PURE_ROOMS = ("core", "wire", "providers")
IO_PACKAGES = {"aiohttp", "asyncio", "asyncpg", "redis", "socket", "sqlite3", "ssl", "subprocess", "uvloop"}

ENVIRONMENT_READERS = {
    "gateway/settings.py": "the one reader of the settings",
    "gateway/observe/metrics.py": "PROMETHEUS_MULTIPROC_DIR, which its library reads by itself",
    "gateway/observe/otel.py": "OTEL_*, which OpenTelemetry reads by itself",
    "gateway/supervisor.py": "hands the environment on to its workers",
    "run.py": "hands the environment, with the flags over it, to the settings",
}

TASK_OWNERS = {
    "gateway/admission.py": "chores such as deleting what is too old, ended at clean-up",
    "gateway/access/daily.py": "the settling of counts kept here, ended by close()",
    "gateway/engine/following.py": "words to the owners of turns that are read here, ended by close()",
    "gateway/engine/idempotency.py": "turns being opened under a key, awaited by close()",
    "gateway/engine/link.py": "this process's pulse and the reader of its letters, ended by close()",
    "gateway/engine/outbox.py": "the sender of what others are told, ended by close()",
    "gateway/engine/runner.py": "a task for each turn, awaited by drain()",
    "gateway/engine/sharing.py": "the feeding of other processes that follow turns of this one, ended by close()",
    "gateway/observe/metrics.py": "the sampling of this process, ended by close()",
    "gateway/store/indexing.py": "the taking in of messages that can be searched, ended by close()",
    "gateway/store/postgres.py": "the migration that all connections wait for, awaited or ended by close()",
    "gateway/store/pulse.py": "the question whether a silent database is back, ended by close()",
    "gateway/store/redis_line.py": "the opening of a connection that all wait for, ended by close()",
    "gateway/store/writer.py": "statements under way and the drain of the journal, awaited by close()",
    "gateway/supervisor.py": "watchers of the workers, ended when these have drained",
}


def sources(*places: str) -> list[Path]:
    found = [path for place in places for path in ((ROOT / place).rglob("*.py") if (ROOT / place).is_dir() else [ROOT / place])]
    return sorted(path for path in found if path.is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Every module a file imports, by absolute name, with its line; `from a import b` counts as `a.b`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join((*package[: len(package) - node.level + 1], node.module or "")) if node.level else node.module or ""
            yield from ((node.lineno, f"{base.rstrip('.')}.{alias.name}") for alias in node.names)


def within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "gateway").parts[0]


# Modules outside the rooms put them together, or are read by what does.
ROOM_FILES = [path for path in sources("gateway") if path.parent != ROOT / "gateway"]
ALL_FILES = sources("gateway", "simulator", "tests", "bench", "run.py")


def imports_of(paths: list[Path]) -> Iterator[tuple[Path, str, str]]:
    """Every import of the files: the file, where it stands (for the message), and the module."""
    for path in paths:
        for line, module in imported(path):
            yield path, f"{name_of(path)}:{line} imports {module}", module


def test_every_room_has_a_rule() -> None:
    assert {room_of(path) for path in ROOM_FILES} == IMPORTS.keys(), "change IMPORTS and docs/architecture.md together"


def test_a_room_imports_only_what_it_may() -> None:
    def may(room: str, module: str) -> bool:
        return any(within(module, f"gateway.{one}") for one in (room, "__version__", *IMPORTS[room]))

    wrong = [
        place for path, place, module in imports_of(ROOM_FILES) if within(module, "gateway") and not may(room_of(path), module)
    ]
    assert not wrong, "\n".join(wrong)


def test_values_and_translation_do_no_io() -> None:
    pure = [path for path in ROOM_FILES if room_of(path) in PURE_ROOMS]
    wrong = [place for _, place, module in imports_of(pure) if module.split(".")[0] in IO_PACKAGES]
    assert not wrong, "\n".join(wrong)


def test_only_the_composition_root_knows_the_simulator() -> None:
    users = {name_of(path) for path, _, module in imports_of(sources("gateway", "run.py")) if within(module, "simulator")}
    assert users == {"gateway/app.py"}
    shipped = imports_of(sources("gateway", "simulator", "run.py"))
    assert not [place for _, place, module in shipped if within(module, "tests") or within(module, "bench")]


def test_files_fit_on_a_few_screens() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in ALL_FILES}
    assert not {name: length for name, length in lengths.items() if length > LINE_LIMIT}


def environment_lines(path: Path) -> list[int]:
    """Lines that touch the process's environment."""
    names = {"environ", "environb", "getenv", "putenv", "unsetenv"}
    lines = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "os"
    ]
    return lines + [line for line, module in imported(path) if module in {f"os.{name}" for name in names}]


def test_settings_alone_read_the_environment() -> None:
    found = {name_of(path) for path in sources("gateway", "run.py") if environment_lines(path)}
    assert found - ENVIRONMENT_READERS.keys() == set(), "read a setting instead, or name the file and its reason"
    assert ENVIRONMENT_READERS.keys() - found == set(), "listed, but reads no environment any more"


def test_every_setting_is_in_use() -> None:
    used = {
        node.attr for path in sources("gateway", "run.py") for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)
    }
    by_provider = ("_api_key", "_model", "_models", "_base_url")
    assert {name for name in Settings.model_fields if not name.endswith(by_provider)} - used == set()


def task_lines(path: Path) -> list[int]:
    """Lines that start a task outside a task group."""
    return [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"create_task", "ensure_future", "run_coroutine_threadsafe"}
    ]


def test_every_task_has_an_owner() -> None:
    found = {name_of(path) for path in sources("gateway", "run.py") if task_lines(path)}
    assert found - TASK_OWNERS.keys() == set(), "who awaits this task at shutdown? Name the file and the owner"
    assert TASK_OWNERS.keys() - found == set(), "listed, but starts no task any more"


def test_modules_say_what_they_are_for() -> None:
    assert not [name_of(path) for path in sources("gateway", "simulator", "run.py") if not ast.get_docstring(tree(path))]
