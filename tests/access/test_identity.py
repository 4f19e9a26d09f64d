"""Identity tokens of Google and Apple: the genuine, the forged, and what is believed of them."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.access.identity import Identity, IdentityVerifier, Provider
from gateway.core.errors import GatewayError
from tests.access.issuer_server import Issuer, key_set
from tests.access.issuing import (
    APPLE_BUNDLE,
    GOOGLE_CLIENT,
    apple_claims,
    by_hand,
    claims,
    ec_key,
    public_jwk,
    public_pem,
    rsa_key,
    signed,
)

Verifiers = dict[Provider, IdentityVerifier]
NOW = int(time.time())


@pytest.fixture
async def issuer() -> Issuer:
    made = Issuer()
    made.keys = [public_jwk("k1"), public_jwk("k2")]
    return made


@pytest.fixture
async def verifiers(issuer: Issuer) -> AsyncIterator[Verifiers]:
    async with issuer.running() as session:
        yield {
            "google": IdentityVerifier("google", [GOOGLE_CLIENT, "456-web"], key_set(issuer, session)),
            "apple": IdentityVerifier("apple", [APPLE_BUNDLE], key_set(issuer, session)),
        }


async def refused(verifier: IdentityVerifier, token: str, claimed: str | None = None) -> None:
    with pytest.raises(GatewayError) as error:
        await verifier.verify(token, claimed)
    assert (error.value.code, error.value.status) == ("unauthenticated", 401)


async def test_google(verifiers: Verifiers) -> None:
    identity = await verifiers["google"].verify(signed(claims()))
    assert identity == Identity("google", "110169484474386276334", "عائشة@example.com")
    assert await verifiers["google"].verify(signed(claims(iss="accounts.google.com", aud="456-web"), "k2")) == identity
    assert await verifiers["google"].verify(signed(claims(aud=[GOOGLE_CLIENT, "456-web"]))) == identity


async def test_apple(verifiers: Verifiers) -> None:
    identity = Identity("apple", "001473.2e0ae17d4b.0741", "x7@privaterelay.appleid.com")
    assert await verifiers["apple"].verify(signed(apple_claims(nonce="n"))) == identity
    assert await verifiers["apple"].verify(signed(apple_claims()), "001473.2e0ae17d4b.0741") == identity
    assert await verifiers["apple"].verify(signed(apple_claims()), "") == identity


async def test_another_user_id_beside_the_token_is_refused(verifiers: Verifiers) -> None:
    for claimed in ("001473.2e0ae17d4b.0742", "001473", "admin", "\ud800", "7" * 5000):
        await refused(verifiers["apple"], signed(apple_claims()), claimed)


@pytest.mark.parametrize(
    ("said", "email"),
    [
        ({"email_verified": True}, "a@example.com"),
        ({"email_verified": "true"}, "a@example.com"),
        ({"email_verified": False}, None),
        ({"email_verified": "false"}, None),
        ({"email_verified": None}, None),
        ({"email_verified": "yes"}, None),
        ({"email_verified": [True]}, None),
        ({"email": None}, None),
        ({"email": 7}, None),
        ({"email": "a\nb@example.com"}, None),
        ({"email": "a" * 300}, None),
    ],
)
async def test_an_address_counts_only_when_the_issuer_verified_it(
    verifiers: Verifiers, said: dict[str, object], email: str | None
) -> None:
    identity = await verifiers["google"].verify(signed(claims(**{"email": "a@example.com", **said})))
    assert identity.email == email


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": None},
        {"iss": "https://appleid.apple.com"},
        {"iss": "https://accounts.google.com.evil.example"},
        {"iss": "http://accounts.google.com"},
        {"iss": ["https://accounts.google.com"]},
        {"iss": 7},
        {"aud": None},
        {"aud": "another-app"},
        {"aud": ""},
        {"aud": []},
        {"aud": [GOOGLE_CLIENT, "another-app"]},
        {"aud": {GOOGLE_CLIENT: 1}},
        {"aud": [7]},
        {"sub": None},
        {"sub": ""},
        {"sub": 110169484474386276334},
        {"sub": "a\nb"},
        {"sub": "1" * 256},
        {"exp": None},
        {"exp": NOW - 61 - 3600},
        {"exp": "soon"},
        {"exp": 1e400},
        {"iat": None},
        {"iat": NOW + 3600},
        {"iat": {}},
        {"nbf": NOW + 3600},
    ],
)
async def test_wrong_claims_under_the_right_signature(verifiers: Verifiers, changed: dict[str, object]) -> None:
    await refused(verifiers["google"], signed(claims(**changed)))


async def test_clocks_may_differ_by_a_minute_and_no_more(verifiers: Verifiers) -> None:
    now = int(time.time())
    await verifiers["google"].verify(signed(claims(exp=now - 30)))
    await verifiers["google"].verify(signed(claims(iat=now + 30, nbf=now + 30)))
    await refused(verifiers["google"], signed(claims(exp=now - 61)))
    await refused(verifiers["google"], signed(claims(iat=now + 90)))
    await refused(verifiers["google"], signed(claims(nbf=now + 90)))


async def test_one_issuer_s_token_is_not_the_other_s(verifiers: Verifiers) -> None:
    await refused(verifiers["apple"], signed(claims()))
    await refused(verifiers["google"], signed(apple_claims()))


async def test_wrong_keys_and_algorithms(verifiers: Verifiers) -> None:
    google, said = verifiers["google"], claims()
    await refused(google, jwt.encode(said, rsa_key("stranger"), algorithm="RS256", headers={"kid": "k1"}))
    await refused(google, signed(said, "stranger"))
    await refused(google, jwt.encode(said, rsa_key("k1"), algorithm="RS256"))
    for algorithm in ("RS384", "RS512", "PS256"):
        await refused(google, jwt.encode(said, rsa_key("k1"), algorithm=algorithm, headers={"kid": "k1"}))
    await refused(google, jwt.encode(said, ec_key(), algorithm="ES256", headers={"kid": "k1"}))
    await refused(google, jwt.encode(said, "x" * 32, algorithm="HS256", headers={"kid": "k1"}))
    await refused(google, jwt.encode(said, rsa_key("k2"), algorithm="RS256", headers={"kid": "k1"}))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "rs256", "RS256 ", None, 7, ["RS256"]])
async def test_unsigned_tokens(verifiers: Verifiers, algorithm: Any) -> None:
    signature = jwt.decode_complete(signed(claims()), options={"verify_signature": False})["signature"]
    for bytes_ in (b"", signature):
        await refused(verifiers["google"], by_hand({"alg": algorithm, "kid": "k1"}, claims(), bytes_))


async def test_a_published_key_is_no_secret(verifiers: Verifiers) -> None:
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        unsigned = by_hand({"alg": algorithm, "kid": "k1"}, claims()).rstrip(".")
        signature = hmac.new(public_pem("k1"), unsigned.encode(), digest).digest()
        await refused(verifiers["google"], by_hand({"alg": algorithm, "kid": "k1"}, claims(), signature))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../../../etc/passwd"},
        {"kid": "k1' OR '1'='1"},
        {"kid": "http://127.0.0.1:1/keys"},
        {"kid": "k" * 1000},
        {"kid": ""},
        {"kid": 7},
        {"kid": None},
        {"kid": ["k1"]},
        {"kid": "k1", "crit": ["exp"]},
        {"kid": "k1", "crit": ["b64"], "b64": False},
    ],
)
async def test_strange_headers(verifiers: Verifiers, issuer: Issuer, header: dict[str, Any]) -> None:
    await refused(verifiers["google"], by_hand({"alg": "RS256", **header}, claims(), b"x" * 256))
    assert set(issuer.calls) <= {"/certs"}


async def test_a_token_cannot_bring_its_own_key(verifiers: Verifiers, issuer: Issuer) -> None:
    brought = {
        "jku": issuer.url.replace("certs", "mine"),
        "x5u": issuer.url.replace("certs", "mine"),
        "jwk": public_jwk("stranger"),
    }
    await refused(verifiers["google"], jwt.encode(claims(), rsa_key("stranger"), "RS256", headers={"kid": "k1", **brought}))
    await refused(verifiers["google"], jwt.encode(claims(), rsa_key("stranger"), "RS256", headers={"kid": "mine", **brought}))
    assert "/mine" not in issuer.calls


async def test_huge_tokens_are_refused_unparsed(verifiers: Verifiers, issuer: Issuer) -> None:
    await refused(verifiers["google"], signed(claims(pad="x" * 9000)))
    await refused(verifiers["google"], "e" * 50_000_000)
    assert issuer.calls == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda data: data.decode("latin-1"))))
async def test_junk_is_refused_quietly(verifiers: Verifiers, junk: str) -> None:
    head = by_hand({"alg": "RS256", "kid": "k1"}, {}).partition(".")[0]
    for token in (junk, f"{junk}.{junk}.{junk}", f"{head}.{junk}.{junk}", signed(claims()) + junk[:1] + "."):
        await refused(verifiers["google"], token)


async def test_an_issuer_that_is_away_is_no_fault_of_the_token(verifiers: Verifiers, issuer: Issuer) -> None:
    issuer.status = 500
    with pytest.raises(GatewayError) as error:
        await verifiers["google"].verify(signed(claims()))
    assert (error.value.code, error.value.status, error.value.retryable) == ("sign_in_unavailable", 503, True)
    assert error.value.retry_after is not None


async def test_without_a_client_id_nobody_signs_in(issuer: Issuer) -> None:
    async with issuer.running() as session:
        verifier = IdentityVerifier("google", [], key_set(issuer, session))
        assert not verifier.configured
        with pytest.raises(GatewayError) as error:
            await verifier.verify(signed(claims()))
        assert error.value.code == "provider_not_configured"
    assert issuer.calls == []
