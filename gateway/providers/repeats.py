"""Frames that differ in their text alone, read without parsing what is the same in all of them.

The frames of one reply are the same bytes around the next piece of text, in OpenAI's format and in Anthropic's. Parsing them
costs five times as much as cutting the piece out, and a hundred tokens are a third of what a stream costs.
"""

from collections.abc import Iterable

from gateway.core.jsontext import dumps, loads
from gateway.wire.sse import Frame


class Repeats:
    """Remembers the bytes around a piece of text, from a frame that was parsed and brought nothing else."""

    __slots__ = ("_before", "_behind", "_event", "_into", "_shortest")

    def __init__(self) -> None:
        self._before = self._behind = b""
        self._event = ""
        self._into: list[str] | None = None
        self._shortest = 0

    def learn(self, frame: Frame, text: str, into: list[str] | None = None) -> None:
        """`frame` brought `text` alone; it is remembered only where there is no doubt which of its bytes are the text.

        What later frames say is appended to `into`, too.
        """
        quoted = dumps(text)
        if b"\\" in frame.data or frame.data.count(quoted) != 1:
            return
        before, _, behind = frame.data.partition(quoted)
        self._before, self._behind, self._event = before + b'"', b'"' + behind, frame.event
        self._shortest = len(self._before) + len(self._behind)
        self._into = into

    def forget(self) -> None:
        """What comes next may mean something else."""
        self._shortest = 0

    def piece(self, frame: Frame) -> bytes | None:
        """The inside of the JSON string that stands in the text's place, if all around it is as it was.

        None also for what only a parser can tell: quotes, an escape at the end, half of a character in two escapes.
        """
        data = frame.data
        if not (self._shortest and len(data) > self._shortest and data.startswith(self._before) and data.endswith(self._behind)):
            return None
        piece = data[len(self._before) : -len(self._behind)]
        if b'"' in piece or frame.event != self._event:
            return None
        if b"\\" in piece and (piece.endswith(b"\\") or b"\\ud" in piece or b"\\uD" in piece):
            return None
        return piece

    def text(self, pieces: Iterable[bytes]) -> str:
        """What pieces that came together say. Raises `ValueError` for bytes that are no JSON."""
        text = loads(b'"' + b"".join(pieces) + b'"')
        assert isinstance(text, str)
        if self._into is not None:
            self._into.append(text)
        return text
