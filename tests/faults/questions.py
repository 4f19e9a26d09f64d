"""Questions whose answers have everything in them: reasoning, text, calls, citations, characters of every width."""

import random
from typing import Any

TOOLS = [
    {"name": "search", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
    {"name": "get_entry", "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}}},
]
PROVIDERS = ("openai", "anthropic", "groq", "google")
WORDS = ("كتاب", "سلام", "نخلة", "قَمَر", "عِلْم")
EMOJI = "مرحبا 👩‍👩‍👧 يا صديقي 🇸🇦، الكلمةُ «كتاب» 📚 من ك ت ب. \U0001d54a𠮷 e\u0301 نهاية 🙂"


def question(number: int, chance: random.Random) -> dict[str, Any]:
    """The `number`th question, in a conversation of its own; the providers take turns."""
    body: dict[str, Any] = {"conversation_id": f"conv-{number}-{chance.randrange(1 << 30)}", "provider": PROVIDERS[number % 4]}
    script = f"gap_ms={chance.choice((0, 1, 2))} chunks={chance.choice(('frames', 'whole', f'random:{number}'))}"
    word = chance.choice(WORDS)
    match chance.randrange(5):
        case 0:
            body["message"] = f"فكّر في «{word}» واذكر المصادر [[sim: {script}]]"
        case 1:
            body |= {"message": f"فكّر في «{word}» (اثنين) [[sim: {script}]]", "tools": TOOLS}
        case 2:
            body["message"] = f'فكّر ما معنى «{word}»؟ [[sim: {script} reply="{EMOJI * 3}"]]'
        case 3:
            body["message"] = f"ما معنى «{word}»؟ [[sim: {script} tokens={chance.randrange(1, 80)}]]"
        case _:
            length = chance.choice(("", "", "", "بإسهاب"))
            body["message"] = f"فكّر ما معنى «{word}» {length}؟ مصدر [[sim: {script}]]"
    return body
