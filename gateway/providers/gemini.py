"""Google Gemini's generateContent and streamGenerateContent (v1beta).

Source: https://ai.google.dev/api/generate-content. Keys travel in a header, never in the URL.
"""

from gateway.providers.base import Provider
from gateway.providers.gemini_decode import GeminiDecoder, decode_reply
from gateway.providers.gemini_encode import encode
from gateway.providers.gemini_errors import decode_error

PROVIDER = Provider(encode=encode, decoder=GeminiDecoder, decode_reply=decode_reply, decode_error=decode_error)
