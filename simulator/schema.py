"""Arguments for a tool call, made up from the tool's JSON Schema."""

from typing import Any

MAX_DEPTH = 8


def fill(schema: dict[str, Any], word: str, number: int) -> dict[str, Any]:
    """Return arguments that fit an object schema: strings get `word`, numbers `number`, enums their first value."""
    value = _value(schema, schema, word, number, 0)
    return value if isinstance(value, dict) else {}


def _value(schema: Any, root: dict[str, Any], word: str, number: int, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return word
    if isinstance(schema.get("$ref"), str):
        return _value(_resolve(schema["$ref"], root), root, word, number, depth + 1)
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        branches = schema.get(choice)
        branches = [branch for branch in branches if branch != {"type": "null"}] if isinstance(branches, list) else []
        if branches:
            return _value(branches[0], root, word, number, depth + 1)
    return _typed(schema, root, word, number, depth)


def _typed(schema: dict[str, Any], root: dict[str, Any], word: str, number: int, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    match str(kind or ("object" if "properties" in schema else "string")).lower():
        case "object":
            return _object(schema, root, word, number, depth)
        case "array":
            return [_value(schema.get("items") or {}, root, word, number, depth + 1)]
        case "integer" | "number":
            return max(number, schema["minimum"]) if isinstance(schema.get("minimum"), int | float) else number
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return word


def _object(schema: dict[str, Any], root: dict[str, Any], word: str, number: int, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required")
    names = required if isinstance(required, list) and required else list(properties)
    return {
        name: _value(properties[name], root, word, number, depth + 1)
        for name in names
        if isinstance(name, str) and name in properties
    }


def _resolve(reference: str, root: dict[str, Any]) -> Any:
    found: Any = root
    for name in filter(None, reference.removeprefix("#").split("/")):
        found = found.get(name) if isinstance(found, dict) else None
    return found
