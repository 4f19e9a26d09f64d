"""What is said and understood: words, triggers, pieces, arguments made from a schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import words
from simulator.schema import fill


@given(st.text())
def test_pieces_are_the_text(text: str) -> None:
    assert "".join(words.pieces(text)) == text


@given(st.text())
def test_any_question_is_about_some_word(text: str) -> None:
    assert words.words_asked(text)
    assert all(words.words_asked(text))
    assert "".join(words.about(words.words_asked(text)[0])).startswith("[محاكاة]")


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("ما معنى كلمة سلام؟", ("سلام",)),
        ("مَا مَعْنَى السَّلَامِ؟", ("السلام",)),
        ("اشرح «قلم» و«كتاب»", ("قلم", "كتاب")),
        ('what does "سلام" mean', ("سلام",)),
        ("the meaning of peace", ("peace",)),
        ("hello there", ("there",)),
        ("؟", ("سلام",)),
        ("", ("سلام",)),
    ],
)
def test_finds_the_word_asked_about(question: str, found: tuple[str, ...]) -> None:
    assert words.words_asked(question) == found


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("فَكِّرْ في كلمة سلام", {"think"}),
        ("Think about it", {"think"}),
        ("ما مصدر كلمة سلام؟", {"sources"}),
        ("كلمتين اثنين", {"parallel"}),
        ("refuse a long source", {"refuse", "long", "sources"}),
        ("فكرة طويلة عن المصدرية", set()),
        ("belong thinking resource", set()),
    ],
)
def test_understands_its_triggers_as_whole_words(question: str, found: set[str]) -> None:
    assert words.triggers(question) == found


def test_says_a_true_thing_about_the_word() -> None:
    assert "وعددُ حروفِها 4: س، ل، ا، م." in "".join(words.about("سلام"))


def test_counts_exactly() -> None:
    for number in (1, 2, 100):
        assert len(words.counted(number)) == number


@pytest.mark.parametrize(
    ("schema", "filled"),
    [
        ({}, {}),
        ({"type": "string"}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}, {"a": "سلام", "b": 1}),
        ({"properties": {"a": {}, "b": {"type": "number", "minimum": 5}}, "required": ["b"]}, {"b": 5}),
        ({"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 7}}}, {"a": "x", "b": 7}),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "BOOLEAN"}}}, {"a": "سلام", "b": True}),
        ({"type": "object", "properties": {"a": {"type": ["null", "integer"]}, "b": {"type": "null"}}}, {"a": 1, "b": None}),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}, {"a": ["سلام"]}),
        ({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "integer"}]}}}, {"a": 1}),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/word"}}, "$defs": {"word": {"type": "string"}}},
            {"a": "سلام"},
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}}, {"a": "سلام"}),
    ],
)
def test_fills_a_schema(schema: dict[str, Any], filled: dict[str, Any]) -> None:
    assert fill(schema, "سلام", 1) == filled


def test_ends_a_schema_that_holds_itself() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    value: Any = fill(node, "سلام", 1)
    depth = 0
    while isinstance(value, dict):
        depth, value = depth + 1, value["next"]
    assert 2 < depth < 10
    assert value == "سلام"


KEYWORDS = st.sampled_from(["type", "properties", "items", "anyOf", "enum", "$ref", "required", "const", "minimum"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(KEYWORDS, JSON))
def test_fills_or_leaves_any_schema(schema: dict[str, Any]) -> None:
    assert isinstance(fill(schema, "سلام", 1), dict)
