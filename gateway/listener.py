"""The socket that the server listens on."""

import socket
from typing import Final

from gateway.settings import Settings
from gateway.web.listening import BACKLOG

_GONE_S: Final = 60
# Connections take these over from the socket that accepts them. What a client does not take is kept for it by the kernel, too:
# that is bounded, and a client that acknowledges nothing for a minute is gone (half-open connections say nothing by themselves).
_CONNECTION_OPTIONS: Final = [
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (
            ("TCP_KEEPIDLE", _GONE_S),
            ("TCP_KEEPINTVL", _GONE_S // 4),
            ("TCP_KEEPCNT", 4),
            ("TCP_USER_TIMEOUT", _GONE_S * 1000),
        )
        if hasattr(socket, name)
    ),
]


def listen(settings: Settings) -> socket.socket:
    """Bind the server's address. Raises `OSError` naming the address that is taken.

    Whoever connects before it is ready waits. Where there may be others to ask (REDIS_URL), connections are refused until then.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((settings.host, settings.port))
        if settings.redis_url is None:
            listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(f"{settings.host}:{settings.port}: {error.strerror or error}; see HOST and PORT") from None
    for level, option, value in _CONNECTION_OPTIONS:
        listener.setsockopt(level, option, value)
    return listener


def address(listener: socket.socket) -> str:
    """Where a listening socket is reached, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
