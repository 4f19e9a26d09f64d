"""OpenAI's Chat Completions, and the vendors that speak the same format: each is one line here."""

from functools import partial

from gateway.providers.base import Provider
from gateway.providers.limits import chat_limits
from gateway.providers.openai_decode import ChatDecoder, decode_reply
from gateway.providers.openai_encode import encode
from gateway.providers.openai_errors import decode_error


def chat_completions(path: str) -> Provider:
    """Return a provider that speaks this format at `path` behind its base URL. What differs by model is in `models`."""
    return Provider(
        encode=partial(encode, path),
        decoder=ChatDecoder,
        decode_reply=decode_reply,
        decode_error=decode_error,
        limits=chat_limits,
    )


PROVIDER = chat_completions("/chat/completions")
GROQ = chat_completions("/openai/v1/chat/completions")
