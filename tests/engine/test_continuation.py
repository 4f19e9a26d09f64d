"""Where two halves of a reply meet."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.fold import Fold
from gateway.core.messages import AssistantMessage, UserMessage
from gateway.engine.continuation import INSTRUCTION, Seam, continued, overlap
from gateway.engine.trail import Trail
from tests.engine.pretending import PROMPT

BEFORE = "الكتابُ في اللغةِ ما يُكتَبُ فيه، وجمعُهُ "


def joined(before: str, pieces: list[str]) -> str:
    """What a reader gets of a continuation."""
    seam = Seam(before, Trail("openai", "m", Fold(lambda: 0.0)))
    events = [event for piece in pieces for event in seam.join([ev.TextDelta(piece)])]
    events += seam.join([ev.Finished("stop")])
    assert isinstance(events.pop(), ev.Finished)
    return "".join(event.text for event in events if isinstance(event, ev.TextDelta))


@pytest.mark.parametrize(
    ("before", "after", "rest"),
    [
        (BEFORE, "كُتُبٌ وكُتْبٌ.", "كُتُبٌ وكُتْبٌ."),
        (BEFORE, "وجمعُهُ كُتُبٌ.", "كُتُبٌ."),
        (BEFORE, BEFORE + "كُتُبٌ.", "كُتُبٌ."),
        (BEFORE, "ما يُكتَبُ فيه، وجمعُهُ كُتُبٌ.", "كُتُبٌ."),
        (BEFORE, " كُتُبٌ.", "كُتُبٌ."),
        ("The cap", "capital of Iraq", "ital of Iraq"),
        ("hel", "lo", "lo"),
        ("ban", "ana", "ana"),
        ("وال", "لغة", "لغة"),
        ("أ", "أب", "أب"),
        ("", "anything", "anything"),
        (BEFORE, BEFORE, ""),
        ("x" * 40, "x" * 20 + "y", "y"),
        ("كِتاب", "تاب", "تاب"),
    ],
)
def test_what_is_said_again_is_dropped(before: str, after: str, rest: str) -> None:
    assert after[overlap(before, after) :] == rest
    assert joined(before, [after]) == rest
    assert joined(before, list(after)) == rest


TEXT = st.text(alphabet=st.sampled_from("ab وتن\n"), max_size=30)


@given(TEXT, TEXT, st.lists(st.integers(0, 30), max_size=6))
def test_the_cut_makes_no_difference(before: str, after: str, cuts: list[int]) -> None:
    places = sorted({0, len(after), *(min(cut, len(after)) for cut in cuts)})
    pieces = [after[start:end] for start, end in pairwise(places)]
    assert joined(before, pieces) == joined(before, [after])


@given(TEXT, TEXT)
def test_only_a_repetition_of_the_end_is_ever_dropped(before: str, after: str) -> None:
    length = overlap(before, after)
    assert before.endswith(after[:length])
    assert joined(before, [after]) in (after, after[length:])


@given(st.text(alphabet=st.sampled_from("ab وتن\n"), min_size=1, max_size=60).filter(lambda text: len(text.strip()) > 2), TEXT)
def test_a_reply_that_begins_anew_is_not_shown_twice(before: str, after: str) -> None:
    assert before + joined(before, [before + after]) in (before + after, before + after[overlap(before, before + after) :])


def test_how_the_rest_is_asked_for() -> None:
    told = continued(PROMPT, "الكتابُ ما ", prefill=False)
    assert told.messages[:-2] == PROMPT.messages
    answer, instruction = told.messages[-2:]
    assert answer == AssistantMessage("الكتابُ ما")
    assert isinstance(instruction, UserMessage)
    assert instruction.text == INSTRUCTION
    assert continued(PROMPT, "الكتابُ ما ", prefill=True).messages == (*PROMPT.messages, AssistantMessage("الكتابُ ما"))
    assert continued(PROMPT, " \n", prefill=False) == PROMPT


def test_what_else_comes_passes_in_order() -> None:
    trail = Trail("openai", "m", Fold(lambda: 0.0))
    seam = Seam("قال الولد", trail)
    assert seam.join([ev.Started("m"), ev.ReasoningDelta("أفكّر"), ev.TextDelta("الو")]) == [
        ev.Started("m"),
        ev.ReasoningDelta("أفكّر"),
    ]
    call = ev.ToolCalled("call_1", "get_entry", "{}")
    assert seam.join([ev.StateKept({"signature": "x"}), call]) == [ev.TextDelta("الو"), call]
