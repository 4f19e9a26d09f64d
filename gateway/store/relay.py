"""The relay in Redis: one stream a running turn, a channel for commands, keys that say who is alive and who reads."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar, assert_never

import redis.asyncio as redis
from redis.exceptions import RedisError

from gateway.core.jsontext import loads
from gateway.store.base import Receipt, RelayBegun, RelayEnded, RelayEntry, RelayTape, RelayUnavailable
from gateway.store.record_json import decode_begun, decode_record, encode, encode_record

T = TypeVar("T")

_PREFIX: Final = "gateway"
_CHANNEL: Final = f"{_PREFIX}:commands"
_TIMEOUT_S: Final = 2.0
_READ_AT_ONCE: Final = 100


def _turn(turn_id: str) -> str:
    return f"{_PREFIX}:turn:{turn_id}"


def _readers(turn_id: str) -> str:
    return f"{_PREFIX}:readers:{turn_id}"


def _process(process: str) -> str:
    return f"{_PREFIX}:process:{process}"


class RedisRelay:
    """A `Relay`. Connects when it is first used; belongs to one event loop."""

    def __init__(self, url: str) -> None:
        options: dict[str, Any] = {"socket_connect_timeout": _TIMEOUT_S, "health_check_interval": 30}
        self._redis = redis.Redis.from_url(url, socket_timeout=_TIMEOUT_S, **options)
        # Blocking reads outlast the usual timeout.
        self._patient = redis.Redis.from_url(url, socket_timeout=None, **options)

    async def close(self) -> None:
        """Give up all connections."""
        await self._redis.aclose()
        await self._patient.aclose()

    async def append(self, entries: Sequence[RelayEntry], lifetime_s: int) -> None:
        """See `Relay.append`."""

        async def work() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for entry in entries:
                pipeline.xadd(_turn(entry.turn_id), _fields(entry.value))
            for turn_id in {entry.turn_id for entry in entries}:
                pipeline.expire(_turn(turn_id), lifetime_s)
            await pipeline.execute()

        await _reached(work)

    async def read(self, places: Mapping[str, str], wait_s: float) -> list[RelayEntry]:
        """See `Relay.read`."""
        streams: Any = {_turn(turn_id): place for turn_id, place in places.items()}

        async def work() -> Any:
            return await self._patient.xread(streams, count=_READ_AT_ONCE, block=max(1, int(wait_s * 1000)))

        found = await _reached(work)
        prefix = len(_turn(""))
        return [
            RelayEntry(name.decode()[prefix:], _value(fields), place.decode())
            for name, entries in (found or [])
            for place, fields in entries
        ]

    async def attend(self, turn_ids: Sequence[str], seconds: int) -> None:
        """See `Relay.attend`."""

        async def work() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for turn_id in turn_ids:
                pipeline.set(_readers(turn_id), b"1", ex=seconds)
            await pipeline.execute()

        await _reached(work)

    async def attended(self, turn_id: str) -> bool:
        """See `Relay.attended`."""
        return bool(await _reached(lambda: self._redis.exists(_readers(turn_id))))

    async def alive(self, process: str, seconds: int) -> None:
        """See `Relay.alive`."""
        await _reached(lambda: self._redis.set(_process(process), b"1", ex=seconds))

    async def lives(self, process: str) -> bool:
        """See `Relay.lives`."""
        return bool(await _reached(lambda: self._redis.exists(_process(process))))

    async def tell(self, command: str, subject: str) -> None:
        """See `Relay.tell`."""
        await _reached(lambda: self._redis.publish(_CHANNEL, f"{command} {subject}"))

    async def commands(self) -> AsyncIterator[tuple[str, str]]:
        """See `Relay.commands`."""
        try:
            async with self._patient.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(_CHANNEL)
                async with aclosing(channel.listen()) as messages:
                    async for message in messages:
                        command, _, subject = message["data"].decode("utf-8", "replace").partition(" ")
                        yield command, subject
        except (RedisError, OSError) as error:
            raise RelayUnavailable(str(error)) from error


def _fields(value: RelayBegun | RelayTape | RelayEnded) -> dict[Any, Any]:
    match value:
        case RelayBegun(begun, process):
            return {"k": "begun", "d": encode(begun), "p": process}
        case RelayTape(data):
            return {"k": "tape", "d": data}
        case RelayEnded(record, receipt):
            return {"k": "ended", "d": encode_record(record), "r": encode(receipt)}
        case _:
            assert_never(value)


def _value(fields: Mapping[bytes, bytes]) -> RelayBegun | RelayTape | RelayEnded:
    match fields[b"k"]:
        case b"begun":
            return RelayBegun(decode_begun(fields[b"d"]), fields[b"p"].decode())
        case b"tape":
            return RelayTape(fields[b"d"])
        case _:
            return RelayEnded(decode_record(fields[b"d"]), Receipt(**loads(fields[b"r"])))


async def _reached(work: Callable[[], Awaitable[T]]) -> T:
    try:
        return await work()
    except (RedisError, OSError, TimeoutError) as error:
        raise RelayUnavailable(type(error).__name__) from error
