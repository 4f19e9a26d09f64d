"""A server of one's own that speaks OpenAI's chat format (Ollama, vLLM…): no key needed, the older parameters alone."""

from collections.abc import Mapping

from simulator.answer import Answer, Ask
from simulator.formats import openai
from simulator.formats.base import Format, Incoming, RefusedError, Reply, bearer, refused_key
from simulator.formats.chat import read_chat
from simulator.rules.compatible import check


def check_key(key: str, _headers: Mapping[str, str]) -> None:
    """Raise `RefusedError` (401) with a wrong key; without one everybody is served."""
    if refused_key(key):
        raise RefusedError(401, "Unauthorized")


def read(incoming: Incoming) -> Ask:
    """Read a chat request."""
    return read_chat(incoming, "compatible", check)


def reply(ask: Ask, answer: Answer) -> Reply:
    """Write an answer, streamed or whole, as OpenAI does."""
    return openai.reply(ask, answer)


FORMAT = Format(
    "compatible", "openai", bearer, check_key, read, reply, openai.error, openai.stream_error, openai.head, failing_status=503
)
