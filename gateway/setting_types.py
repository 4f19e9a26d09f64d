"""Kinds of settings that several modules need: lists, secrets, addresses."""

from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationError


class SettingsError(Exception):
    """A setting that stops the start: one line naming the variable and what it takes."""


def split(value: Any) -> Any:
    """Return the parts of a comma-separated text; anything else as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _secrets(value: Any) -> Any:
    return tuple(SecretStr(part) for part in split(value)) if isinstance(value, str) else value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("takes an http:// or https:// address")
    return value


def _base_url(value: str) -> str:
    """Paths are put behind it, and keys go into headers."""
    parts = urlsplit(_url(value))
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("takes an address without a user, a query or a fragment")
    return value.rstrip("/")


Names = Annotated[tuple[str, ...], BeforeValidator(split)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_secrets)]
Url = Annotated[str, AfterValidator(_url)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]


def one_line(error: ValidationError, prefix: str = "") -> str:
    """Return what is wrong first, with the variable's name; `prefix` is what stands before the field's name in it."""
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "takes")
    return f"{prefix}{str(first['loc'][0]).upper()}: {message}"
