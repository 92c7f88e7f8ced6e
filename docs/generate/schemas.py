"""What a JSON Schema says of a field, in a few words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from docs.generate.markdown import code, one_line, table

from regrow.core.models import ID_PATTERN

Schema = Mapping[str, Any]

_LINKS: Final = {
    "TaskTree": "[tree](document.md#tree)",
    "Task": "[task](document.md#task)",
    "Dependency": "[dependency](document.md#dependency)",
    "RetryPolicy": "[retry](document.md#retry)",
    "Policy": "[policy](document.md#defaults)",
    "Compensation": "[compensation](document.md#compensation)",
    "Duration": "[duration](document.md#durations)",
    "WaitingTime": "[duration](document.md#durations)",
    "JsonValue": "any JSON",
}
_WORDS: Final = {"object": "mapping", "array": "list", "string": "text", "integer": "whole number"}
_DURATION: Final = ["string", "number"]
_ISO: Final = re.compile(r"PT(?:\d+H)?(?:\d+M)?(?:[\d.]+S)?")


def fields(schema: Schema, defaults: Mapping[str, str] | None = None) -> str:
    """Give a table of an object's fields."""
    definitions = schema.get("$defs", {})
    required = schema.get("required", ())
    rows: list[tuple[str, str, str, str]] = []
    for name, field in schema.get("properties", {}).items():
        given = (defaults or {}).get(name) or default_of(field)
        default = "required" if name in required else given
        meaning = one_line(_described(field, definitions))
        rows.append((code(name), kind_of(field, definitions), default, meaning))
    return table(("field", "type", "default", "meaning"), rows)


def default_of(field: Schema) -> str:
    """Show a default that says something."""
    default = field.get("default")
    if default in (None, "", [], {}):
        return ""
    if field.get("format") == "duration" or _ISO.fullmatch(str(default)):
        return code(_written(str(default)))
    return code(str(default).lower() if isinstance(default, bool) else default)


def _written(duration: str) -> str:
    """Write a duration as people do: `PT2M` as `2m`."""
    return duration.removeprefix("PT").lower()


def kind_of(field: Schema, definitions: Mapping[str, Any] | None = None) -> str:
    """Name a type with its limits."""
    if "$ref" in field:
        return _named(field["$ref"].rpartition("/")[2], definitions or {})
    if "anyOf" in field:
        options = [option for option in field["anyOf"] if option != {"type": "null"}]
        kinds = [kind_of(option, definitions) for option in options]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind))
    if values := field.get("enum") or ("const" in field and [field["const"]]):
        return ", ".join(code(value) for value in values if value is not None)
    return _plain(field, definitions or {})


def _named(name: str, definitions: Mapping[str, Any]) -> str:
    if name == "Reference":
        return ""  # which may stand for any value
    if name in _LINKS:
        return _LINKS[name]
    inner = definitions[name]
    keys = ", ".join(code(key) for key in inner.get("properties", ()))
    return f"mapping of {keys}" if keys else kind_of(inner, definitions)


def _plain(field: Schema, definitions: Mapping[str, Any]) -> str:
    given = field.get("type")
    kinds = [given] if isinstance(given, str) else list(given or ())
    kinds = [kind for kind in kinds if kind != "null"]
    if field.get("pattern") == ID_PATTERN:
        return "[id](document.md#ids)"
    if kinds == _DURATION and "maximum" not in field:
        return _LINKS["Duration"]
    words = [_word(kind, field, definitions) for kind in kinds] or ["any JSON"]
    bounds = ", ".join(_bounds(field))
    return " or ".join(words) + (f", {bounds}" if bounds else "")


def _word(kind: str, field: Schema, definitions: Mapping[str, Any]) -> str:
    if kind == "array" and field.get("items"):
        return f"list of {kind_of(field['items'], definitions)}"
    return _WORDS.get(kind, kind)


def _bounds(field: Schema) -> Iterator[str]:
    if "minimum" in field and "maximum" in field:
        yield f"{field['minimum']:,} to {field['maximum']:,}"
    elif "minimum" in field:
        yield f"{field['minimum']} or more"
    if "maxLength" in field:
        yield f"at most {field['maxLength']} characters"
    if field.get("minItems"):
        yield f"at least {field['minItems']}"


def _described(field: Schema, definitions: Mapping[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    name = str(field.get("$ref", "")).rpartition("/")[2]
    return "" if name in _LINKS else str(definitions.get(name, {}).get("description", ""))
