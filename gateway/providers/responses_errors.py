"""What the Responses API refuses beyond what all of OpenAI's endpoints do: parameters of its own, and replayed reasoning."""

import re
from collections.abc import Mapping

from gateway.core.errors import UpstreamError
from gateway.providers import openai_errors

DROPPABLE = ("temperature", "reasoning", "include", "stream_options")
"""Request parameters that the encoder can leave out; it also knows `max_output_tokens` and the name below."""

REASONING_ITEMS = "reasoning_items"
"""The name under which a refused replay of reasoning is dropped: no request key, but droppable like one.

Encrypted reasoning can be read only where it was written: another organisation's key, or an expired one, cannot.
"""

_REPLAY = re.compile(
    r"invalid_encrypted_content|encrypted content .{0,200}could not be verified|"
    r"of type 'reasoning' was provided without|without its required 'reasoning' item|Item with id '(?:rs|msg|fc)_\w*' not found",
    re.IGNORECASE | re.DOTALL,
)


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return what a reply with a status other than 2xx means."""
    failure = openai_errors.decode_error(status, headers, body, DROPPABLE)
    if status in (400, 404) and _REPLAY.search(failure.upstream_text):
        failure = openai_errors.decode_error(400, headers, body, ())
        failure.upstream_status, failure.refused_parameter = status, REASONING_ITEMS
    return failure
