"""Every recording of every wire format: decoded whole, cut anywhere and damaged."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import GatewayError, UpstreamError
from tests.providers import fixture_cases as fx
from tests.providers.expectations import check_expected, check_refusal

STREAMS = [case for name in fx.DIRECTORIES for case in fx.streams(name)]
REPLIES = [case for name in fx.DIRECTORIES for case in fx.replies(name)]
ERRORS = [case for name in fx.DIRECTORIES for case in fx.errors(name)]
SMALL = 20_000

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_stream(case: fx.Case) -> None:
    check_expected(case, fx.decode_stream(fx.WIRES[case.provider], case.body))


@pytest.mark.parametrize("case", REPLIES, ids=str)
def test_whole_reply(case: fx.Case) -> None:
    check_expected(case, fx.WIRES[case.provider].decode_reply(case.body))


@pytest.mark.parametrize("case", ERRORS, ids=str)
def test_refusal(case: fx.Case) -> None:
    check_refusal(case, fx.WIRES[case.provider].decode_error(case.status, case.headers, case.body))


@pytest.mark.parametrize("case", [case for case in STREAMS if len(case.body) < SMALL], ids=str)
def test_one_byte_at_a_time(case: fx.Case) -> None:
    record = fx.WIRES[case.provider]
    cut = fx.decode_stream(record, case.body, range(len(case.body)))
    assert fx.shape(cut) == fx.shape(fx.decode_stream(record, case.body))


@pytest.mark.parametrize("name", fx.WIRES)
@given(data=st.data())
@quick
def test_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    record, case = fx.WIRES[name], data.draw(st.sampled_from(fx.streams(name)))
    cuts = data.draw(st.lists(st.integers(1, len(case.body)), max_size=40))
    assert fx.shape(fx.decode_stream(record, case.body, cuts)) == fx.shape(fx.decode_stream(record, case.body))


def damaged(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """Flip, delete, truncate and splice recorded bytes."""
    body, other = draw(st.sampled_from(bodies)), draw(st.sampled_from(bodies))
    dice = random.Random(draw(st.integers(0, 2**32)))
    changed = bytearray(body)
    for _ in range(dice.randint(0, 12)):
        at = dice.randrange(len(changed) or 1)
        how = dice.randrange(5)
        if how == 0:
            changed[at : at + 1] = bytes([dice.randrange(256)])
        elif how == 1:
            del changed[at : at + dice.randint(1, 40)]
        elif how == 2:
            start = dice.randrange(len(other))
            changed[at:at] = other[start : start + dice.randint(1, 400)]
        elif how == 3:
            changed[at : at + 1] = dice.choice((b'"', b"{", b"}", b"[", b"\n", b"\r", b":", b",", b"null", b"\\ud800", b"\0"))
        else:
            changed = bytearray(replace_value(bytes(changed), dice))
    return bytes(changed[: dice.randint(0, len(changed))]) if dice.random() < 0.3 else bytes(changed)


def replace_value(body: bytes, dice: random.Random) -> bytes:
    """Put a value of another type where some JSON value begins."""
    colons = [at for at, byte in enumerate(body) if byte == ord(":")]
    if not colons:
        return body
    at = dice.choice(colons) + 1
    end = at
    while end < len(body) and body[end] not in b",}]\n":
        end += 1
    return body[:at] + dice.choice((b"null", b"7", b'"x"', b"[]", b"{}", b"true", b"-1e9", b"[{}]", b'{"a":[1]}')) + body[end:]


@st.composite
def damaged_streams(draw: st.DrawFn, name: str) -> bytes:
    return damaged(draw, [case.body for case in fx.streams(name)])


@st.composite
def damaged_bodies(draw: st.DrawFn, name: str) -> bytes:
    return damaged(draw, [case.body for case in fx.cases(name) if case.kind == "json"])


@pytest.mark.parametrize("name", fx.WIRES)
@given(data=st.data())
@settings(parent=quick, max_examples=60)
def test_damaged_streams_end_once(name: str, data: st.DataObject) -> None:
    body = data.draw(damaged_streams(name))
    try:
        events = fx.decode_stream(fx.WIRES[name], body, data.draw(st.lists(st.integers(1, len(body) + 1), max_size=3)))
    except GatewayError:
        return
    fx.terminal(events)
    fx.fold(events)


@pytest.mark.parametrize("name", fx.WIRES)
@given(data=st.data())
@settings(parent=quick, max_examples=60)
def test_damaged_replies_end_once(name: str, data: st.DataObject) -> None:
    body = data.draw(damaged_bodies(name))
    events = fx.WIRES[name].decode_reply(body)
    fx.terminal(events)
    fx.fold(events)


@pytest.mark.parametrize("name", fx.WIRES)
@given(data=st.data())
@settings(parent=quick, max_examples=60)
def test_damaged_refusals_stay_refusals(name: str, data: st.DataObject) -> None:
    status = data.draw(st.integers(300, 599))
    error = fx.WIRES[name].decode_error(status, {"retry-after": "soon"}, data.draw(damaged_bodies(name)))
    assert isinstance(error, UpstreamError)
    assert error.upstream_status == status
    assert 400 <= error.status < 600
    assert error.status != 429
