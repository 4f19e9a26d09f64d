"""What the clients ask, and what must hold of the log afterwards."""

from typing import Any

from tests.running import Gateway

QUESTION = "ما معنى كلمة «كتاب»؟ فكّر، واذكر أيّ مصدر."
SEARCH: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "search_entries",
        "description": "يبحث عن كلمة في المعجم",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}
FOUND = {"كتاب": "ما يُكتَب فيه", "سلام": "الأمان"}
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def said(*texts: str) -> list[dict[str, Any]]:
    """A history of a user's and an assistant's words, in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


async def logged(gateway: Gateway, conversation_id: str) -> list[dict[str, Any]]:
    """The messages of a conversation, as the log shows them."""
    answer = await gateway.client.get(f"/conversations/{conversation_id}")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["messages"]
    return found


async def last_logged(gateway: Gateway, completion_id: str) -> dict[str, Any]:
    """The logged reply of a completion."""
    turn_id = completion_id.removeprefix("chatcmpl-")
    [row] = await gateway.rows(
        "SELECT conversation_id FROM messages WHERE turn_id = $1::text::uuid AND role = 'assistant'", turn_id
    )
    [found] = [
        message
        for message in await logged(gateway, row["conversation_id"])
        if (message["turn_id"], message["role"]) == (turn_id, "assistant")
    ]
    return found
