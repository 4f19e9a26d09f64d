"""Where a request comes from, also behind proxies that the operator trusts."""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "unknown"
_MAX_HOPS: Final = 20
_MAX_CHARS: Final = 4096


class ClientAddresses:
    """Follows X-Forwarded-For from right to left, as far as each hop is trusted."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        """`trusted_proxies` are addresses or networks (CIDR). Raises `ValueError`."""
        self._trusted = tuple(_network(text) for text in trusted_proxies)

    def of(self, remote: str | None, forwarded_for: Iterable[str] = ()) -> str:
        """The client's address as text, or `unknown`. `forwarded_for` holds every X-Forwarded-For header, in order."""
        client = parse_address(remote or "")
        if client is None:
            return UNKNOWN
        if self._trusts(client):
            for hop in _hops(forwarded_for):
                if (address := parse_address(hop)) is None:
                    break
                client = address
                if not self._trusts(client):
                    break
        return str(client)

    def _trusts(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._trusted)


def rate_key(address: str) -> str:
    """What an address is counted under: itself, and the /64 of an IPv6 one, which is one customer's."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return UNKNOWN if parsed is None else str(parsed)


def parse_address(text: str) -> Address | None:
    """An address, with or without a port or brackets; IPv4 inside IPv6 comes out as IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _hops(forwarded_for: Iterable[str]) -> list[str]:
    text = ",".join(forwarded_for)[-_MAX_CHARS:]
    return text.split(",")[: -_MAX_HOPS - 1 : -1]


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError("takes addresses or networks such as 10.0.0.0/8, comma-separated") from None
