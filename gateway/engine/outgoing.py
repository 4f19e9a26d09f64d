"""Requests to providers as they are sent."""

from typing import Final

import aiohttp

from gateway.engine.connector import destination
from gateway.providers.base import UpstreamRequest

_MOST_ADDRESSES: Final = 1000
_ACCEPT: Final = "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: m3ajem-gateway\r\n"


class Address:
    """Where calls to one URL go, and how their requests begin."""

    __slots__ = ("_start", "destination")

    def __init__(self, url: str) -> None:
        self.destination = to = destination(url)
        straight = to.proxy is None or to.is_ssl()
        self._start = f"POST {to.url.raw_path_qs if straight else to.url} HTTP/1.1\r\nHost: {to.headers['Host']}\r\n{_ACCEPT}"
        if not straight and to.proxy is not None and to.proxy.user:
            credentials = aiohttp.encode_basic_auth(to.proxy.user, to.proxy.password or "")
            self._start += f"Proxy-Authorization: {credentials}\r\n"

    def bytes_of(self, request: UpstreamRequest) -> bytes:
        """A request as it is sent. Raises `ValueError` for a header that would be two."""
        lines = [self._start]
        for name, value in request.headers.items():
            if "\r" in value or "\n" in value:
                raise ValueError(f"the header {name} holds a line break")
            lines.append(f"{name}: {value}\r\n")
        lines.append(f"Content-Length: {len(request.body)}\r\n\r\n")
        return "".join(lines).encode("latin-1") + request.body


class Message:
    """A request as it is sent, until it is."""

    __slots__ = ("_data", "address")

    def __init__(self, address: Address, data: bytes) -> None:
        self.address = address
        self._data = data

    def take(self) -> bytes:
        """The bytes, of which nothing is kept here."""
        data, self._data = self._data, b""
        return data


class Outgoing:
    """Makes messages; an address that was asked before is ready."""

    def __init__(self) -> None:
        self._addresses: dict[str, Address] = {}

    def of(self, request: UpstreamRequest) -> Message:
        """Raises `ValueError` for a header that would be two."""
        address = self._addresses.get(request.url)
        if address is None:
            if len(self._addresses) >= _MOST_ADDRESSES:
                self._addresses.clear()
            address = self._addresses[request.url] = Address(request.url)
        return Message(address, address.bytes_of(request))
