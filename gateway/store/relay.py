"""The relay in Redis: which process runs a turn, an inbox (a stream) for every process, and who is alive.

Everything here expires by itself. A version of the format stands in every name, so that neighbouring versions of the gateway
that disagree about it do not meet.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.core.letters import Letter, Parcel, RelayTurn
from gateway.store.base import RelayUnavailable
from gateway.store.letter_fields import decode_letter, encode_letter
from gateway.store.record_json import decode_begun, encode

_PREFIX: Final = "m3ajem:1"
_PROCESSES: Final = f"{_PREFIX}:processes"
_TIMEOUT_S: Final = 2.0
_CONNECTIONS: Final = 8
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
        options: dict[str, Any] = {
            "socket_connect_timeout": _TIMEOUT_S,
            # A connection that Redis has closed meanwhile is opened again at once.
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            "protocol": 2,
        }
        self._pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=_CONNECTIONS, timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S, **options
        )
        self._redis = redis.Redis(connection_pool=self._pool)
        # Waits for letters; how long is bounded where it does.
        self._patient = redis.Redis.from_url(url, socket_timeout=None, **options)

    async def close(self) -> None:
        """Give up all connections."""
        await self._pool.disconnect()
        await self._patient.aclose()

    async def send(self, parcel: Parcel, lifetime_s: int) -> None:
        """See `Relay.send`."""
        pipeline = self._redis.pipeline(transaction=False)
        for turn in parcel.begun:
            begun, conversation = turn.begun, _conversation(turn.begun.conversation_id)
            pipeline.set(_turn(begun.turn_id), turn.process.encode() + b"\n" + encode(begun), ex=lifetime_s)
            pipeline.hset(conversation, begun.turn_id, turn.process)
            pipeline.expire(conversation, lifetime_s)
        for ended in parcel.ended:
            pipeline.expire(_turn(ended.turn_id), _ENDED_S)
            pipeline.hdel(_conversation(ended.conversation_id), ended.turn_id)
        for process, letter in parcel.letters:
            pipeline.xadd(_inbox(process), encode_letter(letter), maxlen=_INBOX_LETTERS)
        for process in {process for process, _ in parcel.letters}:
            pipeline.expire(_inbox(process), _INBOX_S)
        await _reached(pipeline.execute)

    async def receive(self, process: str, done: Sequence[str], wait_s: float) -> list[tuple[str, Letter | None]]:
        """See `Relay.receive`."""
        inbox = _inbox(process)

        async def work() -> Any:
            async with asyncio.timeout(wait_s + _TIMEOUT_S):
                if done:
                    await self._patient.xdel(inbox, *done)
                return await self._patient.xread({inbox: "0"}, count=_READ_AT_ONCE, block=max(1, int(wait_s * 1000)))

        found = await _reached(work)
        return [(place.decode(), _readable(fields)) for _, entries in (found or []) for place, fields in entries]

    async def locate(self, turn_id: str) -> RelayTurn | None:
        """See `Relay.locate`."""
        return _located(await _reached(lambda: self._redis.get(_turn(turn_id))))

    async def running(self, conversation_id: str) -> list[RelayTurn]:
        """See `Relay.running`."""
        conversation = _conversation(conversation_id)
        found: dict[bytes, bytes] = await _reached(lambda: self._redis.hgetall(conversation))
        if not found:
            return []
        living = await self.living()
        turn_ids = sorted(turn_id.decode() for turn_id, process in found.items() if process.decode() in living)
        if not turn_ids:
            return []
        values = await _reached(lambda: self._redis.mget([_turn(turn_id) for turn_id in turn_ids]))
        return [turn for turn in map(_located, values) if turn is not None]

    async def alive(self, process: str, seconds: int) -> bool:
        """See `Relay.alive`."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.exists(_process(process))
        pipeline.set(_process(process), b"1", ex=seconds)
        pipeline.sadd(_PROCESSES, process)
        pipeline.expire(_PROCESSES, _DAY_S)
        pipeline.expire(_inbox(process), _INBOX_S)
        known, *_ = await _reached(pipeline.execute)
        return bool(known)

    async def gone(self, process: str) -> None:
        """See `Relay.gone`."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.delete(_process(process), _inbox(process))
        pipeline.srem(_PROCESSES, process)
        await _reached(pipeline.execute)

    async def living(self) -> set[str]:
        """See `Relay.living`."""
        members: set[bytes] = await _reached(lambda: self._redis.smembers(_PROCESSES))
        processes = [member.decode() for member in members]
        if not processes:
            return set()
        values = await _reached(lambda: self._redis.mget([_process(process) for process in processes]))
        gone = [process for process, value in zip(processes, values, strict=True) if value is None]
        if gone:
            await _reached(lambda: self._redis.srem(_PROCESSES, *gone))
        return set(processes) - set(gone)


def _located(value: bytes | None) -> RelayTurn | None:
    if value is None:
        return None
    process, _, begun = value.partition(b"\n")
    try:
        return RelayTurn(decode_begun(begun), process.decode())
    except ValueError:
        return None


def _readable(fields: dict[bytes, bytes]) -> Letter | None:
    try:
        return decode_letter(fields)
    except ValueError:
        return None


async def _reached(work: Callable[[], Any]) -> Any:
    try:
        answer = await work()
    except (RedisError, OSError, TimeoutError) as error:
        raise RelayUnavailable(type(error).__name__) from error
    finally:
        _heed_cancellation()
    return answer


def _heed_cancellation() -> None:
    """Up to Python 3.11, `asyncio.wait_for`, with which the client waits, returns an answer and drops the cancellation it met."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
