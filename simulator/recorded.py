"""Recorded replies: found by name in a few folders, sent byte for byte with their status and headers."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

from simulator.formats.base import Reply
from simulator.script import Chunks

SHIPPED = Path(__file__).parent / "recorded"


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded body with what came with it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def find(name: str, folder: str, stream: bool, roots: tuple[Path, ...]) -> Recording:
    """Return the recording `name`, with or without its provider's folder and its suffix; raise `ValueError` if there is none.

    Names never lead out of `roots`, whatever they hold: they may come from a message.
    """
    suffixes = ("", ".sse", ".json") if stream else ("", ".json", ".sse")
    for root in (*roots, SHIPPED):
        for start in (root / folder, root):
            for suffix in suffixes:
                path = (start / f"{name}{suffix}").resolve()
                if path.is_relative_to(root.resolve()) and path.suffix in (".sse", ".json") and path.is_file():
                    return _read(path)
    raise ValueError(f"no fixture {name!r}")


@lru_cache(maxsize=256)
def _read(path: Path) -> Recording:
    meta_path = path.with_suffix(".meta.json")
    meta = orjson.loads(meta_path.read_bytes()) if meta_path.is_file() else {}
    kind = "text/event-stream" if path.suffix == ".sse" else "application/json"
    headers = {"content-type": kind, **(meta.get("headers") or {})}
    for name in ("content-length", "content-encoding", "transfer-encoding", "connection"):
        headers.pop(name, None)
    return Recording(int(meta.get("http_status") or 200), headers, path.read_bytes())


def as_reply(recording: Recording) -> Reply:
    """Return a recording as a reply whose pieces are its frames (or the one body)."""
    if "event-stream" not in recording.headers["content-type"]:
        return Reply(recording.status, recording.headers, [recording.body])
    return Reply(recording.status, recording.headers, [b"", *frames(recording.body)], streamed=True)


def frames(body: bytes) -> list[bytes]:
    """Cut a stream behind each blank line; joined the frames are the body."""
    found = []
    rest = body
    while rest:
        ends = [rest.find(mark) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in rest]
        end = min(ends, default=len(rest))
        found.append(rest[:end])
        rest = rest[end:]
    return found


def cut(pieces: list[bytes], chunks: Chunks | None) -> list[bytes]:
    """Cut a body anew; without `chunks`, or by frames, it stays as it is."""
    match chunks:
        case Chunks("whole"):
            return [b"".join(pieces)]
        case Chunks("bytes", size):
            body = b"".join(pieces)
            return [body[start : start + size] for start in range(0, len(body), size)]
        case Chunks("random", seed):
            return _cut_at_random(b"".join(pieces), seed)
        case _:
            return pieces


def _cut_at_random(body: bytes, seed: int) -> list[bytes]:
    choose = random.Random(seed)  # noqa: S311 - repeatable, not secret
    found = []
    start = 0
    while start < len(body):
        end = start + choose.randint(1, 23)
        found.append(body[start:end])
        start = end
    return found
