"""Validation errors as the client sees them: places in what it sent, never what it sent."""

from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.core.errors import GatewayError

_SHOWN = 20
_BRANCHES = frozenset({"str", "NamedChoice"})
_WORDS = {
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
    "dict_type": "Input should be an object",
    "list_type": "Input should be an array",
    "union_tag_invalid": "Input has a type that is not known here",
    "union_tag_not_found": "Input should be an object with a type",
}


def invalid(error: ValidationError) -> GatewayError:
    """A 422 with the first places that are wrong."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN]
    fields = tuple((_place(item["loc"]), _message(item)) for item in found)
    place, message = fields[0]
    return GatewayError("invalid_request", f"{place}: {message}." if place else f"{message}.", fields=fields)


def _message(item: ErrorDetails) -> str:
    return _WORDS.get(item["type"]) or item["msg"].removeprefix("Value error, ")


def _place(steps: Sequence[int | str]) -> str:
    """The path without the names that the validator gives to the branches of a union."""
    kept: list[str] = []
    tag_after: int | None = None
    for number, step in enumerate(steps):
        if isinstance(step, str) and "[" in step:
            tag_after = number + 1 if "tagged-union" in step else None
        elif step not in _BRANCHES and (tag_after is None or number != tag_after + 1):
            kept.append(str(step))
    return ".".join(kept)
