"""Who an Authorization header belongs to."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.callers import ADMIN, Caller, Callers, name_and_key, openness
from gateway.access.tokens import Tokens
from gateway.core.errors import GatewayError

SECRET = "s" * 32
KEYS = [("app", "sk-app-1"), ("app", "sk-app-2"), ("web", "مفتاح-الويب")]


class Clock:
    def __init__(self) -> None:
        self.now = 1_763_812_800.0

    def __call__(self) -> float:
        return self.now


def callers(clock: Clock | None = None) -> Callers:
    clock = clock or Clock()
    return Callers(KEYS, Tokens([SECRET], 3600, clock), "the-admin-token", clock=clock)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        ("Bearer sk-app-1", Caller("key", "key:app")),
        ("bearer   sk-app-2  ", Caller("key", "key:app")),
        ("BEARER مفتاح-الويب", Caller("key", "key:web")),
        ("Bearer the-admin-token", ADMIN),
        (basic("anyone:the-admin-token"), ADMIN),
        (basic(":the-admin-token"), ADMIN),
    ],
)
def test_tokens_that_pass(header: str, caller: Caller) -> None:
    assert callers().identify(header) == caller


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer sk-app",
        "Bearer sk-app-11",
        "Bearer sk-app-1 sk-app-2",
        "Bearer app:sk-app-1",
        "Token sk-app-1",
        "sk-app-1",
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        basic("the-admin-token"),
        basic("the-admin-token:"),
        basic("admin:sk-app-1"),
        basic("app:sk-app-1"),
        "Bearer " + "x" * 9000,
        "Basic " + "QUFB" * 9000,
        "Bearer \udcff\udcfe",
        "Bearer \ud800",
    ],
)
def test_everything_else_is_refused(header: str | None) -> None:
    with pytest.raises(GatewayError) as refused:
        callers().identify(header)
    assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)
    assert "sk-app" not in str(refused.value)


@given(st.text(max_size=200))
def test_no_header_raises_anything_else(text: str) -> None:
    known = callers()
    for header in (text, f"Bearer {text}", f"Basic {text}", basic(text.encode("utf-8", "replace").decode())):
        with pytest.raises(GatewayError):
            known.identify(header)


def test_a_huge_token_is_not_even_hashed() -> None:
    known = Callers([("app", "k")], Tokens([SECRET], 60), None)
    with pytest.raises(GatewayError):
        known.identify("Bearer " + "k" * 100_000_000)


def test_own_tokens_pass_until_they_expire_though_remembered() -> None:
    clock = Clock()
    known = callers(clock)
    header = f"Bearer {Tokens([SECRET], 90, clock).issue(7)}"
    caller = known.identify(header)
    assert (caller.kind, caller.id, caller.user_id, caller.reads_everything) == ("user", "user:7", 7, False)
    assert caller.issued_at == int(clock.now)
    assert known.identify(header) is caller
    clock.now += 89
    assert known.identify(header) == caller
    clock.now += 1
    with pytest.raises(GatewayError, match="expired"):
        known.identify(header)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.access.callers._REMEMBERED", 50)
    clock = Clock()
    known = callers(clock)
    tokens = Tokens([SECRET], 3600, clock)
    for user in range(1, 100):
        known.identify(f"Bearer {tokens.issue(user)}")
    assert len(known._verified) == 50


def test_only_salted_digests_are_kept() -> None:
    known, again = callers(), callers()
    assert set(known._known) & set(again._known) == set()
    text = repr(vars(known))
    assert not any(key in text for key in ("sk-app-1", "the-admin-token", "sk-app-2"))


def test_a_key_given_twice_stops_the_start_without_being_shown() -> None:
    with pytest.raises(ValueError, match="API_KEYS") as twice:
        Callers([("a", "geheim"), ("b", "geheim")], None, None)
    with pytest.raises(ValueError, match="ADMIN_TOKEN") as shared:
        Callers([("a", "geheim")], None, "geheim")
    assert "geheim" not in str(twice.value) + str(shared.value)


@pytest.mark.parametrize(
    ("configured", "on_loopback", "allowed", "opened"),
    [
        (True, True, "true", "closed"),
        (True, False, "chat", "closed"),
        (False, True, "false", "everything"),
        (False, True, "chat", "chat"),
        (False, True, "true", "everything"),
        (False, False, "chat", "chat"),
        (False, False, "true", "everything"),
        (False, False, "false", "closed"),
    ],
)
def test_how_far_the_server_is_open(configured: bool, on_loopback: bool, allowed: str, opened: str) -> None:
    assert openness(configured=configured, on_loopback=on_loopback, allow_anonymous=allowed) == opened  # type: ignore[arg-type]


def test_in_open_mode_everybody_is_nobody_in_particular() -> None:
    everything = Callers([], None, None, "everything")
    assert everything.identify(None) == Caller("anonymous", reads_everything=True)
    assert everything.identify("Bearer whatever") == Caller("anonymous", reads_everything=True)
    assert Callers([], None, None, "chat").identify(None) == Caller("anonymous", reads_everything=False)
    with pytest.raises(GatewayError):
        Callers([], None, None, "closed").identify("Bearer ")


def test_name_key_pairs() -> None:
    assert name_and_key(" app : a:b ") == ("app", "a:b")
    for bad in ("", "app", "app:", ":key", "a\nb:key", "x" * 101 + ":key", "app:" + "k" * 8193):
        with pytest.raises(ValueError, match="takes") as refused:
            name_and_key(bad)
        assert "kkk" not in str(refused.value)
