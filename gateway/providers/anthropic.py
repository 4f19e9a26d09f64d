"""Anthropic: the Messages API."""

from gateway.providers.anthropic_decode import MessageDecoder, decode_reply
from gateway.providers.anthropic_encode import encode
from gateway.providers.anthropic_errors import decode_error
from gateway.providers.base import Provider
from gateway.providers.limits import anthropic_limits
from gateway.providers.models import traits

PROVIDER = Provider(
    encode=encode,
    decoder=MessageDecoder,
    decode_reply=decode_reply,
    decode_error=decode_error,
    limits=anthropic_limits,
    prefill=lambda model: traits("anthropic", model).prefill,
)
