"""Secrets in inputs: a document names them, a worker puts their values in.

What leaves the workflow is the text `${{ secrets.NAME }}` and, beside the inputs, the places at
which the document's author wrote it. Only there does a worker put a value in: the same text that
arrives in a result, an event or an item of a map is text like any other.
"""

import json
import re
from builtins import isinstance
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict, cast
from urllib.parse import quote

from regrow.core.models import Json

SECRETS: Final = "secrets"
"""What stands before the name of a secret in a reference."""
HIDDEN: Final = "***"
"""What stands for a secret wherever its value would have come back."""

_NAME: Final = re.compile(rf"{SECRETS}\.([A-Za-z_][A-Za-z0-9_]*)")
_SHORTEST: Final = 4
"""A value shorter than this stands in too much text to be looked for."""


class SecretPlace(TypedDict):
    """Where one text of the inputs holds secrets; this is what goes over the wire."""

    at: list[str | int]
    """The keys and positions that lead to the text."""
    marks: list[tuple[int, str]]
    """Where in the text each secret stands, and its name."""


class Sealed(str):
    """A text that holds names of secrets which the document's author wrote."""

    __slots__ = ("marks",)
    marks: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, text: str, marks: Sequence[tuple[int, str]]) -> "Sealed":
        """Give the text, and where in it which secret stands."""
        sealed = cls(text)
        sealed.marks = tuple(marks)
        return sealed


def secret_name(expression: str) -> str | None:
    """Give the secret that an expression names, if it is nothing but that."""
    found = _NAME.fullmatch(expression)
    return found and found[1]


def mark_of(name: str) -> str:
    """Give the text that stands for a secret until a worker puts its value in."""
    return f"${{{{ {SECRETS}.{name} }}}}"


def secret_places(inputs: Mapping[str, Json]) -> tuple[SecretPlace, ...]:
    """Find the sealed texts among rendered inputs, in order."""
    return tuple(_places(cast("Json", inputs), []))


def _places(value: Json, at: list[str | int]) -> Iterator[SecretPlace]:
    if isinstance(value, Sealed):
        yield {"at": at, "marks": list(value.marks)}
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, [*at, key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _places(item, [*at, index])


def reveal(inputs: Json, places: Sequence[SecretPlace], value_of: Callable[[str], str]) -> Json:
    """Give the inputs with the values in their places; `value_of` may raise for a name.

    Raises `ValueError` where a place doesn't hold what it should: the two don't belong together.
    """
    for place in places:
        inputs = _changed(inputs, place["at"], lambda text: _revealed(text, place, value_of))  # noqa: B023 - called at once
    return inputs


def sealed(inputs: Json, places: Sequence[SecretPlace]) -> Json:
    """Give the inputs with a text of its own at each place, which `is_kept` knows from its like.

    Raises `ValueError` for places that don't belong to the inputs.
    """
    for place in places:
        marks = place["marks"]
        inputs = _changed(inputs, place["at"], lambda text: Sealed.of(str(text), marks))  # noqa: B023 - called at once
    return inputs


def is_kept(place: SecretPlace, before: Json, after: Json) -> bool:
    """Tell whether at a place there is still the very text that was sealed, not one like it."""
    try:
        return _at(before, place["at"]) is _at(after, place["at"])
    except (LookupError, TypeError):
        return False


def _at(value: Any, at: Sequence[str | int]) -> Any:
    for key in at:
        value = value[key]
    return value


def _changed(value: Json, at: Sequence[str | int], change: Callable[[Json], Json]) -> Json:
    """Change one value deep inside; what leads to it is copied, the rest shared."""
    if not at:
        return change(value)
    key, rest = at[0], at[1:]
    if isinstance(value, dict) and isinstance(key, str) and key in value:
        return {**value, key: _changed(value[key], rest, change)}
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return [*value[:key], _changed(value[key], rest, change), *value[key + 1 :]]
    raise ValueError(f"there is no {key!r} where a secret should be")


def _revealed(text: Json, place: SecretPlace, value_of: Callable[[str], str]) -> str:
    if not isinstance(text, str):
        raise ValueError("there is no text where a secret should be")  # noqa: TRY004 - what arrives
    for offset, name in reversed(place["marks"]):
        mark = mark_of(name)
        if not text.startswith(mark, offset):
            raise ValueError(f"the text doesn't name the secret '{name}' where it should")
        text = text[:offset] + value_of(name) + text[offset + len(mark) :]
    return text


def hide(value: Any, secrets: Sequence[str]) -> Any:
    """Give a value in which no text holds one of the secrets any more, keys included."""
    wanted = [secret for secret in secrets if len(secret) >= _SHORTEST]
    if not wanted:
        return value
    longest_first = sorted(wanted, key=len, reverse=True)
    return _hidden(value, re.compile("|".join(map(_in_any_form, longest_first))))


def _in_any_form(secret: str) -> str:
    return "".join(map(_any_form, secret))


def _any_form(char: str) -> str:
    """Match a character as it is, in a URL, and as JSON or Python write it between quotes."""
    if char.isascii() and char.isalnum():
        return char
    url = quote(char, safe="", errors="replace")
    forms = {char, url, url.lower(), json.dumps(char)[1:-1], repr(char)[1:-1], f"\\{char}"}
    forms |= {"+"} if char == " " else set()
    return f"(?:{'|'.join(map(re.escape, sorted(forms, key=len, reverse=True)))})"


def _hidden(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(HIDDEN, value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {_hidden(key, pattern): _hidden(item, pattern) for key, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden(item, pattern) for item in cast("list[Any]", value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    return pattern.sub(HIDDEN, repr(value))  # whatever else: JSON couldn't hold it either
