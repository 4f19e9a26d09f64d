"""The dashboard's session cookie."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.sessions import Sessions

TOKEN = "the-admin-token"


class Clock:
    def __init__(self) -> None:
        self.now = 1_763_812_800.0

    def __call__(self) -> float:
        return self.now


SESSIONS = Sessions(TOKEN)


def test_a_session_lasts_its_time_in_every_process() -> None:
    clock = Clock()
    value = Sessions(TOKEN, 60, clock).create()
    replica = Sessions(TOKEN, 60, clock)
    assert replica.check(value)
    clock.now += 60
    assert not replica.check(value)


def test_another_admin_token_ends_all_sessions() -> None:
    assert not Sessions("another-token").check(SESSIONS.create())


def test_values_differ_and_hold_no_token() -> None:
    values = {SESSIONS.create() for _ in range(100)}
    assert len(values) == 100
    assert not any(TOKEN in value for value in values)
    assert TOKEN not in repr(vars(SESSIONS))


def test_signing_out() -> None:
    sessions = Sessions(TOKEN)
    value, other = sessions.create(), sessions.create()
    sessions.end(value)
    sessions.end("junk")
    assert not sessions.check(value)
    assert sessions.check(other)


@pytest.mark.parametrize("change", [lambda v: "9" + v, lambda v: v[:-1], lambda v: v + "0", lambda v: v.upper(), lambda v: ""])
def test_changed_values_are_refused(change: object) -> None:
    assert callable(change)
    assert not SESSIONS.check(change(SESSIONS.create()))


@given(st.text(max_size=300))
def test_junk_is_refused_quietly(junk: str) -> None:
    value = SESSIONS.create()
    assert not SESSIONS.check(junk)
    assert not SESSIONS.form_matches(value, junk)
    assert not SESSIONS.check(f"{value.rpartition('.')[0]}.{junk}")


def test_a_form_belongs_to_one_session() -> None:
    value, other = SESSIONS.create(), SESSIONS.create()
    assert SESSIONS.form_matches(value, SESSIONS.form_token(value))
    assert not SESSIONS.form_matches(other, SESSIONS.form_token(value))
    assert not SESSIONS.check(SESSIONS.form_token(value))
    assert not SESSIONS.form_matches(value, value.rpartition(".")[2])
