"""Tokens of our own issuing, and what only looks like them."""

import base64
import hashlib
import hmac
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.tokens import Tokens
from gateway.core.errors import GatewayError
from tests.access.issuing import by_hand, public_pem, rsa_key

SECRET = "a-secret-of-more-than-thirty-two-bytes"
OTHER = "another-secret-of-at-least-thirty-two-bytes"


def tokens() -> Tokens:
    return Tokens([SECRET], 3600)


def forged(key: Any = SECRET, algorithm: str | None = "HS256", header: dict[str, Any] | None = None, **changed: object) -> str:
    """A token like ours with something changed."""
    genuine = jwt.decode_complete(tokens().issue(7), options={"verify_signature": False})
    said = {name: value for name, value in {**genuine["payload"], **changed}.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"typ": genuine["header"]["typ"], **(header or {})})


def refused(token: str) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        tokens().verify(token)
    assert error.value.code == "unauthenticated"
    return error.value


def test_a_token_tells_whose_it_is_and_how_long_it_lasts() -> None:
    verified = tokens().verify(tokens().issue(2**31 - 1))
    assert verified.user_id == 2**31 - 1
    assert verified.expires_at - verified.issued_at == 3600
    assert abs(verified.issued_at - time.time()) < 60


def test_the_forger_at_least_makes_genuine_ones() -> None:
    assert tokens().verify(forged()).user_id == 7


def test_secrets_are_replaced_without_signing_anyone_out() -> None:
    old = Tokens([OTHER], 60).issue(7)
    both = Tokens([SECRET, OTHER], 60)
    assert both.verify(old).user_id == 7
    assert tokens().verify(both.issue(8)).user_id == 8
    with pytest.raises(GatewayError):
        Tokens([OTHER], 60).verify(both.issue(8))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": None},
        {"iss": "https://accounts.google.com"},
        {"aud": None},
        {"aud": "m3ajem-gateway"},
        {"aud": ["m3ajem-gateway/chat"]},
        {"aud": ["m3ajem-gateway/chat", "other"]},
        {"sub": None},
        {"sub": 7},
        {"sub": "0"},
        {"sub": "07"},
        {"sub": "-7"},
        {"sub": "7 "},
        {"sub": "7\n"},
        {"sub": "٧"},
        {"sub": "admin"},
        {"sub": "user:7"},
        {"sub": "2147483648"},
        {"sub": "9" * 500},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": 9_999_999_999.5},
        {"exp": True},
        {"exp": [9_999_999_999]},
        {"exp": 1e400},
        {"iat": None},
        {"iat": "1"},
        {"iat": int(time.time()) + 600},
        {"nbf": int(time.time()) + 600},
        {"exp": int(time.time()) - 1},
        {"exp": 0},
        {"exp": -1},
    ],
)
def test_wrong_claims_under_the_right_signature(changed: dict[str, Any]) -> None:
    refused(forged(**changed))


def test_an_expired_token_says_so() -> None:
    assert "expired" in refused(forged(exp=int(time.time()) - 1)).detail


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", None, "m3ajem"])
def test_another_kind_of_token_under_the_same_secret(kind: str | None) -> None:
    refused(forged(header={"typ": kind} if kind else {"typ": ""}))


def test_wrong_keys_and_algorithms() -> None:
    refused(forged(key=OTHER))
    refused(forged(key=None, algorithm=None, header={"alg": "none"}))
    refused(forged(algorithm="HS384", key=SECRET * 2))
    refused(forged(algorithm="HS512", key=SECRET * 2))
    refused(forged(key=rsa_key("k1"), algorithm="RS256"))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "RS256", "ES256", "EdDSA", "dir"])
def test_unsigned_tokens_whatever_their_header_says(algorithm: str) -> None:
    genuine = jwt.decode_complete(tokens().issue(7), options={"verify_signature": False})
    for signature in (b"", genuine["signature"]):
        refused(by_hand({"alg": algorithm, "typ": genuine["header"]["typ"]}, genuine["payload"], signature))


def test_a_public_key_is_no_secret() -> None:
    body = forged().rpartition(".")[0]
    signature = hmac.new(public_pem("k1"), body.encode(), hashlib.sha256).digest()
    header, said = jwt.get_unverified_header(forged()), jwt.decode(forged(), options={"verify_signature": False})
    refused(by_hand({**header, "alg": "HS256"}, said, signature))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'a-secret' --"},
        {"kid": "https://evil.example/key"},
        {"jku": "https://evil.example/jwks"},
        {"x5u": "https://evil.example/cert"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
    ],
)
def test_headers_name_no_key_of_ours(header: dict[str, object]) -> None:
    refused(forged(key=OTHER, header=header))
    refused(forged(key="\0" * 32, header=header))


def test_a_changed_letter_anywhere_breaks_a_token() -> None:
    token = tokens().issue(7)
    for index in range(len(token) - 1):
        for letter in "Aq":
            if token[index] != letter:
                refused(token[:index] + letter + token[index + 1 :])


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300).map(lambda data: data.decode("latin-1"))))
def test_junk_is_refused_quietly(junk: str) -> None:
    for token in (junk, f"{junk}.{junk}.{junk}", f"..{junk}", tokens().issue(7) + junk[:1] + "."):
        refused(token)


def test_deep_and_wide_headers_are_refused_quietly() -> None:
    nested = "[" * 5000
    for text in (nested, '{"alg":' + nested, '{"alg":' + "9" * 5000 + "}", "null", "[]", '"HS256"'):
        part = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        refused(f"{part}.e30.AAAA")
        refused(f"{part}.{part}.")
