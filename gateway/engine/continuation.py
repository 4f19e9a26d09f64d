"""Going on with a reply that broke off: how another model is asked, and how what it says joins what had come."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, assert_never
from unicodedata import category

from gateway.core import events as ev
from gateway.core.messages import AssistantMessage, Message, Prompt, TextPart, UserMessage
from gateway.engine.trail import Trail
from gateway.engine.usage import added, merged

INSTRUCTION: Final = (
    "Your reply above was cut off by a technical fault. Go on exactly where it stops, even in the middle of a word or a list, "
    "in the same language, script and form. Write only what is still missing: repeat nothing, add no greeting and no remark."
)
_MIN_WORD: Final = 3
_MIN_ANYWHERE: Final = 16
_MAX_HELD: Final = 32_768


def continued(prompt: Prompt, text: str, *, prefill: bool) -> Prompt:
    """Ask for the rest of the reply of which `text` has come; a model without `prefill` is told so in words."""
    text = text.rstrip()
    if not text:
        return prompt
    spoken: list[Message] = [AssistantMessage(text)]
    if not prefill:
        spoken.append(UserMessage((TextPart(INSTRUCTION),)))
    return replace(prompt, messages=(*prompt.messages, *spoken))


class Seam:
    """Joins one call's events onto the `text` that had come: text that repeats its end is dropped, token counts are summed.

    The first words are held back until it is clear whether they repeat something. The provider's opaque state is dropped: it
    belongs to a part of the reply alone.
    """

    def __init__(self, text: str, trail: Trail) -> None:
        self._before = text
        self._trail = trail
        self._held: str | None = "" if text.strip() else None

    def join(self, batch: Sequence[ev.Event]) -> list[ev.Event]:
        """The events to pass on, perhaps none."""
        joined: list[ev.Event] = []
        for event in batch:
            match event:
                case ev.TextDelta(text):
                    self._text(text, joined)
                case ev.UsageReported():
                    self._trail.own = merged(self._trail.own, event)
                    joined.append(added(self._trail.usage_before(), self._trail.own))
                case ev.StateKept():
                    pass
                case ev.ToolCalled() | ev.Finished():
                    self._let_go(joined)
                    joined.append(event)
                case ev.Started() | ev.ReasoningDelta() | ev.SourceFound() | ev.Rerouted() | ev.Failed():
                    joined.append(event)
                case _:
                    assert_never(event)
        return joined

    def _text(self, text: str, joined: list[ev.Event]) -> None:
        if self._held is None:
            joined.append(ev.TextDelta(text))
            return
        self._held += text
        if len(self._held) > _MAX_HELD or not _may_repeat(self._before, self._held):
            self._let_go(joined)

    def _let_go(self, joined: list[ev.Event]) -> None:
        if self._held is None:
            return
        held, self._held = self._held, None
        rest = held[overlap(self._before, held) :]
        if rest:
            joined.append(ev.TextDelta(rest))


def overlap(before: str, after: str) -> int:
    """How many characters at the start of `after` say the end of `before` once more.

    The longest such stretch counts, if it is not there by chance: it begins at the beginning of a word of `before` and is more
    than a letter or two, or it is white space alone, or it is long.
    """
    for length in range(min(len(before), len(after)), 0, -1):
        if after[length - 1] == before[-1] and before.endswith(after[:length]) and _is_repetition(before, length):
            return length
    return 0


def _is_repetition(before: str, length: int) -> bool:
    start = len(before) - length
    stretch = before[start:]
    if length >= _MIN_ANYWHERE or stretch.isspace():
        return True
    at_word = start == 0 or not (_in_word(before[start - 1]) and _in_word(stretch[0]))
    return at_word and len(stretch.strip()) >= _MIN_WORD


def _in_word(character: str) -> bool:
    """Letters, digits and the vowel marks upon them."""
    return character.isalnum() or category(character).startswith("M")


def _may_repeat(before: str, held: str) -> bool:
    """Whether more text could make `held` the beginning of a stretch that ends where `before` ends."""
    return 0 <= before.find(held) < len(before) - len(held)
