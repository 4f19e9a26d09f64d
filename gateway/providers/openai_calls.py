"""Tool calls of OpenAI's format, put together from the fragments in which they are streamed."""

from collections.abc import Callable
from typing import Any

from gateway.core.events import ToolCalled
from gateway.core.jsontext import is_object, loads
from gateway.providers.common import as_dict, as_str


class _Call:
    __slots__ = ("custom", "id", "name", "object", "pieces", "sent")

    def __init__(self) -> None:
        self.id: str | None = None
        self.name: str | None = None
        self.pieces: list[str] = []
        self.object: dict[str, Any] | None = None
        self.custom = False
        self.sent = False

    def take(self, fragment: dict[str, Any]) -> None:
        """Id and name come once or with every fragment; pieces of arguments are joined."""
        body = as_dict(fragment.get("function")) or as_dict(fragment.get("custom"))
        self.custom = self.custom or "custom" in fragment
        self.id = self.id or as_str(fragment.get("id")) or None
        self.name = self.name or as_str(body.get("name")) or None
        piece = body.get("input" if self.custom else "arguments")
        if isinstance(piece, str):
            self.pieces.append(piece)
        elif is_object(piece):
            self.object = piece

    @property
    def is_whole(self) -> bool:
        """Whether nothing can be missing: the arguments are a JSON object already."""
        if self.custom or not self.name:
            return False
        if self.object is not None:
            return True
        text = "".join(self.pieces)
        if not text.rstrip().endswith("}"):
            return False
        try:
            return is_object(loads(text))
        except ValueError:
            return False

    def event(self) -> ToolCalled | None:
        """The whole call, or None when no fragment named a tool."""
        if not self.name:
            return None
        text = "".join(self.pieces)
        return ToolCalled(self.id, self.name, {"input": text} if self.custom else self.object or text)


class CallAssembly:
    """Collects fragments and gives every call once, in order of first appearance.

    OpenAI numbers calls by `index`; other upstreams leave the index out or reuse one for several calls, repeat id and
    name on every fragment, or send `arguments` as null or as an object. Nothing is ever joined but arguments.
    """

    __slots__ = ("_by_id", "_by_index", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}

    @property
    def found(self) -> bool:
        """Whether any call has been given out."""
        return any(call.sent for call in self._calls)

    def add(self, fragment: dict[str, Any]) -> list[ToolCalled]:
        """Take one fragment; return the calls that are whole because it begins another."""
        done: list[ToolCalled] = []
        call = self._find(fragment)
        if call is None:
            done = self._give(lambda call: call.is_whole)
            call = _Call()
            self._calls.append(call)
        call.take(fragment)
        index = fragment.get("index")
        if isinstance(index, int):
            self._by_index[index] = call
        if call.id:
            self._by_id[call.id] = call
        return done

    def finish(self) -> list[ToolCalled]:
        """Return every call not given yet: no more fragments come."""
        return self._give(lambda _: True)

    def _find(self, fragment: dict[str, Any]) -> _Call | None:
        index, call_id = fragment.get("index"), as_str(fragment.get("id"))
        names_tool = bool(as_dict(fragment.get("function") or fragment.get("custom")).get("name"))
        if isinstance(index, int):
            call = self._by_index.get(index)
            is_other = call is not None and names_tool and call_id and call.id and call_id != call.id
            return None if is_other else call
        if call_id:
            return self._by_id.get(call_id)
        last = self._calls[-1] if self._calls else None
        return None if last is not None and names_tool and last.name else last

    def _give(self, ready: Callable[[_Call], bool]) -> list[ToolCalled]:
        """Give out calls from the front for as long as they are ready, so that their order stays."""
        given: list[ToolCalled] = []
        for call in self._calls:
            if call.sent:
                continue
            if not ready(call):
                break
            call.sent = True
            event = call.event()
            if event is not None:
                given.append(event)
        return given
