"""Signing in, from the issuer's token to the next request's caller."""

import pytest

from gateway.access.callers import Callers
from gateway.access.identity import IdentityVerifier
from gateway.access.signin import SignIn
from gateway.access.tokens import Tokens
from gateway.access.users import Users
from gateway.core.errors import GatewayError
from gateway.store.postgres import PostgresStore
from tests.access.databases import OwnDatabase, Switch
from tests.access.issuer_server import Issuer, key_set
from tests.access.issuing import APPLE_BUNDLE, GOOGLE_CLIENT, apple_claims, claims, public_jwk, signed

TOKENS = Tokens(["s" * 32], 3600)


async def test_from_an_identity_token_to_a_caller(database: OwnDatabase, store: PostgresStore) -> None:
    issuer = Issuer()
    issuer.keys = [public_jwk("k1")]
    users = Users(database.pool(), store)
    async with issuer.running() as session:
        sign_in = SignIn(
            {
                "google": IdentityVerifier("google", [GOOGLE_CLIENT], key_set(issuer, session)),
                "apple": IdentityVerifier("apple", [APPLE_BUNDLE], key_set(issuer, session)),
            },
            users,
            TOKENS,
        )
        google = await sign_in.sign_in("google", signed(claims()))
        apple = await sign_in.sign_in("apple", signed(apple_claims()), "001473.2e0ae17d4b.0741")
        again = await sign_in.sign_in("google", signed(claims(email="other@example.com")))
    assert google.user.id == again.user.id != apple.user.id
    caller = Callers([], TOKENS, None).identify(f"Bearer {google.token}")
    assert (caller.id, caller.user_id) == (f"user:{google.user.id}", google.user.id)
    await users.admit(caller)


async def test_without_the_database_nobody_signs_in(database: OwnDatabase, store: PostgresStore) -> None:
    issuer = Issuer()
    issuer.keys = [public_jwk("k1")]
    switch = Switch(database.pool())
    switch.away = True
    async with issuer.running() as session:
        verifier = IdentityVerifier("google", [GOOGLE_CLIENT], key_set(issuer, session))
        sign_in = SignIn({"google": verifier}, Users(switch, store), TOKENS)
        with pytest.raises(GatewayError) as refused:
            await sign_in.sign_in("google", signed(claims()))
    assert (refused.value.code, refused.value.status) == ("sign_in_unavailable", 503)


async def test_without_a_secret_nobody_signs_in(store: PostgresStore, database: OwnDatabase) -> None:
    sign_in = SignIn({}, Users(database.pool(), store), None)
    with pytest.raises(GatewayError) as refused:
        await sign_in.sign_in("google", "x")
    assert refused.value.code == "provider_not_configured"
