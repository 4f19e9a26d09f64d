"""The reply that every client is to have in the end, and what must hold then."""

from typing import Any

from tests.clients.cutting import Reception
from tests.faults.questions import EMOJI
from tests.running import Gateway

REPLY = EMOJI * 12
ASKED: dict[str, Any] = {
    "message": f'ما معنى «كتاب»؟ [[sim: gap_ms=5 chunks=frames reply="{REPLY}"]]',
    "conversation_id": "conv-1732000000000-k3j9x",
}
# Goes on for longer than any test.
LONG: dict[str, Any] = {"message": "[[sim: tokens=2000 gap_ms=20]] أطل الحديث", "conversation_id": "conv-long"}


async def check(gateway: Gateway, text: str, ends: list[dict[str, Any]]) -> None:
    """A client was told all of the reply, once, and of its end, once; the log has it; it was paid for once."""
    assert text == REPLY
    assert [(end["status"], end["content"]) for end in ends] == [("completed", REPLY)]
    rows = await gateway.rows("SELECT content, status, turn_id::text FROM messages WHERE role = 'assistant'")
    assert rows == [{"content": REPLY, "status": "completed", "turn_id": ends[0]["turn_id"]}]
    assert len(gateway.simulator.calls) == 1


def lasts(bad: Reception) -> list[str | None]:
    """The Last-Event-ID of each request."""
    return [request.headers["Last-Event-ID"] for request in bad.requests]
