"""JSON in and out: every byte string gives a value that can be stored and written again, or a `ValueError`."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.jsontext import clean, dumps, dumps_text, fits, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [*'{}[]",: 0123456789.eE+-tn', "null", "NaN", "-Infinity", "1e999", "\\u0000", "\\ud800", "\\udc00", "\\", "9" * 400, "م"]
)


def storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, dict):
        return all(storable(key) and storable(item) for key, item in value.items())
    return all(map(storable, value)) if isinstance(value, list) else True


@given(st.binary() | st.text() | st.lists(PIECES).map("".join))
def test_anything_is_a_value_or_a_value_error(data: bytes | str) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert storable(value)
    assert loads(dumps(value)) == value


@given(VALUES)
def test_values_come_back_cleaned(value: Any) -> None:
    found = loads(json.dumps(value))
    assert storable(found)
    assert fits(found)
    assert loads(dumps(found)) == found


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert clean(text) == text
    assert loads(dumps(text)) == text
    assert dumps_text(text).encode() == dumps(text)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('"\\u0000"', "\ufffd"),
        (b'{"\\u0000": "\\u0000"}', {"\ufffd": "\ufffd"}),
        ('["\\ud83d\\ude00", "\\ud83d"]', ["😀", "\ufffd"]),
        ('"\ud800"', "\ufffd"),
        ('["\\ud800", 123456789012345678901234567890]', ["\ufffd", 123456789012345678901234567890.0]),
        ("18446744073709551615", 18446744073709551615),
        ("18446744073709551616", 18446744073709551616.0),
        ('["\\ud800", -9223372036854775808, -9223372036854775809]', ["\ufffd", -9223372036854775808, -9223372036854775809.0]),
        ('"\\\\u0000"', "\\u0000"),
    ],
)
def test_what_cannot_be_stored_is_replaced(data: bytes | str, value: Any) -> None:
    found = loads(data)
    assert found == value
    assert fits(found)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400, "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("beside", ["1", '"\\ud800"'])
def test_numbers_beyond_a_double_are_no_json(number: str, beside: str) -> None:
    with pytest.raises(ValueError):
        loads(f"[{beside}, {number}]")


@pytest.mark.parametrize("depth", [10, 240, 260, 900, 1100, 100_000])
@pytest.mark.parametrize("inside", ["1", '"\\u0000"', '"\\ud800"', ""])
def test_any_depth_is_a_value_that_fits_or_not_or_a_value_error(depth: int, inside: str) -> None:
    for text in ("[" * depth + inside + "]" * depth, '{"a":' * depth + (inside or "1") + "}" * depth, "[" * depth):
        try:
            value = loads(text)
        except ValueError:
            continue
        assert fits(value) == (depth <= 240)


def test_a_value_that_fits_can_be_wrapped_on_its_way() -> None:
    value: Any = 1
    while fits([value]):
        value = [value]
    assert dumps({"tool_calls": [{"function": {"arguments": {"a": [value]}}}]})


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", {1: 2}, object(), {"a": [2**70]}])
def test_what_cannot_be_encoded_does_not_fit(value: Any) -> None:
    assert not fits(value)


@pytest.mark.parametrize("data", [b"", b"\xff", b'"\xed\xa0\x80"', "", "\ufeff1", "{'a': 1}", "[1,]", "nul", '"\n"', '"\x00"'])
def test_what_is_no_json_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError):
        loads(data)
