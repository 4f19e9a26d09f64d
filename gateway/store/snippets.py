"""The part of a message that was searched for, with what was found marked, in the message's own spelling."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from typing import Final

Term = Sequence[Sequence[str]]
"""Spellings of one word or phrase: each a series of lexemes that follow each other."""

MARK: Final = ("<mark>", "</mark>")
_BEFORE: Final = 6
_WORDS: Final = 28
_MOST_CHARACTERS: Final = 400

# As search_fold() of schema/0003_search.sql parts words.
_SHAPES: Final = re.compile("[\ufb50-\ufdff\ufe70-\ufefc]")
_MARKED: Final = re.compile("[\u00c0-\u04ff\u1e00-\u1fff]")
_DROPPED: Final = (
    "\u00ad\u0300-\u036f\u0610-\u061a\u061c\u0640\u064b-\u065f\u0670\u06d6-\u06ed\u08d3-\u08ff\u200b-\u200f\u202a-\u202e"
    "\u2060-\u2069\ufeff"
)
_LETTERS: Final = (
    "0-9A-Za-z\u00aa\u00b5\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0370-\u0373\u0386-\u0481\u048a-\u0587\u05d0-\u05ea"
    "\u0620-\u063f\u0641-\u064a\u0660-\u0669\u066e\u066f\u0671-\u06d3\u06d5\u06ee-\u06fc\u06ff\u0750-\u077f\u08a0-\u08c9"
    "\u0900-\u1fff\u3040-\u318f\u3400-\u9fff\ua000-\ud7ff"
)
_WORD: Final = re.compile(f"[{_DROPPED}]*[{_LETTERS}][{_LETTERS}{_DROPPED}]*")


def words(text: str) -> list[str]:
    """The words of a text, in order, as the search counts them."""
    return _WORD.findall(_readable(text))


def terms_in(queries: Sequence[str]) -> list[Term]:
    """The spellings in what `search_term()` made of each term, as PostgreSQL writes a tsquery: `'a' <-> 'b' | 'c'`."""
    return [[re.findall(r"'([^']*)'", spelling) for spelling in query.split("|")] for query in queries]


def snippet(text: str, terms: Sequence[Term], places: Mapping[str, Sequence[int]]) -> str:
    """HTML: the stretch of the text with most of the terms in it, each found word between `MARK`, the rest escaped. `places`
    are the positions of lexemes in the text, the first word's is 1."""
    text = _readable(text)
    found = [_marked(term, places) for term in terms]
    every = sorted(set().union(*found))
    best = max(every, key=lambda place: sum(not marks.isdisjoint(range(place, place + _WORDS)) for marks in found), default=1)
    start = max(1, best - _BEFORE)
    spans = list(islice((match.span() for match in _WORD.finditer(text)), start + _WORDS))
    return _dressed(text, spans, start, set(every))


def _marked(term: Term, places: Mapping[str, Sequence[int]]) -> set[int]:
    """The positions of every word that is part of an occurrence of the term."""
    found: set[int] = set()
    for lexemes in term:
        at = [set(places.get(lexeme, ())) for lexeme in lexemes]
        for first in at[0]:
            if all(first + step in one for step, one in enumerate(at)):
                found.update(range(first, first + len(at)))
    return found


def _dressed(text: str, spans: Sequence[tuple[int, int]], start: int, marked: set[int]) -> str:
    window = spans[start - 1 : start - 1 + _WORDS]
    if not window:
        return escape(text[:_MOST_CHARACTERS])
    begin = 0 if start == 1 else window[0][0]
    last = len(text) if len(spans) < start + _WORDS else window[-1][1]
    end = min(last, begin + _MOST_CHARACTERS)
    pieces = ["" if start == 1 else "… "]
    done = begin
    for place, (left, right) in enumerate(window, start):
        if place in marked and right <= end:
            pieces += (escape(text[done:left]), MARK[0], escape(text[left:right]), MARK[1])
            done = right
    pieces += (escape(text[done:end]), "" if end == len(text) else " …")
    return "".join(pieces).replace("\n", " ").strip()


def _readable(text: str) -> str:
    """Letters that are spelled by their shapes (from PDFs, say), or in parts, as letters."""
    if _SHAPES.search(text):
        return unicodedata.normalize("NFKC", text)
    return unicodedata.normalize("NFC", text) if _MARKED.search(text) else text
