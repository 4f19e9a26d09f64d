"""An incremental decoder for server-sent events (WHATWG HTML, section 9.2), bytes in, frames out.

It never depends on how the bytes were cut, and holds at most `max_bytes` of an unfinished frame.
"""

from dataclasses import dataclass

from gateway.core.errors import UpstreamError

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_STRAY_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One event: its name ("" when none was given) and its data lines joined by LF, as UTF-8 bytes."""

    event: str
    data: bytes


class SseDecoder:
    """Splits a byte stream into frames; lines that belong to no SSE field are kept as `stray` text."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_bytes
        self._tail = b""
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
            if not self._started:
                return []
        data = self._tail + chunk if self._tail else chunk
        if b"\r" in data:
            # A CR at the very end may be half of a CRLF: it waits for the next chunk.
            held = data.endswith(b"\r")
            whole = data[:-1] if held else data
            lines = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            self._tail = lines.pop() + (b"\r" if held else b"")
        else:
            lines = data.split(b"\n")
            self._tail = lines.pop()
        frames: list[Frame] = []
        for line in lines:
            self._line(line, frames)
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
        frames: list[Frame] = []
        tail, self._tail = self._tail, b""
        if tail.endswith(b"\r"):
            self._line(tail[:-1], frames)
            tail = b""
        if self._data:
            self._line(b"", frames)
        if tail and not tail.startswith((b"data", b"event", b"id", b"retry", b":")):
            self._keep_stray(tail)
        return frames

    def _without_bom(self, chunk: bytes) -> bytes:
        data = self._tail + chunk
        self._tail = b""
        bom = b"\xef\xbb\xbf"
        if len(data) < 3 and bom.startswith(data):
            self._tail = data
            return b""
        self._started = True
        return data.removeprefix(bom)

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if line[:6] == b"data: ":
            self._data.append(line[6:])
            self._size += len(line)
        elif not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                frames.append(Frame(self._event, data))
                self._data = []
                self._size = 0
            self._event = ""
        else:
            self._rare_line(line)

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
