"""Client addresses, and the guard of open mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.addresses import UNKNOWN, ClientAddresses, parse_address, rate_key
from gateway.access.guard import is_loopback_host, open_mode_guard
from gateway.core.errors import GatewayError

TRUSTED = ["10.0.0.0/8", "192.0.2.7", "2001:db8:1::/48"]


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("203.0.113.5", [], "203.0.113.5"),
        ("203.0.113.5", ["198.51.100.1"], "203.0.113.5"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 192.0.2.7 , 10.9.9.9"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ['"[2001:db8::9]:4711"'], "2001:db8::9"),
        ("2001:db8:1::1", ["2001:db8:2::1"], "2001:db8:2::1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 5000) + ", 10.0.0.3"], "10.0.0.2"),
        ("", ["198.51.100.1"], UNKNOWN),
        (None, ["198.51.100.1"], UNKNOWN),
        ("/run/gateway.sock", ["198.51.100.1"], UNKNOWN),
    ],
)
def test_only_trusted_hops_are_believed(remote: str | None, forwarded: list[str], client: str) -> None:
    assert ClientAddresses(TRUSTED).of(remote, forwarded) == client


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert ClientAddresses([]).of("127.0.0.1", ["198.51.100.1"]) == "127.0.0.1"


@pytest.mark.parametrize("text", ["*", "10.0.0.0/99", "proxy.example", "", "10.0.0.1-10.0.0.9"])
def test_networks_that_are_none_stop_the_start(text: str) -> None:
    with pytest.raises(ValueError, match="takes addresses or networks"):
        ClientAddresses([text])


@given(st.lists(st.text(max_size=60), max_size=5), st.text(max_size=40))
def test_no_header_breaks_it(forwarded: list[str], remote: str) -> None:
    addresses = ClientAddresses(["0.0.0.0/0", "::/0"])
    for client in (addresses.of("10.0.0.1", forwarded), addresses.of(remote, forwarded)):
        assert client == UNKNOWN or parse_address(client) is not None


def test_an_ipv6_customer_is_counted_once() -> None:
    assert rate_key("2001:db8:0:1:aaaa::1") == rate_key("2001:db8:0:1:bbbb::2") == "2001:db8:0:1::/64"
    assert rate_key("198.51.100.1") == "198.51.100.1"
    assert rate_key("junk") == UNKNOWN


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "app.localhost:3000", "127.0.0.1", "127.8.8.8:1", "[::1]", "[::1]:8000"],
)
def test_loopback_hosts(host: str) -> None:
    assert is_loopback_host(host)
    open_mode_guard(["Host", "User-Agent"], "127.0.0.1", host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "localhost.example.com",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "192.168.1.2:8000",
        "0.0.0.0",
        "[::]",
        "[2001:db8::1]",
        "localhost@evil.example",
        "localhost:80@evil.example",
        "127.0.0.1:8000:1",
        "evil.example#localhost",
        "evil.example/.localhost",
        "2130706433",
        "[::1",
        "[::1]evil.example",
        "[evil].localhost",
    ],
)
def test_other_hosts_are_refused(host: str) -> None:
    with pytest.raises(GatewayError) as refused:
        open_mode_guard(["Host"], "127.0.0.1", host)
    assert (refused.value.code, refused.value.status) == ("forbidden", 403)


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-FORWARDED-ANYTHING",
        "X-Real-IP",
        "CF-Connecting-IP",
        "Via",
        "CDN-Loop",
    ],
)
def test_what_a_proxy_adds_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as refused:
        open_mode_guard(["Host", name], "127.0.0.1", "localhost")
    assert refused.value.code == "forbidden"


def test_ordinary_requests_of_this_machine_pass() -> None:
    open_mode_guard(["Host", "Accept", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Origin"], "::1", "[::1]:8000")
    open_mode_guard([], "127.0.0.1", None)
    open_mode_guard(["Host"], None, "localhost")


def test_two_hosts_or_another_machine_are_refused() -> None:
    for names, remote in ((["Host", "host"], "127.0.0.1"), (["Host"], "192.168.1.9")):
        with pytest.raises(GatewayError):
            open_mode_guard(names, remote, "localhost")
