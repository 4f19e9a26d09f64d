"""The reference as a page: the OpenAPI document, rendered once, without scripts."""

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from gateway.core.jsontext import dumps_text, loads

_HERE: Final = Path(__file__).parent
_CODE: Final = re.compile(r"`([^`]+)`")
_ARABIC: Final = re.compile("[\u0600-\u06ff]")
_QUOTED: Final = re.compile(r'("(?:[^"\\]|\\.)*")')
_LIMITS: Final = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
}


def render(document: dict[str, Any]) -> tuple[bytes, str]:
    """The page, and the Content-Security-Policy that lets nothing but its own style sheet act."""
    style = (_HERE / "docs_page.css").read_text(encoding="utf-8")
    given = {"document": document, "groups": _groups(document), "style": Markup(style)}  # noqa: S704 - our own file
    page = _templates().get_template("docs_page.html").render(given)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return page.encode(), policy


def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    found.filters.update(
        prose=_prose, type=_type, limits=_limits, json=_json, curl=_curl, fields=_fields, bidi=_bidi, parsed=loads
    )
    return found


def _groups(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Tags with their operations, in the document's order."""
    operations = [
        operation | {"method": method, "path": path}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return [tag | {"operations": [one for one in operations if tag["name"] in one["tags"]]} for tag in document["tags"]]


def _prose(text: str) -> Markup:
    """Escaped text in which `backticks` are code."""
    return Markup("").join(Markup("<code>{}</code>").format(part) if odd else escape(part) for odd, part in _parts(text))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    for number, part in enumerate(_CODE.split(text)):
        yield number % 2 == 1, part


def _type(schema: dict[str, Any]) -> Markup:
    """A schema in a few words; named ones as links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    for combined in ("anyOf", "oneOf"):
        if combined in schema and "properties" not in schema:
            return Markup(" or ").join(_type(one) for one in schema[combined])
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "const" in schema:
        return Markup("<code>{}</code>").format(dumps_text(schema["const"]))
    if "enum" in schema:
        return Markup(" | ").join(Markup("<code>{}</code>").format(value) for value in schema["enum"])
    if schema.get("type") == "array":
        return Markup("array of ") + _type(schema["items"])
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of ") + _type(schema["additionalProperties"])
    return escape(schema.get("format") or schema.get("type") or "anything")


def _limits(schema: dict[str, Any]) -> str:
    """The bounds of a value, in words."""
    for option in (schema, *schema.get("anyOf", ())):
        found = [_bound(name, option[name]) for name in _LIMITS if name in option]
        if found:
            return ", ".join(found)
    return ""


def _bound(name: str, value: float) -> str:
    return "not empty" if name in ("minLength", "minItems") and value == 1 else _LIMITS[name].format(value)


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The properties of an object schema."""
    required = schema.get("required", ())
    return [
        {"name": name, "required": name in required, "schema": found, "description": found.get("description", "")}
        for name, found in schema.get("properties", {}).items()
    ]


def _json(value: Any, indent: int = 0) -> Markup:
    """Indented JSON. Texts are isolated, so that Arabic ones do not move the punctuation around them."""
    pad, inner = " " * indent, " " * (indent + 2)
    if isinstance(value, dict) and value:
        lines = [
            Markup('{}<span class="key">{}</span>: {}').format(inner, dumps_text(k), _json(v, indent + 2))
            for k, v in value.items()
        ]
        return Markup("{{\n{}\n{}}}").format(Markup(",\n").join(lines), pad)
    if isinstance(value, list) and value:
        lines = [Markup("{}{}").format(inner, _json(item, indent + 2)) for item in value]
        return Markup("[\n{}\n{}]").format(Markup(",\n").join(lines), pad)
    if isinstance(value, str):
        language = Markup(' lang="ar"') if _ARABIC.search(value) else ""
        return Markup('"<bdi{}>{}</bdi>"').format(language, dumps_text(value)[1:-1])
    return Markup('<span class="value">{}</span>').format(dumps_text(value))


def _bidi(text: str) -> Markup:
    """Text in which each quoted string with Arabic in it is isolated."""
    return Markup("").join(
        Markup('"<bdi lang="ar">{}</bdi>"').format(piece[1:-1]) if odd and _ARABIC.search(piece) else escape(piece)
        for odd, piece in ((number % 2 == 1, piece) for number, piece in enumerate(_QUOTED.split(text)))
    )


def _curl(operation: dict[str, Any]) -> Markup:
    """How to try an operation from a shell."""
    method, path = operation["method"].upper(), operation["path"]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    words = ["curl", "-N" if "stream" in path and method != "DELETE" else "", "" if method == "GET" else f"-X {method}"]
    line = " ".join(word for word in words if word) + f' "$GATEWAY{path}"'
    if operation["security"]:
        line += ' \\\n  -H "Authorization: Bearer $TOKEN"'
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "header" and parameter.get("required"):
            line += f' \\\n  -H "{parameter["name"]}: {parameter["example"]}"'
    examples = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples")
    if not examples:
        return escape(line)
    body = _bidi(dumps_text(next(iter(examples.values()))["value"]))
    return Markup("{} \\\n  -H \"Content-Type: application/json\" \\\n  -d '{}'").format(line, body)
