"""Forged tokens, over HTTP: of ours as bearer, of an issuer's in signing in. All get the same 401, and lead nowhere."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from gateway.access.tokens import Tokens
from tests.access.issuer_server import Issuer
from tests.access.issuing import GOOGLE_CLIENT, by_hand, claims, ec_key, public_jwk, public_pem, rsa_key, signed
from tests.faults.wire import check_healthy, listener
from tests.running import Start
from tests.web.callers import ADMIN, API_KEY, SECRET, World, bearer, closed, user_token
from tests.web.shapes import check_problem

# Forgers' keys are as bad as they like.
pytestmark = pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
NOW = int(time.time())
GOOD = {"message": "سلام"}


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    made.keys = [public_jwk("k1"), {"kty": "oct", "kid": "weak", "k": "AAAA"}, public_jwk("short")]
    async with made.running():
        yield made


@pytest.fixture
async def world(start_gateway: Start, issuer: Issuer) -> World:
    return await closed(start_gateway, GOOGLE_JWKS_URL=issuer.url, GOOGLE_CLIENT_ID=GOOGLE_CLIENT)


def ours(user: int, key: Any = SECRET, algorithm: str = "HS256", header: dict[str, Any] | None = None, **changed: Any) -> str:
    """A token like ours, but for what is given."""
    said = {"iss": "m3ajem-gateway", "aud": "m3ajem-gateway/chat", "sub": str(user), "iat": NOW, "exp": NOW + 3600} | changed
    kept = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={"typ": "m3ajem+jwt"} | (header or {}))


def forged_of_ours(user: int, elsewhere: str) -> dict[str, str]:
    genuine = user_token(user)
    head, said, mac = genuine.split(".")
    body = {"iss": "m3ajem-gateway", "aud": "m3ajem-gateway/chat", "sub": str(user), "iat": NOW, "exp": NOW + 3600}
    confused = by_hand({"alg": "HS256", "typ": "m3ajem+jwt"}, body)
    signature = hmac.new(public_pem("k1"), confused.rpartition(".")[0].encode(), hashlib.sha256).digest()
    return {
        "another secret": ours(user, "another secret that is long enough to be one"),
        "an empty secret": ours(user, "\0" * 32),
        "expired": ours(user, exp=NOW - 1),
        "never expiring": ours(user, exp=None),
        "from the future": ours(user, iat=NOW + 3600),
        "another issuer": ours(user, iss="https://accounts.google.com"),
        "another audience": ours(user, aud="m3ajem-gateway"),
        "two audiences": ours(user, aud=["m3ajem-gateway/chat", "x"]),
        "the operator": ours(user, sub="admin"),
        "a caller's name": ours(user, sub=f"user:{user}"),
        "a user beyond all users": ours(user, sub="99999999999999999999"),
        "somebody who is no user": ours(user, sub="987654321"),
        "another kind": ours(user, header={"typ": "JWT"}),
        "HS512": ours(user, algorithm="HS512"),
        "RS256": ours(user, rsa_key("k1"), "RS256"),
        "ES256": ours(user, ec_key(), "ES256"),
        "a public key as the secret": by_hand({"alg": "HS256", "typ": "m3ajem+jwt"}, body, signature),
        **{f"alg {name!r}": by_hand({"alg": name, "typ": "m3ajem+jwt"}, body) for name in ("none", "None", "nOnE", "", "hs256")},
        "no signature": f"{head}.{said}.",
        "no dots": head,
        "too many dots": f"{genuine}.{mac}",
        "a changed letter": f"{head}.{said[:-2]}AA.{mac}",
        "a path as key id": ours(user, "\0" * 32, header={"kid": "../../../../dev/null"}),
        "SQL as key id": ours(user, "x" * 32, header={"kid": "' UNION SELECT 'x' --"}),
        "an address of keys": ours(user, "x" * 32, header={"jku": elsewhere, "x5u": elsewhere}),
        "a key of its own": ours(user, "x" * 32, header={"jwk": {"kty": "oct", "k": "eHh4"}}),
        "a critical header": ours(user, header={"crit": ["x"], "x": 1}),
        "an identity token": signed(claims()),
        "huge": "A" * 8000,
        "huge parts": f"{'A' * 2600}.{'A' * 2600}.{'A' * 2600}",
        "an API key and more": API_KEY + "x",
        "half an API key": API_KEY[:-1],
        "the operator's token in capitals": ADMIN.upper(),
        "a named key": f"app:{API_KEY}",
    }


async def test_forged_tokens_of_ours(world: World, subtests: pytest.Subtests) -> None:
    user = await world.user()
    async with listener() as (elsewhere, heard):
        told = set()
        for name, token in forged_of_ours(user, elsewhere).items():
            for method, path in (("POST", "/chat"), ("GET", "/conversations"), ("GET", "/auth/me"), ("GET", "/stats")):
                with subtests.test(token=name, path=path):
                    body = {"json": GOOD} if method == "POST" else {}
                    answer = await world.send(method, path, bearer(token), **body)
                    told.add(check_problem(answer, "unauthenticated")["detail"])
                    assert token[:20] not in answer.text
        assert heard == []
    # Nothing says what was wrong with a forgery; that a session is over, or an account, its owner may know.
    assert told == {
        "The token is not valid; sign in again.",
        "The session has expired; sign in again.",
        "The account does not exist any more; sign in again.",
    }
    assert world.gateway.simulator.calls == []
    await check_healthy(world.gateway, bearer(user_token(user)))


async def test_odd_spellings_of_the_header(world: World, subtests: pytest.Subtests) -> None:
    for value in (
        "",
        "Bearer",
        API_KEY,
        f"Bearer{API_KEY}",
        f"Token {API_KEY}",
        f"Bearer {API_KEY}, Bearer {ADMIN}",
        f"Basic {ADMIN}",
        "Basic " + "A" * 8000,
        "Basic \xff\xfe",
        f"Bearer \xff{API_KEY}",
        "Negotiate YII=",
        f"Bearer {API_KEY}\x7f",
    ):
        with subtests.test(value=value[:40]):
            answer = await world.gateway.client.get("/conversations", headers=[(b"Authorization", value.encode("latin-1"))])
            assert answer.status_code in (400, 401)
    for value in (f"bearer {API_KEY}", f"BEARER   {API_KEY}"):
        assert (await world.send("GET", "/conversations", {"Authorization": value})).status_code == 200
    # Who sends two is taken at the first one's word.
    for first, second, status in (("wrong", ADMIN, 401), (ADMIN, "wrong", 200)):
        sent = [(b"Authorization", f"Bearer {token}".encode()) for token in (first, second)]
        assert (await world.gateway.client.get("/stats", headers=sent)).status_code == status


def forged_identities(elsewhere: str) -> dict[str, str]:
    body = by_hand({"alg": "HS256", "kid": "k1"}, claims()).rpartition(".")[0]
    mac = hmac.new(public_pem("k1"), body.encode(), hashlib.sha256).digest()
    return {
        "Apple's": signed(claims(iss="https://appleid.apple.com")),
        "an issuer that looks like Google": signed(claims(iss="https://accounts.google.com.evil.example")),
        "for another app": signed(claims(aud="another-app")),
        "for ours and another": signed(claims(aud=[GOOGLE_CLIENT, "another-app"])),
        "for nobody": signed(claims(aud=None)),
        "expired": signed(claims(exp=NOW - 120)),
        "from the future": signed(claims(iat=NOW + 3600, nbf=NOW + 3600)),
        "about nobody": signed(claims(sub="")),
        "about a number": signed(claims(sub=7)),
        "another key under a known id": signed(claims(), "k2", kid="k1"),
        "an unknown key": signed(claims(), "k2"),
        "a short key": signed(claims(), "short"),
        "a shared secret as key": jwt.encode(claims(), "AAAA" * 8, algorithm="HS256", headers={"kid": "weak"}),
        "the public key as secret": by_hand({"alg": "HS256", "kid": "k1"}, claims(), mac),
        "unsigned": by_hand({"alg": "none", "kid": "k1"}, claims()),
        "another curve": jwt.encode(claims(), ec_key(), algorithm="ES256", headers={"kid": "k1"}),
        "a path as key id": signed(claims(), "k2", kid="../../../../dev/null"),
        "an address as key id": signed(claims(), "k2", kid=elsewhere),
        "SQL as key id": signed(claims(), "k2", kid="k1' OR '1'='1"),
        "an address of keys": signed(claims(), "k2", jku=elsewhere, x5u=elsewhere),
        "a key of its own": signed(claims(), "k2", kid="k1", jwk=public_jwk("k2")),
        "a critical header": signed(claims(), crit=["b64"], b64=True),
        "one of ours": Tokens([SECRET], 3600).issue(1),
        "huge": "A" * 7000,
        "nothing like a token": "' OR 1=1; --",
    }


async def test_forged_identities(world: World, issuer: Issuer, subtests: pytest.Subtests) -> None:
    async with listener() as (elsewhere, heard):
        told = set()
        for name, token in forged_identities(elsewhere).items():
            with subtests.test(token=name):
                for sent in ({"params": {"id_token": token}}, {"json": {"id_token": token}}):
                    problem = check_problem(
                        await world.gateway.client.post("/auth/google/mobile", **sent),  # type: ignore[arg-type]
                        "unauthenticated",
                    )
                    told.add(problem["detail"])
        assert heard == []
    assert told == {"The sign-in could not be verified; try again."}
    # However many unknown keys are named, the issuer is asked once in a while.
    assert len(issuer.calls) == 1
    assert await world.gateway.rows("SELECT 1 FROM users") == []
    genuine = await world.gateway.client.post("/auth/google/mobile", params={"id_token": signed(claims())})
    assert genuine.status_code == 200
    await check_healthy(world.gateway, bearer(genuine.json()["token"]))


@pytest.mark.parametrize("size", [17_000, 1_000_000, 12_000_000])
async def test_tokens_beyond_all_tokens(world: World, size: int) -> None:
    answer = await world.gateway.client.post("/auth/google/mobile", json={"id_token": "A" * size})
    check_problem(answer, "body_too_large" if size > 10 * 1024 * 1024 else "invalid_request")
    assert len(answer.content) < 1000
