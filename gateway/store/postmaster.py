"""The PostgreSQL server process of a data directory: finding it, starting it, ending it.

A pid file is only a hint: after a kill or a restart of the machine its number may be dead or another program's. What counts
is an answer on the socket, and whose working directory the data directory is.
"""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from gateway.store.account import EmbeddedError
from gateway.store.cluster import SUPERUSER, Cluster

log = logging.getLogger(__name__)

PORT: Final = 5432
_NO_PROCESS: Final = 1 << 22  # above any pid that Linux (4,194,303) or macOS (99,998) gives
_STEP_S: Final = 0.02
_RECOVERY_S: Final = 300.0
_SILENCE_S: Final = 10.0
_FAST_STOP_S: Final = 30.0
_KILL_S: Final = 30.0
# The shell ends at once, so that the server becomes a child of the system's first process: whoever ends the gateway with all
# its children leaves the database alone.
_DETACH: Final = '"$@" >&2 & echo $!'
_SETTINGS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements hold what people wrote
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class PidFile:
    """What `postmaster.pid` says (PostgreSQL source, src/include/utils/pidfile.h)."""

    pid: int
    sockets: Path
    port: str


def read_pid_file(data: Path) -> PidFile | None:
    """The pid file, or None when there is none or it is not whole."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return PidFile(int(lines[0]), Path(lines[4]), lines[3])
    except (OSError, ValueError, IndexError):
        return None


def leftover(cluster: Cluster, stopping: threading.Event) -> PidFile | None:
    """The server that an earlier run left behind and that answers; one that does not is ended."""
    found = read_pid_file(cluster.data)
    if found is None:
        return None
    if not serves(found.pid, cluster.data):
        _disown(cluster.data)
        return None
    if _answers_in_time(cluster, found.sockets, found.pid, stopping):
        return found
    if not stopping.is_set():
        log.warning("PostgreSQL (pid %d) does not answer: ending it", found.pid)
    end(found.pid, gracefully=stopping.is_set())
    _disown(cluster.data)
    return None


def launch(
    cluster: Cluster,
    sockets: Path,
    log_file: Path,
    settings: Mapping[str, str],
    stopping: threading.Event,
    on_pid: Callable[[int], None],
) -> None:
    """Start a server and return when it answers; `on_pid` hears its number before. Raises `EmbeddedError`, also when
    `stopping` is set meanwhile; then no server is left.

    It is no child of ours and has a session of its own, so that Ctrl-C in the terminal ends the gateway first.
    """
    chosen = {**_SETTINGS, "unix_socket_directories": _quoted(sockets), **settings}
    command = [cluster.program("postgres"), "-D", str(cluster.data), *(f"--{name}={value}" for name, value in chosen.items())]
    give_up = time.monotonic() + _SILENCE_S
    while not stopping.is_set():
        written = log_file.stat().st_size if log_file.exists() else 0
        pid = _spawn(cluster, command, log_file)
        on_pid(pid)
        if _answers_in_time(cluster, sockets, pid, stopping):
            return
        end(pid, gracefully=stopping.is_set())
        if stopping.is_set():
            break
        reason = _last_words(log_file, written, pid)
        in_the_way = "shared memory" in reason or "lock file" in reason
        if not in_the_way or time.monotonic() > give_up:
            raise EmbeddedError(f"PostgreSQL did not start: {reason} (see {log_file})")
        _end_orphans(cluster.data)
        _disown(cluster.data)
    raise EmbeddedError("PostgreSQL was told to stop before it had started")


def _spawn(cluster: Cluster, command: list[str], log_file: Path) -> int:
    with log_file.open("ab") as output:
        shell = subprocess.run(  # noqa: S603 - our own words
            ["/bin/sh", "-c", _DETACH, "sh", *command],
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            check=True,
            **cluster.popen,
        )
    return int(shell.stdout)


def serves(pid: int, data: Path) -> bool:
    """Whether the process is a server of this data directory."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data
    except (psutil.Error, OSError):
        return False


def runs(pid: int) -> bool:
    """Whether there is such a process, and not just what a dead one left for its parent to collect."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # as a container's first process we are the parent of all orphans
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end(pid: int, *, gracefully: bool = True) -> None:
    """End a server: clients cut off and everything written (a "fast" shutdown); by force if that takes too long."""
    try:
        process = psutil.Process(pid)
        backends = process.children(recursive=True)
    except psutil.Error:
        return
    if gracefully and _ended(process, signal.SIGINT, _FAST_STOP_S):
        return
    if _ended(process, signal.SIGQUIT, _SILENCE_S):
        return
    for one in (process, *backends):
        _ended(one, signal.SIGKILL, _KILL_S)


def _ended(process: psutil.Process, number: signal.Signals, patience_s: float) -> bool:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a stopped process would not hear the first
    give_up = time.monotonic() + patience_s
    while runs(process.pid):
        if time.monotonic() > give_up:
            return False
        time.sleep(_STEP_S)
    return True


def _end_orphans(data: Path) -> None:
    """End what a killed server left behind: its backends, which hold its shared memory while they run."""
    for process in psutil.process_iter():
        if serves(process.pid, data):
            _ended(process, signal.SIGKILL, _KILL_S)


def _answers_in_time(cluster: Cluster, sockets: Path, pid: int, stopping: threading.Event) -> bool:
    """Wait until the server accepts connections; False when it ends, stays silent, or shall stop. Recovery after a crash may
    take long, but a server that recovers says so."""
    command = [
        cluster.program("pg_isready"),
        "-q",
        "-t",
        "2",
        "-h",
        str(sockets),
        "-p",
        str(PORT),
        "-U",
        SUPERUSER,
        "-d",
        "postgres",
    ]
    begun = heard = time.monotonic()
    while runs(pid) and not stopping.is_set():
        status = subprocess.run(command, check=False, **cluster.popen).returncode  # noqa: S603 - our own words
        now = time.monotonic()
        if status == 0:
            return True
        if status == 1:
            heard = now
        if now - heard > _SILENCE_S or now - begun > _RECOVERY_S:
            return False
        time.sleep(_STEP_S)
    return False


def _disown(data: Path) -> None:
    """Correct a pid file whose number no longer means our server (it is another program's now, or that of a dead process
    nobody collected), which would keep the server from starting. The rest of the file stays: by it the server sees whether
    the old one's shared memory is still in use."""
    for path in (data / "postmaster.pid", data / f".s.PGSQL.{PORT}.lock"):
        with suppress(OSError, ValueError):
            number, _, rest = path.read_text().partition("\n")
            if psutil.pid_exists(int(number)) and not serves(int(number), data):
                path.write_text(f"{_NO_PROCESS}\n{rest}")


def _quoted(folder: Path) -> str:
    return '"' + str(folder).replace('"', '""') + '"'


def _last_words(log_file: Path, start: int, pid: int) -> str:
    """Why the server ended, from its log behind `start`, where the processes of a killed one may still write too."""
    with log_file.open("rb") as written:
        written.seek(start)
        lines = written.read(65_536).decode("utf-8", "replace").splitlines()
    fatal = [line.partition("FATAL:") for line in lines if "FATAL:" in line]
    own = [words for prefix, _, words in fatal if f"[{pid}]" in prefix]
    found = own or [words for _, _, words in fatal] or lines[-1:] or ["it said nothing"]
    return found[0].strip()
