"""A phone with bad reception: it asks over a raw socket, which breaks after any byte, and goes on in any of three ways."""

import asyncio
import json
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Literal

Way = Literal["get", "post", "key"]
WAYS: tuple[Way, ...] = ("get", "post", "key")

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Refused(Exception):
    """The answer was no stream."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status} {body.decode('utf-8', 'replace')}")
        self.status = status
        self.headers = headers


@dataclass(slots=True)
class Http:
    """One response as its bytes come, however they are cut: the head, then the chunked body."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    _data: bytearray = field(default_factory=bytearray)
    _left: int = 0

    def feed(self, data: bytes) -> None:
        self._data += data
        if self.status is None and b"\r\n\r\n" in self._data:
            self._read_head()
        while self.status is not None and not self.whole and self._read_body():
            pass

    def _read_head(self) -> None:
        head, _, rest = bytes(self._data).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._data[:] = rest
        if self.status == 204:
            self.whole = True

    def _read_body(self) -> bool:
        """Take what can be taken; False when more is needed."""
        if "content-length" in self.headers:
            self.body += self._data
            self._data.clear()
            self.whole = len(self.body) >= int(self.headers["content-length"])
            return False
        if self._left > 2:
            taken = bytes(self._data[: self._left - 2])
            self.body += taken
            del self._data[: len(taken)]
            self._left -= len(taken)
            if self._left > 2:
                return False
        if self._left:
            if len(self._data) < self._left:
                return False
            del self._data[: self._left]
            self._left = 0
        line, end, rest = bytes(self._data).partition(b"\r\n")
        if not end:
            return False
        self._data[:] = rest
        size = int(line.split(b";")[0], 16)
        self._left = size + 2
        self.whole = size == 0
        return True


@dataclass(slots=True)
class Screen:
    """What the phone has: every character and every other item of the tape, in order, and how the turn ended."""

    turn_id: str | None = None
    last_id: str | None = None
    units: list[tuple[str, Any]] = field(default_factory=list)
    started: int = 0
    end: tuple[str, dict[str, Any]] | None = None

    def text(self, kind: str) -> str:
        return "".join(unit for name, unit in self.units if name == kind)

    def items(self, kind: str) -> list[Any]:
        return [unit for name, unit in self.units if name == kind]

    def take(self, block: str, *, restarted: bool) -> None:
        """One event. `restarted`: the stream began anew, so that what is known already may come again, and must be the same."""
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        data = json.loads(fields["data"])
        turn_id, _, place = fields["id"].rpartition(".")
        assert self.turn_id in (None, turn_id)
        self.turn_id = turn_id
        assert self.end is None, "an event behind the last"
        if fields["event"] == "start":
            assert restarted or not self.started, "the start came twice"
            self.started += 1
        elif place == "end":
            self.end = fields["event"], data
        else:
            self._write(fields["event"], data, int(place), restarted=restarted)
        if self.end or int(place) == len(self.units):
            self.last_id = fields["id"]

    def _write(self, name: str, data: dict[str, Any], end: int, *, restarted: bool) -> None:
        units = [(name, char) for char in data["text"]] if name in ("token", "thought") else [(name, data)]
        begin = end - len(units)
        assert begin <= len(self.units), f"a gap: {len(self.units)} known, {name} begins at {begin}"
        known = len(self.units) - begin
        assert restarted or not known, f"twice: {len(self.units)} known, {name} begins at {begin}"
        assert self.units[begin : begin + len(units)] == units[:known], "what came again is something else"
        self.units += units[known:]


@dataclass(slots=True)
class Phone:
    """Asks one question and reads the reply to its end, whatever happens in between."""

    addresses: Sequence[tuple[str, int]]
    body: dict[str, Any]
    key: str
    chance: random.Random
    cuts: int = 30
    headers: dict[str, str] = field(default_factory=dict)
    screen: Screen = field(default_factory=Screen)
    tried: int = 0
    ways: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def read(self) -> Screen:
        """The whole reply, with `cuts` breaks on the way at most."""
        while self.screen.end is None:
            await self._try_once()
        return self.screen

    async def _try_once(self) -> None:
        way = self.chance.choice(WAYS) if self.screen.last_id else "key"
        self.ways.append(way)
        self.tried += 1
        limit = self._limit() if self.tried <= self.cuts else None
        try:
            await self._exchange(way, limit)
        except Refused as refused:
            # The turn is on its way to where it was asked for: a client waits, and asks again.
            if refused.status != 503 or "retry-after" not in refused.headers:
                raise
            self.refused.append(str(refused))
            await asyncio.sleep(0.05)

    def _limit(self) -> int:
        """After how many bytes the connection breaks: within the head, between events, within a character."""
        return self.chance.choice((self.chance.randrange(700), self.chance.randrange(500, 1500), self.chance.randrange(4000)))

    async def _exchange(self, way: Way, limit: int | None) -> None:
        reader, writer = await asyncio.open_connection(*self.chance.choice(self.addresses))
        request = self._request(way)
        try:
            if limit is not None and not self.chance.randrange(12):
                writer.write(request[: self.chance.randrange(len(request))])
                await writer.drain()
                return
            writer.write(request)
            await self._receive(reader, limit, restarted=way == "key")
        except ConnectionResetError:
            pass
        finally:
            if self.chance.randrange(2):
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE)
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader, limit: int | None, *, restarted: bool) -> None:
        http, taken, left = Http(), 0, limit
        while not http.whole and left != 0:
            data = await reader.read(65_536 if left is None else left)
            if not data:
                break
            left = None if left is None else left - len(data)
            http.feed(data)
            if http.status not in (None, 200):
                continue
            *blocks, rest = bytes(http.body[taken:]).split(b"\n\n")
            taken = len(http.body) - len(rest)
            for block in blocks:
                if block and not block.startswith(b":"):
                    self.screen.take(block.decode(), restarted=restarted)
        if http.whole and http.status != 200:
            raise Refused(http.status or 0, http.headers, bytes(http.body))

    def _request(self, way: Way) -> bytes:
        headers = {"Host": "127.0.0.1", **self.headers}
        if way in ("get", "post"):
            headers["Last-Event-ID"] = self.screen.last_id or ""
        if way == "key" or (way == "post" and self.chance.randrange(2)):
            headers["Idempotency-Key"] = self.key
        path, content = f"/chat/stream/{self.screen.turn_id}", b""
        if way != "get":
            path, content = "/chat/stream", json.dumps(self.body, ensure_ascii=self.chance.randrange(2) == 0).encode()
            headers |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
        lines = [f"{'GET' if way == 'get' else 'POST'} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + content


def runs(units: Sequence[tuple[str, Any]]) -> int:
    """How many stretches of one kind there are: a reply that is rich enough to be worth cutting has several."""
    return 1 + sum(before[0] != after[0] for before, after in pairwise(units)) if units else 0
