"""Turns that wait to be written, in one lane a conversation, so that each conversation keeps its order."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar


class _Waiting(Protocol):
    @property
    def conversation(self) -> str: ...

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=_Waiting)


class Lanes(Generic[T]):
    """Of each conversation at most one item is out at a time: from `take` until `done` or `back`."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[T]] = {}
        self._ready: deque[str] = deque()

    @property
    def ready(self) -> int:
        """How many `take` could give."""
        return len(self._ready)

    def __bool__(self) -> bool:
        """Whether anything waits or is out."""
        return bool(self._lanes)

    def __iter__(self) -> Iterator[T]:
        """What waits, without what is out."""
        for lane in self._lanes.values():
            yield from lane

    def add(self, item: T) -> None:
        """Append an item to its conversation's lane."""
        lane = self._lanes.get(item.conversation)
        if lane is None:
            self._lanes[item.conversation] = deque((item,))
            self._ready.append(item.conversation)
        else:
            lane.append(item)

    def take(self, limit: int, max_size: int) -> list[T]:
        """Take the first items of lanes with none out, longest waiting lane first: at most `limit`, and some `max_size`."""
        taken: list[T] = []
        size = 0
        while self._ready and len(taken) < limit and size < max_size:
            item = self._lanes[self._ready.popleft()].popleft()
            taken.append(item)
            size += item.size
        return taken

    def done(self, items: Iterable[T]) -> None:
        """These are written: the next of their conversations may go."""
        for item in items:
            if self._lanes[item.conversation]:
                self._ready.append(item.conversation)
            else:
                del self._lanes[item.conversation]

    def back(self, items: Iterable[T]) -> None:
        """These could not be written: they are the next of their conversations again."""
        for item in items:
            self._lanes[item.conversation].appendleft(item)
            self._ready.append(item.conversation)
