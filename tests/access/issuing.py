"""Keys and tokens as issuers, and forgers, make them."""

import base64
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

GOOGLE_CLIENT = "123-app.apps.googleusercontent.com"
APPLE_BUNDLE = "com.example.m3ajem"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """A key for each name, made once."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=1024 if name == "short" else 2048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(name: str) -> bytes:
    return rsa_key(name).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_jwk(name: str, **more: object) -> dict[str, Any]:
    """The public half, as issuers publish it."""
    jwk: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True)
    return {**jwk, "kid": name, "use": "sig", "alg": "RS256", **more}


def claims(**changed: object) -> dict[str, Any]:
    """What Google says of somebody; None leaves a claim out."""
    now = int(time.time())
    said: dict[str, Any] = {
        "iss": "https://accounts.google.com",
        "aud": GOOGLE_CLIENT,
        "sub": "110169484474386276334",
        "iat": now - 5,
        "exp": now + 3600,
        "email": "عائشة@example.com",
        "email_verified": True,
        **changed,
    }
    return {name: value for name, value in said.items() if value is not None}


def apple_claims(**changed: object) -> dict[str, Any]:
    """What Apple says of somebody."""
    return claims(
        **{
            "iss": "https://appleid.apple.com",
            "aud": APPLE_BUNDLE,
            "sub": "001473.2e0ae17d4b.0741",
            "email": "x7@privaterelay.appleid.com",
            "email_verified": "true",
            **changed,
        }
    )


def signed(said: dict[str, Any], key: str = "k1", **header: object) -> str:
    """A token whose claims may be of any type."""
    payload = json.dumps(said).encode()
    return jwt.api_jws.encode(payload, rsa_key(key), algorithm="RS256", headers={"kid": key, **header})


def by_hand(header: dict[str, Any], said: dict[str, Any], signature: bytes = b"") -> str:
    """A token with any header at all."""
    parts = (json.dumps(header).encode(), json.dumps(said).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
