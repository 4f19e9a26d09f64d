"""Sending a reply the way its script wants: paced, cut, broken off."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE

from simulator.calls import Call, CallLog
from simulator.formats.base import Format, Problem, Reply
from simulator.recorded import cut
from simulator.script import Fault, Script

GARBAGE = b'\x00\xff\xfe{"choices":[{"delta\x80\xd8 no frame, no JSON, no UTF-8\r\n\r\n'


class Nothing(web.StreamResponse):
    """A response that writes nothing: the transport was used, or closed, behind its back."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no head."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


@dataclass(frozen=True, slots=True)
class Sending:
    """One reply on its way out."""

    request: web.Request
    call: Call
    log: CallLog
    format: Format
    reply: Reply
    script: Script
    released: Callable[[], Awaitable[None]]

    async def send(self) -> web.StreamResponse:
        """Send the reply and note how it ended."""
        self.call.status = self.reply.status
        if self.script.ttft_ms:
            await asyncio.sleep(self.script.ttft_ms / 1000)
        fault = self.script.fault
        if fault is not None:
            return await self._broken(fault)
        if not self.reply.streamed and self.script.chunks is None:
            response: web.StreamResponse = web.Response(
                body=self.reply.pieces[0], status=self.reply.status, headers=self.reply.headers
            )
        else:
            response = await self._open()
            await self._write(response, self.reply.pieces)
        self.log.end(self.call, "completed")
        return response

    async def _open(self, *, length: int | None = None) -> web.StreamResponse:
        response = web.StreamResponse(status=self.reply.status, headers=self.reply.headers)
        if self.script.fault is not None and self.script.fault.kind == "stall":
            # Behind a stall nothing is read: a client that has the whole body must not send its next request here.
            response.force_close()
        if length is None:
            response.enable_chunked_encoding()
        else:
            response.content_length = length
        await response.prepare(self.request)
        return response

    async def _write(self, response: web.StreamResponse, pieces: list[bytes]) -> None:
        gap = (self.script.gap_ms or 0) / 1000 if self.reply.streamed else 0
        if not gap and self.script.chunks is None:
            pieces = [b"".join(pieces)]
        pieces = cut(pieces, self.script.chunks)
        if len(pieces) == 1:
            if pieces[0]:
                await response.write(pieces[0])
            return
        loop = asyncio.get_running_loop()
        due = loop.time()
        for piece in pieces:
            if not piece:
                continue
            await response.write(piece)
            due += gap
            # Paced by the clock, so that slow writes do not add up; without a gap it still lets others run.
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _broken(self, fault: Fault) -> web.StreamResponse:
        if fault.moment == "before-head":
            return await self._broken_before_head(fault)
        pieces = self.reply.pieces if self.reply.streamed else quarters(b"".join(self.reply.pieces))
        at = position(fault, self.reply, len(pieces))
        own_length = not self.reply.streamed and fault.kind not in ("garbage", "error", "bare-error")
        response = await self._open(length=sum(map(len, pieces)) if own_length else None)
        await self._write(response, pieces[:at])
        return await self._break(response, fault, pieces[at:])

    async def _break(self, response: web.StreamResponse, fault: Fault, rest: list[bytes]) -> web.StreamResponse:
        match fault.kind:
            case "reset" | "close":
                self.log.end(self.call, "faulted")
                await self._drop(reset=fault.kind == "reset")
            case "stall":
                await self._stall()
                await self._write(response, rest)
                self.log.end(self.call, "completed")
            case "drip":
                async for byte in self._drops(b"".join(rest)):
                    await response.write(byte)
                self.log.end(self.call, "completed")
            case "garbage":
                await response.write(GARBAGE)
                self.log.end(self.call, "faulted")
            case "error" | "bare-error":
                await response.write(self.format.stream_error(self._problem(), fault.kind == "bare-error"))
                self.log.end(self.call, "faulted")
        return response

    async def _broken_before_head(self, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case "stall":
                await self._stall()
                return await replace(self, script=replace(self.script, fault=None, ttft_ms=0)).send()
            case "error" | "bare-error":
                body = self.format.error(self._problem())
                self.log.end(self.call, "faulted")
                self.call.status = self._problem().status
                return web.Response(body=body, status=self._problem().status, headers=self.format.head(False))
            case "drip":
                await self._raw(self._raw_reply(), dripped=True)
                self.log.end(self.call, "completed")
            case "garbage":
                await self._raw(GARBAGE, dripped=False)
                self.log.end(self.call, "faulted")
            case "reset" | "close":
                self.log.end(self.call, "faulted")
        await self._drop(reset=fault.kind == "reset")
        return Nothing()

    def _problem(self) -> Problem:
        script = self.script
        status = script.status or self.format.failing_status
        return Problem(status, script.message, script.code, model=self.call.model, retry_after=script.retry_after)

    async def _stall(self) -> None:
        self.log.stall(self.call, True)
        await self.released()
        self.log.stall(self.call, False)

    async def _drops(self, data: bytes) -> AsyncIterator[bytes]:
        for start in range(len(data)):
            yield data[start : start + 1]
            await asyncio.sleep((self.script.drip_ms or 0) / 1000)

    def _raw_reply(self) -> bytes:
        """The whole reply with its head, ended by the connection's end."""
        lines = [f"HTTP/1.1 {self.reply.status} Simulated", "Connection: close", f"Server: {SERVER_SOFTWARE}"]
        lines += [f"{name}: {value}" for name, value in self.reply.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + b"".join(self.reply.pieces)

    async def _raw(self, data: bytes, *, dripped: bool) -> None:
        transport = self.request.transport
        if transport is None:
            return
        if not dripped:
            transport.write(data)
            return
        async for byte in self._drops(data):
            transport.write(byte)

    async def _drop(self, *, reset: bool) -> None:
        """Close the connection under the response: with a FIN, or a RST (closing with a linger time of zero)."""
        transport = self.request.transport
        if transport is None:
            return
        while transport.get_write_buffer_size():  # noqa: ASYNC110 - a transport tells nobody when it is empty
            await asyncio.sleep(0.001)
        if reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()


def quarters(body: bytes) -> list[bytes]:
    """Cut a whole body into its first byte, the first half, the second and the last byte."""
    half = max(1, len(body) // 2)
    return [body[:1], body[1:half], body[half:-1], body[-1:] if len(body) > 1 else b""]


def position(fault: Fault, reply: Reply, count: int) -> int:
    """Return how many of `count` pieces come before the fault."""
    end = count - reply.closing if reply.streamed else 3
    first = min(2 if reply.streamed else 1, end)
    match fault.moment:
        case "after-head" | "before-head":
            return 0
        case "first-token":
            return first
        case "mid":
            return max(first, (end + 1) // 2)
        case "before-end":
            return end
        case "before-done":
            return count - 1
        case "at-end":
            return count
