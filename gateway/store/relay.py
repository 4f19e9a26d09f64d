"""The relay in Redis: which process runs a turn, an inbox (a stream) for every process, and who is alive.

Everything here expires by itself. A version of the format stands in every name, so that neighbouring versions of the gateway
that disagree about it do not meet.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from gateway.core.letters import Letter, Parcel, RelayTurn
from gateway.store.letter_fields import decode_letter, encode_letter
from gateway.store.record_json import decode_begun, encode_brief
from gateway.store.redis_line import Command, RedisLine

_PREFIX: Final = "m3ajem:1"
_PROCESSES: Final = f"{_PREFIX}:processes"
_ANSWER_S: Final = 2.0
_READ_AT_ONCE: Final = 500
_INBOX_LETTERS: Final = 2000
_INBOX_S: Final = 60
_ENDED_S: Final = 60
_DAY_S: Final = 86_400


def _turn(turn_id: str) -> str:
    return f"{_PREFIX}:turn:{turn_id}"


def _conversation(conversation_id: str) -> str:
    return f"{_PREFIX}:conversation:{conversation_id}"


def _inbox(process: str) -> str:
    return f"{_PREFIX}:inbox:{process}"


def _process(process: str) -> str:
    return f"{_PREFIX}:process:{process}"


class RedisRelay:
    """A `Relay`. Connects when it is first used; belongs to one event loop."""

    def __init__(self, url: str) -> None:
        self._line = RedisLine(url, _ANSWER_S)
        # Where letters are waited for, nothing else is answered.
        self._inbox = RedisLine(url, _ANSWER_S)

    async def close(self) -> None:
        """Give up the connections."""
        await self._line.close()
        await self._inbox.close()

    async def send(self, parcel: Parcel, lifetime_s: int) -> None:
        """See `Relay.send`."""
        commands: list[Command] = []
        for turn in parcel.begun:
            begun, conversation = turn.begun, _conversation(turn.begun.conversation_id)
            commands += (
                ("SET", _turn(begun.turn_id), turn.process.encode() + b"\n" + encode_brief(begun), "EX", lifetime_s),
                ("HSET", conversation, begun.turn_id, turn.process),
                ("EXPIRE", conversation, lifetime_s),
            )
        for ended in parcel.ended:
            commands += (
                ("EXPIRE", _turn(ended.turn_id), _ENDED_S),
                ("HDEL", _conversation(ended.conversation_id), ended.turn_id),
            )
        for process, letter in parcel.letters:
            fields = chain.from_iterable(encode_letter(letter).items())
            commands.append(("XADD", _inbox(process), "MAXLEN", "~", _INBOX_LETTERS, "*", *fields))
        for process in {process for process, _ in parcel.letters}:
            commands.append(("EXPIRE", _inbox(process), _INBOX_S))
        await self._line.ask(*commands)

    async def receive(self, process: str, done: Sequence[str], wait_s: float) -> list[tuple[str, Letter | None]]:
        """See `Relay.receive`."""
        inbox, wait_ms = _inbox(process), max(1, int(wait_s * 1000))
        forget: list[Command] = [("XDEL", inbox, *done)] if done else []
        read: Command = ("XREAD", "COUNT", _READ_AT_ONCE, "BLOCK", wait_ms, "STREAMS", inbox, "0")
        *_, found = await self._inbox.ask(*forget, read, within_s=wait_s + _ANSWER_S)
        return [(place.decode(), _readable(fields)) for _, entries in (found or ()) for place, fields in entries]

    async def locate(self, turn_id: str) -> RelayTurn | None:
        """See `Relay.locate`."""
        [found] = await self._line.ask(("GET", _turn(turn_id)))
        return _located(found)

    async def running(self, conversation_id: str) -> list[RelayTurn]:
        """See `Relay.running`."""
        [found] = await self._line.ask(("HGETALL", _conversation(conversation_id)))
        if not found:
            return []
        living = await self.living()
        turn_ids = sorted(turn_id.decode() for turn_id, process in _pairs(found) if process.decode() in living)
        if not turn_ids:
            return []
        [values] = await self._line.ask(("MGET", *map(_turn, turn_ids)))
        return [turn for turn in map(_located, values) if turn is not None]

    async def alive(self, process: str, seconds: int) -> bool:
        """See `Relay.alive`."""
        known, *_ = await self._line.ask(
            ("EXISTS", _process(process)),
            ("SET", _process(process), "1", "EX", seconds),
            ("SADD", _PROCESSES, process),
            ("EXPIRE", _PROCESSES, _DAY_S),
            ("EXPIRE", _inbox(process), _INBOX_S),
        )
        return bool(known)

    async def gone(self, process: str) -> None:
        """See `Relay.gone`."""
        await self._line.ask(("DEL", _process(process), _inbox(process)), ("SREM", _PROCESSES, process))

    async def living(self) -> set[str]:
        """See `Relay.living`."""
        [members] = await self._line.ask(("SMEMBERS", _PROCESSES))
        processes = [member.decode() for member in members]
        if not processes:
            return set()
        [values] = await self._line.ask(("MGET", *map(_process, processes)))
        gone = [process for process, value in zip(processes, values, strict=True) if value is None]
        if gone:
            await self._line.ask(("SREM", _PROCESSES, *gone))
        return set(processes) - set(gone)


def _located(value: bytes | None) -> RelayTurn | None:
    if value is None:
        return None
    process, _, begun = value.partition(b"\n")
    try:
        return RelayTurn(decode_begun(begun), process.decode())
    except ValueError:
        return None


def _readable(fields: list[bytes]) -> Letter | None:
    try:
        return decode_letter(dict(_pairs(fields)))
    except ValueError:
        return None


def _pairs(found: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Names and values, which Redis lists one after another."""
    return zip(found[::2], found[1::2], strict=True)
