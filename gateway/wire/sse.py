"""An incremental decoder for server-sent events (WHATWG HTML, section 9.2), bytes in, frames out.

It never depends on how the bytes were cut, and holds at most `max_bytes` of an unfinished frame.
"""

from codecs import BOM_UTF8
from typing import Final, NamedTuple

from gateway.core.errors import UpstreamError

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_STRAY_CHARS = 64 * 1024
# A number: bytes are searched for bytes only behind an exception.
_CR: Final = ord("\r")


class Frame(NamedTuple):
    """One event: its name ("" when none was given) and its data lines joined by LF, as UTF-8 bytes.

    A tuple, as there is one a token: a frozen dataclass takes twice as long to make.
    """

    event: str
    data: bytes


class SseDecoder:
    """Splits a byte stream into frames; lines that belong to no SSE field are kept as `stray` text."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_bytes
        self._tail = bytearray()
        self._after_cr = False
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self._stray: list[bytes] = []
        self._stray_size = 0
        self._started = False

    @property
    def stray(self) -> str:
        """Lines outside any field, such as a bare JSON error object written after the frames."""
        return b"\n".join(self._stray).decode("utf-8", "replace")

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that `chunk` completes; raise `UpstreamError` when one exceeds the limit."""
        if not self._started:
            chunk = self._without_bom(chunk)
        if self._after_cr and chunk:
            # A CR ended its line at once; an LF right behind it belongs to it.
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if _CR in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._tail:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        # A long line in small pieces is appended to, not joined anew with each.
        self._tail += rest
        frames = self._frames(lines)
        if self._size + len(self._tail) > self._max:
            raise UpstreamError(
                "provider_error", "The provider sent more than the gateway can hold.", kind="broken", retryable=True
            )
        return frames

    def finish(self) -> list[Frame]:
        """Frames left at EOF.

        The standard drops a frame without its blank line; here one whose lines are whole counts, as servers close right
        behind the last of them (Gemini does). A last line without its line break is only looked at for stray text.
        """
        tail = bytes(self._tail)
        self._tail.clear()
        frames = self._frames([b""])
        if tail and not tail.startswith((b"data", b"event", b"id", b"retry", b":")):
            self._keep_stray(tail)
        return frames

    def _without_bom(self, chunk: bytes) -> bytes:
        """The first bytes without a byte order mark; nothing while they may still become one."""
        data = bytes(self._tail) + chunk
        self._tail.clear()
        if len(data) < len(BOM_UTF8) and BOM_UTF8.startswith(data):
            self._tail += data
            return b""
        self._started = True
        return data.removeprefix(BOM_UTF8)

    def _frames(self, lines: list[bytes]) -> list[Frame]:
        frames: list[Frame] = []
        data = self._data
        for line in lines:
            if line[:6] == b"data: ":
                data.append(line[6:])
                self._size += len(line)
            elif line:
                self._rare_line(line)
            else:
                if data:
                    frames.append(Frame(self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                    data.clear()
                    self._size = 0
                self._event = ""
        return frames

    def _rare_line(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(line)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name not in (b"", b"id", b"retry"):
            self._keep_stray(line)

    def _keep_stray(self, line: bytes) -> None:
        if self._stray_size < MAX_STRAY_CHARS:
            self._stray.append(line[: MAX_STRAY_CHARS - self._stray_size])
            self._stray_size += len(line)
