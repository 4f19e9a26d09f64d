"""Commands to Redis on one connection: what is asked in one round of the event loop is sent together, and replies come in the
order of the questions (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/).

redis-py reads the address and hiredis the replies. By redis-py's own connections, with their pool, locks, timers and tasks, one
command costs as much as a tenth of a turn.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, cast

from hiredis import HiredisError, Reader, ReplyError, pack_command

from gateway.store.base import RelayUnavailable
from gateway.store.redis_address import read_address

Command = tuple[str | bytes | int, ...]
_LATE_S: Final = 0.01
_INCOMPLETE: Final = object()


class RedisRefusal(RelayUnavailable):
    """Redis answered with an error; `code` is its first word, such as `NOSCRIPT` or `OOM`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class RedisLine:
    """Belongs to one event loop. Connects when it is first used, and again whenever it must."""

    def __init__(self, url: str, answer_s: float) -> None:
        """`answer_s`: how long to wait for a connection, and for a reply. Raises `ValueError` for an address that is none."""
        self._address = read_address(url)
        self._answer_s = answer_s
        self._wire: _Wire | None = None
        self._opening: asyncio.Task[_Wire] | None = None

    async def ask(self, *commands: Command, within_s: float | None = None) -> list[Any]:
        """The reply to each command: bytes, a number, a list of such, or None.

        `within_s`: how long they may take, if not `answer_s`. Raises `RelayUnavailable`; that is a `RedisRefusal` when one
        command was refused and the others were done.
        """
        if not commands:
            return []
        question = b"".join(map(_packed, commands)), len(commands), within_s or self._answer_s
        try:
            if (wire := self._wire) is None or wire.lost:
                replies = await (await self._connected()).ask(*question)
            else:
                try:
                    replies = await wire.ask(*question)
                except ConnectionError:
                    # One that Redis has closed meanwhile is opened again at once.
                    replies = await (await self._connected()).ask(*question)
        except (OSError, UnicodeError) as error:
            raise RelayUnavailable(type(error).__name__) from error
        return _done(replies)

    async def close(self) -> None:
        """Hang up; whoever waits for a reply hears `RelayUnavailable`."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._wire is not None:
            self._wire.hang_up(OSError)

    async def _connected(self) -> "_Wire":
        """A new connection; all who need one wait for the same."""
        if self._wire is not None and not self._wire.lost:
            return self._wire
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait((opening,))
        if opening.cancelled():
            raise OSError("closed")
        return opening.result()

    def _opened(self, opening: "asyncio.Task[_Wire]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._wire = opening.result()

    async def _open(self) -> "_Wire":
        address, loop = self._address, asyncio.get_running_loop()
        async with asyncio.timeout(self._answer_s):
            if address.path is not None:
                _, wire = await loop.create_unix_connection(_Wire, address.path)
            else:
                _, wire = await loop.create_connection(_Wire, address.host, address.port, ssl=address.tls)
            try:
                for command in self._greeting():
                    _done(await wire.ask(_packed(command), 1, self._answer_s))
            except BaseException:
                wire.hang_up(OSError)
                raise
        return wire

    def _greeting(self) -> list[Command]:
        """What the address asks for: a password, a name to be seen under, a database."""
        address = self._address
        said: list[Command] = []
        if address.username or address.password:
            said.append(("AUTH", *filter(None, (address.username, address.password))))
        if address.client_name:
            said.append(("CLIENT", "SETNAME", address.client_name))
        if address.database:
            said.append(("SELECT", address.database))
        return said


def _packed(command: Command) -> bytes:
    packed: bytes = pack_command(command)  # type: ignore[arg-type]  # it says that it takes one word
    return packed


def _done(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, ReplyError):
            raise RedisRefusal(str(reply).partition(" ")[0])
    return replies


@dataclass(slots=True, eq=False)
class _Question:
    """Commands whose replies come next: how many, and until when (the loop's time). `late`: it was later than that."""

    answer: "asyncio.Future[list[Any]]"
    commands: int
    until: float
    late: bool = False
    replies: list[Any] = field(default_factory=list)


class _Wire(asyncio.Protocol):
    """One connection. `lost`: it is no more."""

    def __init__(self) -> None:
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        self._asked: deque[_Question] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of the library's.
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, packed: bytes, commands: int, limit_s: float) -> "asyncio.Future[list[Any]]":
        """Replies, errors among them. Raises `ConnectionError` when the connection breaks, `TimeoutError` after `limit_s`."""
        answer = self._loop.create_future()
        if self.lost:
            answer.set_exception(ConnectionResetError())
            return answer
        question = _Question(answer, commands, self._loop.time() + limit_s)
        self._asked.append(question)
        if question.until < self._rings_at:
            self._ring_at(question.until)
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(packed)
        return answer

    def data_received(self, data: bytes) -> None:
        reader, asked = self._reader, self._asked
        try:
            reader.feed(data)
            while asked and (reply := reader.gets()) is not _INCOMPLETE:
                question = asked[0]
                question.replies.append(reply)
                if len(question.replies) == question.commands:
                    asked.popleft()
                    if not question.answer.done():
                        question.answer.set_result(question.replies)
            unasked = not asked and reader.has_data()
        except HiredisError:
            unasked = True
        if unasked:
            self.hang_up(ConnectionAbortedError)

    def connection_lost(self, _: Exception | None) -> None:
        self._fail(ConnectionResetError)

    def hang_up(self, why: type[OSError]) -> None:
        """Close the connection at once; whoever waits hears why."""
        self._fail(why)
        self._transport.abort()

    def _send(self) -> None:
        if not self.lost:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _ring_at(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._rings_at = self._loop.call_at(when, self._look), when

    def _look(self) -> None:
        """One timer for all who wait: they are answered in their order."""
        self._alarm, self._rings_at = None, inf
        if not self._asked:
            return
        question, now = self._asked[0], self._loop.time()
        if question.late:
            self.hang_up(TimeoutError)
        elif question.until > now:
            self._ring_at(question.until)
        else:
            # What came while the loop was held up is read first.
            question.late = True
            self._ring_at(now + _LATE_S)

    def _fail(self, why: type[OSError]) -> None:
        self.lost = True
        if self._alarm is not None:
            self._alarm.cancel()
        asked, self._asked = self._asked, deque()
        for question in asked:
            if not question.answer.done():
                question.answer.set_exception(why())
