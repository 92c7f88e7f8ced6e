"""Large documents on the wire: the same JSON, compressed, in one text.

Temporal takes two MiB to start a workflow with and keeps every byte in history; the tasks of a
large tree resemble each other, so that a tenth of the bytes is enough.
"""

import base64
import json
import zlib
from typing import Any, Final, cast

from regrow.core import limits
from regrow.core.problems import InvalidTree, Problem

PACKED: Final = "packed"
_LEVEL: Final = 6


def packed(value: dict[str, Any], above: int = limits.PACK_ABOVE) -> dict[str, Any]:
    """Give the value itself, or `{"packed": …}` if it takes more than `above` and gains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    data = text.encode(errors="surrogatepass")
    if len(data) <= above:
        return value
    text = base64.b64encode(zlib.compress(data, _LEVEL)).decode("ascii")
    return {PACKED: text} if len(text) < len(data) else value


def unpacked(value: object) -> object:
    """Give what was packed, or the value itself if nothing was; raises `InvalidTree`."""
    if not isinstance(value, dict):
        return value
    mapping = cast("dict[str, Any]", value)
    if list(mapping) != [PACKED]:
        return mapping
    try:
        data = _inflated(base64.b64decode(mapping[PACKED], validate=True))
        return json.loads(data.decode(errors="surrogatepass"))
    except (TypeError, ValueError, RecursionError, zlib.error) as error:
        raise _unreadable(str(error)) from None


def _inflated(data: bytes) -> bytes:
    """Decompress no more than a document may have, whatever the data would give."""
    inflater = zlib.decompressobj()
    text = inflater.decompress(data, limits.MAX_UNPACKED)
    if inflater.unconsumed_tail:
        raise ValueError(f"it takes more than {limits.MAX_UNPACKED:,} bytes")
    if not inflater.eof:
        raise ValueError("it is cut off")
    return text


def _unreadable(why: str) -> InvalidTree:
    message = f"this key holds a compressed document, which cannot be read: {why}"
    return InvalidTree([Problem("packed", (PACKED,), message)])
