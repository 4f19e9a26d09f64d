"""OpenAI's Responses API: for models that cannot use tools on Chat Completions, and wherever the operator wants it."""

from gateway.providers.base import Provider
from gateway.providers.limits import chat_limits
from gateway.providers.responses_decode import ResponseDecoder, decode_reply
from gateway.providers.responses_encode import encode
from gateway.providers.responses_errors import decode_error

PROVIDER = Provider(
    encode=encode,
    decoder=ResponseDecoder,
    decode_reply=decode_reply,
    decode_error=decode_error,
    limits=chat_limits,
)
