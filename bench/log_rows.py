"""A big log, made in a minute or two: Arabic conversations of the last two months, with common words and rare ones."""

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Final

ROOTS: Final = (
    "كتب علم درس قول سلم حكم جمل نور شمس قمر صبر عقل قلب نفس حرف نحو صرف شعر نثر سجع وزن فعل وصف حمل ضمر جذر فرع عرف لفظ "
    "دخل خرج سفر رحل نظر سمع بصر ذكر شكر حمد عمل صنع بحث جمع فرق كسر جبر نصر فتح غلق ملك خلق رزق قدر قضى طلب سال"
)
PATTERNS: Final = ("123", "1ا23", "12ا3", "م12و3", "12ي3", "ت12ي3", "م1ا23", "ا12ا3", "است12ا3", "1و2ي3", "12ي3ة", "م12_3ة")
JOINED: Final = ("", "", "", "ال", "ال", "و", "وال", "بال", "لل", "ف")
ENDINGS: Final = ("", "", "", "ه", "ها", "ات", "ين", "ون", "ي", "نا")
COMMON: Final = "من في على إلى عن أن ما هو هي كان هذا التي الذي كلمة معنى اللغة العربية لسان العرب كتاب المعجم"
PHRASE: Final = "عين في الجنة"
RARE: Final = ("سَلْسَبِيل", "زَنْجَبيل", "هَيْدَبى", "عَيْطَموس")
RARE_MESSAGES: Final = 40
PROVIDERS: Final = (
    ("openai", "gpt-6-luna"),
    ("anthropic", "claude-haiku-5-5"),
    ("groq", "openai/gpt-oss-120b"),
    ("google", "gemini-3.8-flash"),
)
MARKS: Final = "\u064e\u064f\u0650\u0652\u0651"
SPAN_MS: Final = 60 * 86_400_000

CONVERSATION_COLUMNS: Final = ("id", "provider", "created_at", "updated_at", "owner")
MESSAGE_COLUMNS: Final = (
    *("id", "conversation_id", "role", "content", "timestamp", "turn_id", "status", "caller", "follow_up", "provider", "model"),
    *("finish_reason", "started_ms", "first_output_ms", "ended_ms", "input_tokens", "output_tokens", "cost_usd"),
)
CALL_COLUMNS: Final = ("message_id", "tool_name", "arguments", "timestamp", "conversation_id", "position", "call_id")


@dataclass(frozen=True, slots=True)
class Rows:
    """What goes into the three tables, in the order of their `*_COLUMNS`."""

    conversations: list[tuple[Any, ...]]
    messages: list[tuple[Any, ...]]
    calls: list[tuple[Any, ...]]


def rows(messages: int, seed: int = 7) -> Iterator[Rows]:
    """So many messages, ten to a conversation, oldest first, in portions."""
    writer = _Writer(random.Random(seed), messages)
    conversations = messages // 10
    for first in range(0, conversations, 2_000):
        yield writer.portion(range(first, min(first + 2_000, conversations)), conversations)


class _Writer:
    def __init__(self, chance: random.Random, messages: int) -> None:
        self._chance = chance
        self._sentences = self._made_up()
        self._rare = {
            number: word for word in RARE for number in chance.sample(range(messages), min(RARE_MESSAGES, messages // 10))
        }
        self._now = int(time.time() * 1000)
        self._message = 0

    def portion(self, numbers: range, of: int) -> Rows:
        found = Rows([], [], [])
        for number in numbers:
            self._conversation(
                found, number, self._now - SPAN_MS + int(SPAN_MS * (number + self._chance.random()) / of) - 400_000
            )
        return found

    def _conversation(self, found: Rows, number: int, began: int) -> None:
        chance = self._chance
        provider, model = chance.choices(PROVIDERS, (6, 3, 1, 2))[0]
        caller = f"user:{1 + int(5_000 * chance.random() ** 2)}"
        name = f"conv-{began}-{number:x}"
        for turn in range(5):
            self._turn(found, name, (caller, provider, model), began + turn * 40_000)
        found.conversations.append((name, provider, _moment(began), found.messages[-1][4], caller))

    def _turn(self, found: Rows, name: str, who: tuple[str, str, str], began: int) -> None:
        chance, (caller, provider, model) = self._chance, who
        first = began + int(chance.lognormvariate(6.3, 0.5))
        ended = first + chance.randint(500, 9_000)
        status = chance.choices(("completed", "failed", "stopped"), (97, 2, 1))[0]
        turn_id, tokens = uuid.UUID(int=chance.getrandbits(128)), (chance.randint(200, 3000), chance.randint(20, 900))
        nothing = (None,) * 9
        question = (self._message + 1, name, "user", self._text(1), _moment(began), turn_id, status, caller, *nothing, None)
        cost = round(chance.lognormvariate(-6.5, 1.0), 6)
        ends = (False, provider, model, "stop", began, first, ended, *tokens, cost)
        reply = (self._message + 2, name, "assistant", self._text(6), _moment(ended), turn_id, status, caller, *ends)
        found.messages.extend((question, reply))
        if chance.random() < 0.2:
            tool = "get_entry" if chance.random() < 0.01 else "search_entries"
            word = chance.choice(ROOTS.split())
            found.calls.append(
                (self._message + 2, tool, f'{{"word": "{word}"}}', _moment(ended), name, 1, f"call_{self._message}")
            )
        self._message += 2

    def _text(self, sentences: int) -> str:
        chosen = self._chance.choices(self._sentences, k=sentences)
        rare = self._rare.get(self._message + (sentences > 1))
        if rare is not None:
            chosen.insert(len(chosen) // 2, f"وفي {rare}: {PHRASE}")
        return "، ".join(chosen) + ("." if sentences > 1 else "؟")

    def _made_up(self) -> list[str]:
        """Sentences of 12 words, few of them frequent and most of them not; a third with vowel marks."""
        chance = self._chance
        words = [*COMMON.split(), *self._words()]
        weights = list(accumulate(1 / (rank + 3) for rank in range(len(words))))
        made = []
        for _ in range(60_000):
            sentence = [
                word if chance.random() < 0.7 else self._marked(word) for word in chance.choices(words, cum_weights=weights, k=12)
            ]
            made.append(" ".join(sentence))
        return made

    def _words(self) -> list[str]:
        shapes = [pattern.replace("_", "") for pattern in PATTERNS]
        found = {
            before + "".join(root[int(one) - 1] if one.isdigit() else one for one in shape) + after
            for root in ROOTS.split()
            for shape in shapes
            for before in JOINED
            for after in ENDINGS
        }
        words = sorted(found)
        self._chance.shuffle(words)
        return words

    def _marked(self, word: str) -> str:
        return "".join(letter + self._chance.choice(MARKS) for letter in word)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)
