"""Published keys: rotation, outages, and issuers that answer nonsense."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import jwt
import pytest

from gateway.access.jwks import KeysUnavailable, UnknownKey, read_keys
from tests.access.issuer_server import Clock, Issuer, key_set
from tests.access.issuing import public_jwk, rsa_key


@pytest.fixture
async def issuer() -> Issuer:
    made = Issuer()
    made.keys = [public_jwk("k1")]
    return made


@pytest.fixture
async def session(issuer: Issuer) -> AsyncIterator[aiohttp.ClientSession]:
    async with issuer.running() as session:
        yield session


async def test_keys_are_fetched_once_for_everybody(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    keys = key_set(issuer, session)
    found = await asyncio.gather(*(keys.key("k1") for _ in range(50)))
    assert len({id(key) for key in found}) == 1
    assert issuer.calls == ["/certs"]


async def test_an_unknown_key_id_asks_again_but_not_every_time(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys = key_set(issuer, session, clock)
    await keys.key("k1")
    issuer.keys = [public_jwk("k1"), public_jwk("k2")]
    for number in range(100):
        with pytest.raises(UnknownKey):
            await keys.key(f"forged-{number}")
    assert len(issuer.calls) == 1
    clock.now += 30
    assert (await keys.key("k2")).key_id == "k2"
    for number in range(100):
        with pytest.raises(UnknownKey):
            await keys.key(f"forged-{number}")
    assert len(issuer.calls) == 2


async def test_a_withdrawn_key_is_forgotten_within_the_hour(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys = key_set(issuer, session, clock)
    await keys.key("k1")
    issuer.keys = [public_jwk("k2")]
    clock.now += 3601
    with pytest.raises(UnknownKey):
        await keys.key("k1")
    await keys.key("k2")


async def test_known_keys_outlive_an_outage(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys = key_set(issuer, session, clock)
    await keys.key("k1")
    issuer.status = 500
    clock.now += 100_000
    for _ in range(10):
        assert (await keys.key("k1")).key_id == "k1"
    assert len(issuer.calls) == 2
    with pytest.raises(KeysUnavailable):
        await keys.key("k2")
    issuer.status, issuer.keys = 200, [public_jwk("k1"), public_jwk("k2")]
    clock.now += 5
    assert (await keys.key("k2")).key_id == "k2"


async def test_without_any_key_an_outage_is_said_and_soon_over(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys = key_set(issuer, session, clock)
    issuer.status = 503
    for _ in range(10):
        with pytest.raises(KeysUnavailable):
            await keys.key("k1")
    assert len(issuer.calls) == 1
    issuer.status = 200
    clock.now += 5
    assert (await keys.key("k1")).key_id == "k1"


async def test_an_issuer_that_is_not_there(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    issuer.url = "http://127.0.0.1:1/certs"
    with pytest.raises(KeysUnavailable):
        await key_set(issuer, session).key("k1")


async def test_a_stale_key_serves_while_newer_ones_are_fetched(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    clock = Clock()
    keys = key_set(issuer, session, clock)
    await keys.key("k1")
    clock.now += 3601
    issuer.called.clear()
    issuer.gate = asyncio.Event()
    fetching = asyncio.create_task(keys.key("k1"))
    await issuer.called.wait()
    assert (await keys.key("k1")).key_id == "k1"
    issuer.gate.set()
    await fetching


async def test_a_caller_who_leaves_does_not_spoil_it_for_the_next(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    issuer.gate = asyncio.Event()
    keys = key_set(issuer, session)
    leaving = asyncio.create_task(keys.key("k1"))
    await issuer.called.wait()
    staying = asyncio.create_task(keys.key("k1"))
    leaving.cancel()
    issuer.gate.set()
    assert (await staying).key_id == "k1"


async def test_redirects_are_not_followed(issuer: Issuer, session: aiohttp.ClientSession) -> None:
    issuer.status, issuer.headers = 302, {"Location": "/elsewhere"}
    with pytest.raises(KeysUnavailable):
        await key_set(issuer, session).key("k1")
    assert issuer.calls == ["/certs"]


NONSENSE = {
    "empty": b"",
    "html": b"<html>",
    "object": b"{}",
    "list": b"[]",
    "mapping": b'{"keys": {}}',
    "none": b'{"keys": []}',
    "junk": b'{"keys": [null, 7, "x", [], {}]}',
    "deep": b"[" * 3000,
    "huge": b" " * 300_000,
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_an_outage(issuer: Issuer, session: aiohttp.ClientSession, answer: bytes) -> None:
    issuer.answer = answer
    with pytest.raises(KeysUnavailable):
        await key_set(issuer, session).key("k1")


def private_jwk() -> dict[str, Any]:
    jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key("k1"), as_dict=True)
    return {**jwk, "kid": "private", "use": "sig", "alg": "RS256"}


UNFIT: dict[str, Callable[[], dict[str, Any]]] = {
    "for encryption": lambda: public_jwk("k2", use="enc"),
    "PS256": lambda: public_jwk("k2", alg="PS256"),
    "HS256": lambda: public_jwk("k2", alg="HS256"),
    "of another kind": lambda: public_jwk("k2", kty="EC"),
    "n is no number": lambda: public_jwk("k2", n="!!"),
    "n is no text": lambda: public_jwk("k2", n=7),
    "no e": lambda: public_jwk("k2", e=None),
    "short": lambda: public_jwk("short"),
    "its id is no text": lambda: public_jwk("k2", kid=7),
    "a secret": lambda: {"kty": "oct", "kid": "oct", "alg": "RS256", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    "private": private_jwk,
}


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_keys_are_left_out(name: str) -> None:
    entry = UNFIT[name]()
    assert list(read_keys(json.dumps({"keys": [entry, public_jwk("k1")]}).encode(), "RS256")) == ["k1"]
    with pytest.raises(ValueError, match="no usable key"):
        read_keys(json.dumps({"keys": [entry]}).encode(), "RS256")


def test_a_set_is_read_so_far_and_no_further() -> None:
    keys = [public_jwk("k1", kid=f"k{number}") for number in range(100)]
    assert len(read_keys(json.dumps({"keys": keys}).encode(), "RS256")) == 64
