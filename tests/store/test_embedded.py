"""A PostgreSQL of the gateway's own: started, kept, found again, brought back."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest

from gateway.store import postmaster
from gateway.store.cluster import Cluster
from gateway.store.embedded import EmbeddedError, EmbeddedPostgres
from tests.store.homes import AS_ROOT, FAST, ask, empty_home, home, server, used_home

__all__ = ["empty_home", "home", "server", "used_home"]

PATIENCE_S = 60.0
CHILD = """
import sys
from pathlib import Path
from gateway.store.embedded import EmbeddedPostgres
print(EmbeddedPostgres(Path(sys.argv[1])).start(), flush=True)
sys.stdin.read()
"""


def pid_in(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


async def answered(url: str, statement: str) -> object:
    """The answer, once the server that is being started again gives one."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ask(url, statement)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)


def kill_with_children(pid: int) -> None:
    process = psutil.Process(pid)
    for one in (process, *process.children(recursive=True)):
        one.kill()
    process.wait()


async def test_data_is_kept_between_runs_and_the_server_is_not(home: Path, server: EmbeddedPostgres) -> None:
    url = server.start()
    pid = pid_in(home)
    await ask(url, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('كِتاب')", "SELECT 1")
    server.stop()
    server.stop()
    assert not postmaster.runs(pid)
    assert not (home / "postgres" / "postmaster.pid").exists()
    again = EmbeddedPostgres(home, FAST)
    try:
        assert again.start() == url
        assert await ask(url, "SELECT word FROM kept") == "كِتاب"
        assert await ask(url, "SELECT upper('é') || current_setting('server_encoding')") == "ÉUTF8"
    finally:
        again.stop()


async def test_nobody_else_may_look_at_it(home: Path, server: EmbeddedPostgres) -> None:
    url = server.start()
    assert (home / "postgres").stat().st_mode & 0o077 == 0
    assert await ask(url, "SHOW listen_addresses") == ""
    assert os.getsid(pid_in(home)) != os.getsid(0), "Ctrl-C in the terminal must not reach it"
    family = [process.pid for process in psutil.Process().children(recursive=True)]
    assert pid_in(home) not in family, "whoever ends this process with all its children must not end it"


def servers_in(home: Path) -> list[int]:
    """Every process of PostgreSQL that works in this DATA_DIR."""
    return [process.pid for process in psutil.process_iter() if postmaster.serves(process.pid, (home / "postgres").resolve())]


def test_a_start_that_is_given_up_leaves_no_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedPostgres(home, FAST)
    seen: list[int] = []

    def started(pid: int) -> None:
        seen.append(pid)
        server.give_up()

    monkeypatch.setattr(server, "_started", started)
    with pytest.raises(EmbeddedError, match="told to stop"):
        server.start()
    server.stop()
    assert len(seen) == 1
    assert servers_in(home) == []


async def test_a_server_that_is_abandoned_ends_by_itself(home: Path, server: EmbeddedPostgres) -> None:
    server.start()
    server.give_up()
    server.abandon()
    async with asyncio.timeout(PATIENCE_S):
        while servers_in(home):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert not (home / "postgres" / "postmaster.pid").exists()


async def test_a_server_that_is_killed_comes_back_under_the_same_address(home: Path, server: EmbeddedPostgres) -> None:
    url = server.start()
    await ask(url, "CREATE TABLE kept (n integer)", "INSERT INTO kept VALUES (1)", "SELECT 1")
    killed = pid_in(home)
    os.kill(killed, signal.SIGKILL)
    assert await answered(url, "SELECT n FROM kept") == 1
    assert pid_in(home) != killed


async def test_what_a_killed_server_left_is_no_obstacle_whatever_it_says(
    home: Path, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its processes hold its shared memory for a while, and say good-bye in the log of the one that takes its place."""
    url = server.start()
    spawn = postmaster._spawn

    def spawn_behind_a_farewell(cluster: Cluster, command: list[str], log_file: Path) -> int:
        with log_file.open("a") as log:
            log.write("2026-11-23 20:38:02 UTC [1] FATAL:  terminating connection due to unexpected postmaster exit\n")
        return spawn(cluster, command, log_file)

    monkeypatch.setattr(postmaster, "_spawn", spawn_behind_a_farewell)
    killed = psutil.Process(pid_in(home))
    for process in killed.children():
        process.suspend()
    killed.kill()
    assert await answered(url, "SELECT 1") == 1
    assert "could not be started" not in caplog.text


def start_in_a_process_of_its_own(home: Path) -> tuple["subprocess.Popen[str]", str]:
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


async def test_the_server_of_a_killed_gateway_is_taken_over(home: Path, server: EmbeddedPostgres) -> None:
    gateway, url = start_in_a_process_of_its_own(home)
    end(gateway)
    left = pid_in(home)
    await ask(url, "CREATE TABLE kept (n integer)", "SELECT 1")
    assert server.start() == url
    assert pid_in(home) == left
    kill_with_children(left)
    assert await answered(url, "SELECT count(*) FROM kept") == 0
    assert pid_in(home) != left
    server.stop()
    assert not (home / "postgres" / "postmaster.pid").exists()


async def test_a_leftover_server_that_hangs_is_replaced(
    home: Path, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster, "_SILENCE_S", 1.0)
    gateway, _ = start_in_a_process_of_its_own(home)
    end(gateway)
    left = psutil.Process(pid_in(home))
    for process in (*left.children(), left):
        process.suspend()
    url = server.start()
    assert pid_in(home) != left.pid
    assert await ask(url, "SELECT 1") == 1


@pytest.mark.parametrize("alive", [True, False])
async def test_a_pid_file_that_names_another_program_stops_nothing(home: Path, server: EmbeddedPostgres, alive: bool) -> None:
    gateway, url = start_in_a_process_of_its_own(home)
    end(gateway)
    left = pid_in(home)
    kill_with_children(left)
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, **popen_as_server(home)) as stranger:
        if not alive:
            stranger.kill()
            stranger.wait()
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            file = home / "postgres" / name
            file.write_text(file.read_text().replace(str(left), str(stranger.pid), 1))
        assert server.start() == url
        assert await ask(url, "SELECT 1") == 1
        assert (stranger.poll() is None) is alive
        stranger.kill()


def popen_as_server(home: Path) -> dict[str, Any]:
    """The server's own user: another user's program would be told apart by that alone."""
    return {"user": (home / "postgres").stat().st_uid} if AS_ROOT else {}


async def test_a_path_too_long_for_a_socket(empty_home: Path) -> None:
    deep = empty_home / ("مجلد-طويل-" * 4) / ("x" * 60)
    server = EmbeddedPostgres(deep, FAST)
    try:
        url = server.start()
        assert await ask(url, "SELECT 1") == 1
        sockets = Path(str(await ask(url, "SHOW unix_socket_directories")).strip('"'))
        assert sockets.stat().st_mode & 0o077 == 0
    finally:
        server.stop()
    assert not sockets.exists()


def stop_in_a_forked_child(server: EmbeddedPostgres) -> None:
    child = os.fork()
    if child == 0:
        try:
            server.stop()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


async def test_a_forked_child_cannot_stop_it(server: EmbeddedPostgres) -> None:
    url = server.start()
    stop_in_a_forked_child(server)
    assert await ask(url, "SELECT 1") == 1


async def test_what_a_killed_first_start_left_is_no_obstacle(empty_home: Path) -> None:
    (empty_home / "postgres.new" / "base").mkdir(parents=True)
    (empty_home / "postgres.new" / "PG_VERSION").write_text("18\n")
    server = EmbeddedPostgres(empty_home, FAST)
    try:
        assert await ask(server.start(), "SELECT 1") == 1
    finally:
        server.stop()


def test_what_cannot_work_is_told_in_one_line(empty_home: Path) -> None:
    server = EmbeddedPostgres(empty_home)
    place = empty_home / "postgres"
    place.mkdir()
    (place / "letter.txt").write_text("سلام")
    with pytest.raises(EmbeddedError, match=r"\A[^\n]*holds something else[^\n]*\Z"):
        server.start()
    (place / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError, match=r"\A[^\n]*another version of PostgreSQL than 18[^\n]*\Z"):
        server.start()
    shutil.rmtree(place)
    place.symlink_to(empty_home / "gone")
    with pytest.raises(EmbeddedError, match=r"\A[^\n]*which is gone[^\n]*\Z"):
        server.start()


def test_a_server_that_will_not_start_says_why(home: Path) -> None:
    server = EmbeddedPostgres(home, {"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedError, match=r'\A[^\n]*invalid value for parameter "shared_buffers"[^\n]*\Z'):
        server.start()
    server.stop()
