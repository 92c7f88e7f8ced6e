"""Hiding secrets: values whose names look like a secret's, and texts that carry one.

This is a best effort by names and well-known forms. A secret in a field called `note`, or in a
form nobody knows, is not found. References such as `${{ secrets.NAME }}` are no secrets and stay.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

HIDDEN: Final = "•••••"

_PARTS: Final = (
    "accesskey", "accountkey", "apikey", "authorization", "connectionstring", "cookie",
    "credential", "encryptionkey", "passphrase", "passwd", "password", "privatekey", "secret",
    "sessionid", "signingkey", "token",
)  # fmt: skip
"""A name that has one of these anywhere in it is a secret's."""
_LAST_WORDS: Final = ("auth", "jwt", "otp", "pass", "pin", "pwd")
"""So is a name that ends with one of these words: `db_pass`, but not `pass_rate`."""
_NAMES_OF_NAMES: Final = ("name", "key", "header", "field")
_COUNTED: Final = re.compile(r"tokens$", re.IGNORECASE)
"""`max_tokens: 500` counts them, and tells none."""
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SHORTEST_KNOWN: Final = 8
_LONGEST_KNOWN: Final = 4096
_MOST_KNOWN: Final = 1000

_REFERENCE: Final = re.compile(r"(\$\{\{[^'`{}]*\}\})")
"""One that holds no text of its own."""
_SCHEMES: Final = re.compile(r"\b(bearer|basic|digest|negotiate|token)\b", re.IGNORECASE)

_NAME: Final = (
    r"(?<![\w.-])[\w.-]{0,64}(?:access[_-]?key|account[_-]?key|api[_-]?key|credential|passphrase|passwd|password"
    r"|private[_-]?key|pwd|secret|session[_-]?id|token)[\w.-]{0,64}"
)
_QUOTED: Final = (
    r'"(?:[^"\\]|\\.)*(?:"|\Z)'
    r"|'(?:[^'\\]|\\.)*(?:'|\Z)"
    r'|\\"[^"\\]*(?:\\"|\Z)'
)
"""As in JSON, as Python writes it, and JSON inside JSON; perhaps cut off."""
_TEXTS: Final[Sequence[tuple[re.Pattern[str], str]]] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
        HIDDEN,
    ),
    (
        re.compile(r"""\b([a-z][a-z0-9+.-]{0,20}://)[^/\s"'<>?#]+@""", re.IGNORECASE),
        rf"\1{HIDDEN}@",
    ),
    (
        re.compile(
            rf"""((?:authorization|cookie)\\?["']?\s*[:=]\s*)({_QUOTED}|[^\r\n"']+)""",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (
        re.compile(
            rf"""({_NAME}\\?["']?\s*[:=]\s*)({_QUOTED}|\$\{{\{{.*?\}}\}}|[^\s&,;"'\\)\]}}]+)""",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(bearer)\s+[\w.~+/=-]{4,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b([Bb][Aa][Ss][Ii][Cc])\s+(?=\S*[0-9A-Z=])[\w+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"), HIDDEN),
    (
        re.compile(
            r"\b(?:gh[a-z]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}"
            r"|AKIA[0-9A-Z]{12,}|sk-[\w-]{16,}|AIza[\w-]{30,})"
        ),
        HIDDEN,
    ),
)


@lru_cache
def is_secret(name: str) -> bool:
    """Tell whether a name looks like that of a secret."""
    if any(part in re.sub(r"[^a-z0-9]", "", name.lower()) for part in _PARTS):
        return True
    words = _WORDS.findall(name)
    return bool(words) and words[-1].lower() in _LAST_WORDS


class Redactor:
    """Hides secrets in values and texts, each also wherever else it turns up.

    `values` is all there is to show: what stands in it under a secret's name is hidden in every
    other text, too, so that an error may quote it.
    """

    def __init__(self, values: Iterable[Any] = ()) -> None:
        known = dict.fromkeys(_known_secrets(values))
        longest_first = sorted(list(known)[:_MOST_KNOWN], key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if known else None

    def text(self, text: str) -> str:
        """Hide what secrets a text carries."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        pieces = _REFERENCE.split(text)
        return "".join(piece if at % 2 else _hidden_in(piece) for at, piece in enumerate(pieces))

    def value(self, value: Any) -> Any:
        """Hide secrets in a JSON value."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {self.text(key): self._field(fields, key) for key in fields}
        if isinstance(value, list | tuple):
            items = cast("Sequence[Any]", value)
            return [self._item(items, at) for at in range(len(items))]
        return value

    def _field(self, fields: Mapping[str, Any], key: str) -> Any:
        value = fields[key]
        return _hide(key, value) if _names_secret(fields, key) else self.value(value)

    def _item(self, items: Sequence[Any], at: int) -> Any:
        name = _announced(items, at)
        return _hide(name, items[at]) if name else self.value(items[at])


def _hidden_in(text: str) -> str:
    for pattern, hidden in _TEXTS:
        text = pattern.sub(hidden, text)
    return text


def _names_secret(fields: Mapping[str, Any], key: str) -> bool:
    """Tell whether a field is a secret by its own name, or by that beside it: `{name, value}`."""
    if is_secret(key):
        return True
    beside = [fields.get(name) for name in _NAMES_OF_NAMES if name != key]
    is_named = any(isinstance(name, str) and is_secret(name) for name in beside)
    return is_named and key.lower() in ("value", "values")


def _announced(items: Sequence[Any], at: int) -> str | None:
    """Give the name of a secret that the item before announces: `--token x`, `[name, value]`."""
    before = items[at - 1] if at else None
    if not isinstance(before, str) or not is_secret(before):
        return None
    is_option = before.startswith("-") and "=" not in before
    is_pair = len(items) == 2 and at == 1  # noqa: PLR2004 - a name and its value
    return before if (is_option and " " not in before) or is_pair else None


def _hide(name: str, value: Any) -> Any:
    """Hide a secret's value, and everything in it; references and what is no text stay."""
    if value is None or isinstance(value, bool) or value == "":
        return value
    if isinstance(value, int | float) and _COUNTED.search(name):
        return value
    if isinstance(value, str) and not _literal(value):
        return value
    return HIDDEN


def _literal(text: str) -> str:
    """Give what a text holds beside references, and the words that go before credentials."""
    return _SCHEMES.sub("", _REFERENCE.sub("", text)).strip(" :,;")


def _known_secrets(values: Iterable[Any]) -> Iterator[str]:
    """Find the texts that stand under a secret's name."""
    left: list[tuple[Any, bool]] = [(value, False) for value in values]
    while left:
        value, hidden = left.pop()
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            left += [(fields[key], hidden or _names_secret(fields, key)) for key in fields]
        elif isinstance(value, list | tuple):
            items = cast("Sequence[Any]", value)
            left += [(item, hidden or bool(_announced(items, at))) for at, item in enumerate(items)]
        elif hidden and isinstance(value, str):
            text = _literal(value)
            is_whole = text and not _REFERENCE.search(value)
            if is_whole and _SHORTEST_KNOWN <= len(text) <= _LONGEST_KNOWN:
                yield text
