"""A PostgreSQL of the gateway's own, for runs without DATABASE_URL: kept between runs, on a unix socket, in DATA_DIR."""

import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gateway.store import postmaster
from gateway.store.account import EmbeddedError
from gateway.store.cluster import SUPERUSER, Cluster, open_cluster

__all__ = ["EmbeddedError", "EmbeddedPostgres"]

log = logging.getLogger(__name__)

_SOCKET_PATH_BYTES: Final = 103  # macOS; Linux has 107
_WATCH_S: Final = 0.5
_RETRY_S: Final = 5.0
_LOG_BYTES: Final = 10_000_000


class EmbeddedPostgres:
    """Belongs to the process that makes it, which must hold DATA_DIR for itself; in a forked child `stop` does nothing.

    A server that dies while it is in use is started again under the same address. `settings` are PostgreSQL's own.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._home = data_dir
        self._settings = dict(settings or {})
        self._owner = os.getpid()
        self._cluster: Cluster | None = None
        self._sockets: Path | None = None
        self._own_sockets: Path | None = None
        self._pid = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> str:
        """Start the server, or take over the one that a killed run left, and return its address. Raises `EmbeddedError`."""
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            self._home = self._home.resolve()
            self._cluster = open_cluster(self._home)
            self._sockets = self._run(self._cluster)
        except (OSError, subprocess.SubprocessError) as error:
            raise EmbeddedError(f"PostgreSQL cannot be started in {self._home}: {error}") from error
        self._watcher = threading.Thread(target=self._watch, name="embedded-postgres", daemon=True)
        self._watcher.start()
        return f"postgresql://{SUPERUSER}@/postgres?host={quote(str(self._sockets), safe='')}"

    def stop(self) -> None:
        """End the server cleanly, within some 30 seconds; its data stays. May be called twice, and without `start`."""
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        with self._lock:
            if self._alive():
                postmaster.end(self._pid)
            self._pid = 0
        if self._own_sockets is not None:
            shutil.rmtree(self._own_sockets, ignore_errors=True)
            self._own_sockets = None

    def give_up(self) -> None:
        """Make a `start` under way raise `EmbeddedError` soon, leaving no server; may be called from a signal handler."""
        self._stopping.set()

    def abandon(self) -> None:
        """Tell the server to stop and do not wait for it; may be called from a signal handler."""
        if self._pid and os.getpid() == self._owner:
            with suppress(OSError):
                os.kill(self._pid, signal.SIGINT)

    def _run(self, cluster: Cluster) -> Path:
        found = postmaster.leftover(cluster, self._stopping)
        if found is not None:
            self._pid = found.pid
            return found.sockets
        sockets = self._socket_folder(cluster)
        self._launch(cluster, sockets)
        return sockets

    def _launch(self, cluster: Cluster, sockets: Path) -> None:
        log_file = self._home / "postgres.log"
        if log_file.exists() and log_file.stat().st_size > _LOG_BYTES:
            log_file.replace(log_file.with_suffix(".log.old"))
        log_file.touch(mode=0o600)
        postmaster.launch(cluster, sockets, log_file, self._settings, self._stopping, self._started)

    def _started(self, pid: int) -> None:
        self._pid = pid

    def _socket_folder(self, cluster: Cluster) -> Path:
        """The data directory, closed to everyone else, or a private folder where its path is too long for a socket's."""
        if len(os.fsencode(cluster.data / f".s.PGSQL.{postmaster.PORT}")) <= _SOCKET_PATH_BYTES:
            return cluster.data
        self._own_sockets = Path(tempfile.mkdtemp(prefix="gateway-", dir="/tmp"))
        if cluster.account is not None:
            cluster.account.own(self._own_sockets)
        return self._own_sockets

    def _watch(self) -> None:
        pause = _WATCH_S
        while not self._stopping.wait(pause):
            with self._lock:
                pause = _WATCH_S if self._alive() or self._revived() else _RETRY_S

    def _alive(self) -> bool:
        """Whether our server runs: its number may be another program's by now."""
        return self._cluster is not None and self._pid != 0 and postmaster.serves(self._pid, self._cluster.data)

    def _revived(self) -> bool:
        assert self._cluster is not None
        assert self._sockets is not None
        log.error("PostgreSQL (pid %d) has died: starting it again", self._pid)
        begun = time.monotonic()
        try:
            self._launch(self._cluster, self._sockets)
        except (EmbeddedError, OSError, subprocess.SubprocessError):
            if not self._stopping.is_set():
                log.exception("PostgreSQL could not be started again")
            return False
        log.warning("PostgreSQL runs again (pid %d) after %.1f s", self._pid, time.monotonic() - begun)
        return True
