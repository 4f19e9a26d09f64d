"""The processes that a benchmark needs: providers, the floor, the gateway, one PostgreSQL for both."""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEY = "bench-key-of-the-app"
_PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves at `url`; with a `model`, one that is asked for it at OpenAI's path instead of the gateway's."""

    name: str
    url: str
    pid: int
    headers: tuple[str, ...] = ()
    model: str = ""


def prepare() -> None:
    """Raise this process's bound of open files, and that of those it starts, as far as it may; end on SIGTERM as on Ctrl-C,
    so that nothing that was started stays behind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def process(
    *command: str, environment: dict[str, str] | None = None, ready: int | Path, program: str = sys.executable
) -> Iterator[int]:
    """Run a command until the context ends; returns its pid once it is `ready`: accepts connections at a port, or has written
    a file."""
    running = subprocess.Popen([program, *command], cwd=ROOT, env=os.environ | (environment or {}), stdout=subprocess.DEVNULL)
    try:
        _wait_for(ready, running)
        yield running.pid
    finally:
        running.terminate()
        running.wait(_PATIENCE_S)


def _wait_for(ready: int | Path, running: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up and running.poll() is None:
        if _is_ready(ready):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{running.args!r} did not start")


def _is_ready(ready: int | Path) -> bool:
    if isinstance(ready, Path):
        return ready.exists() and bool(ready.read_bytes())
    try:
        with socket.create_connection(("127.0.0.1", ready), 1):
            return True
    except OSError:
        return False


@contextmanager
def upstream(*, tokens: int, gap_ms: float = 0) -> Iterator[Server]:
    """A provider that costs next to nothing."""
    port = free_port()
    arguments = ("-m", "bench.upstream", str(port), f"--tokens={tokens}", f"--gap-ms={gap_ms}")
    with process(*arguments, ready=port) as pid:
        yield Server("direct", f"http://127.0.0.1:{port}/v1", pid, model="bench")


@contextmanager
def floor(provider: Server, database_url: str) -> Iterator[Server]:
    """The least that a gateway of the same parts can do."""
    port = free_port()
    with process("-m", "bench.floor", str(port), provider.url, database_url, ready=port) as pid:
        yield Server("floor", f"http://127.0.0.1:{port}", pid)


@contextmanager
def gateway(
    provider: Server, database_url: str, *, name: str = "gateway", command: Sequence[str] = ("run.py",), **settings: str
) -> Iterator[Server]:
    """The gateway with everything on: a key to show, limits, journal, metrics."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PORT": str(port),
            "DATA_DIR": folder,
            "DATABASE_URL": database_url,
            "OPENAI_API_KEY": "bench",
            "OPENAI_BASE_URL": provider.url,
            "API_KEYS": f"bench:{KEY}",
            "API_KEY_RATE_LIMIT": "100000/second",
            "API_KEY_DAILY_LIMIT": "0",
            "MAX_ACTIVE_TURNS": "20000",
            **settings,
        }
        with process(*command, environment=environment, ready=port) as pid:
            _wait_until_ready(port)
            yield Server(name, f"http://127.0.0.1:{port}", pid, (f"Authorization: Bearer {KEY}",))


def _wait_until_ready(port: int) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError("the gateway is not ready")


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL for this run, of which no CPU is counted; `DATABASE_URL` names another one."""
    if given := os.environ.get("DATABASE_URL"):
        yield given
        return
    sys.path.insert(0, str(ROOT))
    from gateway.store.embedded import EmbeddedPostgres

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        database = EmbeddedPostgres(folder)
        stack.callback(database.stop)
        yield database.start()
