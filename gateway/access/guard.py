"""The guard of open mode on loopback: only this machine's own programs may come in without a token."""

import re
from collections.abc import Iterable
from typing import Final

from gateway.access.addresses import parse_address
from gateway.core.errors import GatewayError

_FORWARDING: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-original-forwarded-for",
        "x-original-host",
        "x-original-url",
        "x-rewrite-url",
        "x-envoy-external-address",
        "x-azure-clientip",
        "x-appengine-user-ip",
        "true-client-ip",
        "client-ip",
        "cf-connecting-ip",
        "cf-connecting-ipv6",
        "cf-ray",
        "cf-visitor",
        "cdn-loop",
        "fastly-client-ip",
        "fly-client-ip",
        "tailscale-user-login",
    }
)
_HOST: Final = re.compile(r"(?:(?P<name>[a-z0-9._-]+)|\[(?P<ipv6>[0-9a-f:.]+)\])(?::[0-9]{1,5})?", re.ASCII)


def open_mode_guard(header_names: Iterable[str], remote: str | None, host: str | None) -> None:
    """Refuse what came through a proxy or a tunnel, or under a name that is not this machine's (DNS rebinding).

    `header_names` are the request's, repeated ones repeated; `host` is its Host header. Raises `GatewayError` `forbidden`.
    """
    hosts = 0
    for name in header_names:
        lowered = name.lower()
        if lowered in _FORWARDING or lowered.startswith("x-forwarded"):
            raise GatewayError("forbidden", "The server is open to this machine alone; set API_KEYS to serve through a proxy.")
        hosts += lowered == "host"
    if hosts > 1 or not (host is None or is_loopback_host(host)) or not _is_local(remote):
        raise GatewayError("forbidden", "The server is open to this machine alone, under a loopback address.")


def is_loopback_host(host: str) -> bool:
    """Whether a Host header names this machine: `localhost`, a name under it, 127.0.0.0/8 or ::1, with or without a port."""
    parts = _HOST.fullmatch(host.strip().lower())
    if parts is None:
        return False
    name = (parts["name"] or parts["ipv6"]).removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = parse_address(name)
    return address is not None and address.is_loopback


def _is_local(remote: str | None) -> bool:
    address = parse_address(remote or "")
    return address is None or address.is_loopback
