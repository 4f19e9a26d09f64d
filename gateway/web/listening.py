"""The end of a listening socket: nobody who got through to it is cut off."""

import asyncio
import ctypes
import logging
import socket
import struct
import sys
from typing import Final

log = logging.getLogger(__name__)

BACKLOG: Final = 4096

_HANDSHAKES_S: Final = 0.05
"""So long a connection that is being made may take to be made: longer than a round trip to a proxy."""

_SO_ATTACH_FILTER: Final = 26  # Linux, asm-generic/socket.h
_FLAGS, _SYN = 13, 0x02  # where a TCP header has its flags, and one of them (RFC 9293, section 3.1)
_NO_SYN: Final = (
    (0x30, 0, 0, _FLAGS),  # load that byte
    (0x45, 0, 1, _SYN),  # has it the flag?
    (0x06, 0, 0, 0),  # then drop the packet,
    (0x06, 0, 0, 0xFFFFFFFF),  # else keep it
)
"""A program for the kernel's packet filter (linux/filter.h: code, jumps if true and if false, operand)."""


async def refuse_newcomers(listener: socket.socket) -> None:
    """Let nobody begin to connect any more, for all processes that share the socket; returns when who had begun is through.

    Closing alone resets whoever gets through between the last look into the queue and the closing, with the question sent, which
    a proxy must not send again; and where clients come faster than they are let in there is no last look. Who is refused here
    tries again by itself a second later, finds the socket closed, and goes elsewhere. Only Linux can; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _NO_SYN))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN), ctypes.addressof(program)))
    except OSError as error:
        log.debug("newcomers are not refused before the socket is closed: %s", error)
        return
    await asyncio.sleep(_HANDSHAKES_S)
