"""What the simulator says and what it understands: Arabic sentences, the word asked about, the words that trigger things."""

import re
from functools import lru_cache

SIMULATED = "[محاكاة]"

_HARAKAT = re.compile("[\u0610-\u061a\u064b-\u065f\u0670\u0640]")
_PIECE = re.compile(r"\s*\S{1,7}|\s+")
_QUOTED = re.compile(r'[«“"]([^«»“”"\n]{1,40})[»”"]')
_NAMED = re.compile(r"(?:\b(?:كلمة|كلمتي|معنى|لفظة|لفظ|جذر|word|meaning of)\s+)+(\w+)", re.IGNORECASE)
_ARABIC = re.compile("[\u0621-\u064a]{2,}")
_WORD = re.compile(r"\w{2,}")
_TRIGGERS = {
    "think": re.compile(r"\b(?:فكر|فكري|think)\b", re.IGNORECASE),
    "sources": re.compile(r"\b(?:مصدر|المصدر|مصادر|المصادر|sources?)\b", re.IGNORECASE),
    "refuse": re.compile(r"\b(?:refuse|ارفض)\b", re.IGNORECASE),
    "long": re.compile(r"\b(?:long|بإسهاب)\b", re.IGNORECASE),
    "parallel": re.compile(r"\b(?:اثنين|parallel)\b", re.IGNORECASE),
}
_FALLBACK = ("سلام", "كتاب")


def plain(text: str) -> str:
    """Return Arabic text without its vowel marks and lengthening strokes."""
    return _HARAKAT.sub("", text)


def triggers(text: str) -> frozenset[str]:
    """Return which of `think`, `sources`, `refuse`, `long` and `parallel` a message asks for."""
    bare = plain(text)
    return frozenset(name for name, pattern in _TRIGGERS.items() if pattern.search(bare))


def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into token-like pieces; joined they are the text."""
    return tuple(_PIECE.findall(text))


def words_asked(question: str) -> tuple[str, ...]:
    """Return the words a question is about, at least one: quoted ones, named ones, else the last Arabic (or any) word."""
    bare = plain(question)
    found = _QUOTED.findall(bare) or _NAMED.findall(bare) or _ARABIC.findall(bare)[-1:] or _WORD.findall(bare)[-1:]
    return tuple(dict.fromkeys(word.strip() for word in found)) or _FALLBACK[:1]


def another(word: str) -> str:
    """Return some word that is not `word`."""
    return _FALLBACK[1] if word != _FALLBACK[1] else _FALLBACK[0]


@lru_cache(maxsize=256)
def about(word: str) -> tuple[str, ...]:
    """The plain answer about a word, in pieces."""
    letters = [letter for letter in word if letter.isalpha()]
    return pieces(
        f"{SIMULATED} هذا جوابٌ مُحاكًى، لم يكتبْهُ نموذجٌ لغويّ. سألتَ عن «{word}»، "
        f"وعددُ حروفِها {len(letters)}: {'، '.join(letters)}. "
        "يُبدَأُ في المعاجمِ بردِّ الكلمةِ إلى جذرِها، ثمّ تُذكَرُ مشتقّاتُها وشواهدُها من الشِّعرِ والقرآن. "
        "وحينَ تُوصَلُ البوّابةُ بمفتاحِ مزوّدٍ حقيقيٍّ يأتيكَ الشرحُ كاملًا."
    )


@lru_cache(maxsize=64)
def about_at_length(word: str) -> tuple[str, ...]:
    """A long answer about a word, in pieces; it breaks off."""
    return about(word) + pieces(" وفي بابِها تفصيلٌ يطولُ ذكرُهُ عندَ أهلِ اللغة،") * 20


def thoughts(word: str) -> tuple[str, ...]:
    """The reasoning about a word, in pieces."""
    return pieces(f"{SIMULATED} السؤالُ عن «{word}». أنظرُ أوّلًا في الجذر، ثمّ في الوزن، ثمّ أختارُ أقربَ المعاني.")


def calling(word: str) -> tuple[str, ...]:
    """What is said before a tool call, where the provider's models say something."""
    return pieces(f"{SIMULATED} سأبحثُ عن «{word}» بالأداة.")


def from_results(results: tuple[str, ...]) -> tuple[str, ...]:
    """The answer made of tool results, in pieces: each is quoted (its first 300 characters)."""
    quoted = "؛ ".join(f"«{result[:300]}»" for result in results)
    return pieces(f"{SIMULATED} هذا جوابٌ مُحاكًى بُنِيَ على ما أعادتْهُ الأدوات: {quoted}. انتهى ما وَرَد.")


def refusing() -> tuple[str, ...]:
    """A refusal, in pieces."""
    return pieces(f"{SIMULATED} عذرًا، لا يُمكنُني المساعدةُ في هذا الطلب.")


@lru_cache(maxsize=16)
def counted(number: int) -> tuple[str, ...]:
    """Exactly `number` pieces."""
    return (SIMULATED, *(" سلام",) * (number - 1))
