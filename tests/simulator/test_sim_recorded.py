"""Recordings go out byte for byte, with their status and headers, however they are cut; and nothing else on the disk does."""

import json
from pathlib import Path

import aiohttp
import pytest

from simulator import Script, Simulator, parse_text, start_simulator
from simulator.recorded import SHIPPED, find, frames
from tests.simulator.asking import RECORDINGS, asked, post

FOLDERS = {"openai": "openai", "groq": "groq", "anthropic": "anthropic", "gemini": "google"}
RECORDED = sorted(
    path
    for folder in FOLDERS
    for path in (RECORDINGS / folder).iterdir()
    if path.suffix == ".sse" or (path.suffix == ".json" and not path.stem.endswith((".meta", ".expected")))
)
SHIPPED_FILES = sorted(path for path in SHIPPED.glob("*/*") if path.suffix in (".sse", ".json") and ".meta" not in path.name)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_sends_a_recording_as_it_came(sim: Simulator, http: aiohttp.ClientSession, path: Path) -> None:
    meta = json.loads(path.with_suffix(".meta.json").read_bytes())
    for chunks in ("whole", "random:3" if path.stat().st_size < 10_000 else "bytes:4099"):
        sim.script(Script(fixture=path.stem, chunks=parse_text(f"chunks={chunks}").chunks))
        got = await post(http, sim, asked(FOLDERS[path.parent.name], stream=path.suffix == ".sse"))
        assert got.body == path.read_bytes()
        assert got.status == meta["http_status"]
        for name, value in meta["headers"].items():
            assert got.headers[name] == value


def test_ships_the_recordings_it_names() -> None:
    index = (SHIPPED / "README.md").read_text()
    named = {line.split("`")[1] for line in index.splitlines() if line.startswith("| `")}
    assert named == {f"{path.parent.name}/{path.name}" for path in SHIPPED_FILES}
    for path in SHIPPED_FILES:
        assert path.with_suffix(".meta.json").is_file()
        assert json.loads(path.with_suffix(".meta.json").read_bytes())["source"]["license"] == "Apache-2.0"


async def test_sends_shipped_recordings_without_any_folder_given(http: aiohttp.ClientSession) -> None:
    simulator = await start_simulator()
    for name, stream in (("derived-stream-text-arabic", True), ("anthropic/stream-text-emoji.sse", True)):
        got = await post(http, simulator, asked("anthropic", f"[[sim: fixture={name} gap_ms=0]] سلام", stream=stream))
        assert got.body == find(name, "anthropic", stream, ()).body
        assert got.headers["X-Simulated"] == "true"
    await simulator.close()


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../../pyproject.toml", "../README", "../../conftest", "no-such-recording", "", "openai"]
)
async def test_never_leaves_its_folders(sim: Simulator, http: aiohttp.ClientSession, name: str) -> None:
    got = await post(http, sim, asked("openai", f'[[sim: fixture="{name}"]] سلام'))
    assert got.status == 400
    assert "no fixture" in got.json()["error"]["message"]


async def test_links_out_of_a_folder_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "inside" / "link.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ValueError, match="no fixture"):
        find("link", "openai", False, (tmp_path / "inside",))


def test_frames_are_the_body() -> None:
    for path in RECORDED:
        if path.suffix == ".sse":
            cut = frames(path.read_bytes())
            assert b"".join(cut) == path.read_bytes()
            assert all(frame.endswith((b"\n\n", b"\r\n\r\n")) for frame in cut[:-1])
