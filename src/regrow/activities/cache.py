"""Results that are kept for a while: of executors that ask for it, by what they were given.

Two calls are the same if executor, inputs and user are; secrets count by their names. A result is
kept in the worker's memory, or where `REGROW_CACHE` says, which several workers can share. A cache
that fails is a cache that knows nothing: it never fails a task.
"""

import hashlib
import json
import time
from collections import OrderedDict
from datetime import timedelta
from typing import Any, Final, Protocol, cast

import structlog

from regrow.core.limits import MAX_PAYLOAD, MIB
from regrow.core.models import Json

_MOST_BYTES: Final = 64 * MIB

log = structlog.get_logger("regrow.cache")


class Cache(Protocol):
    """Keeps texts by key until a time."""

    async def get(self, key: str) -> str | None:
        """Give what is kept and still valid."""
        ...

    async def put(self, key: str, text: str, until: float) -> None:
        """Keep a text until a time, in seconds since the epoch."""
        ...


def cache_key(executor_id: str, inputs: Json, user_id: str | None) -> str:
    """Give the same key for equal calls, whatever the order of their inputs."""
    said = json.dumps(
        [executor_id, user_id, inputs], sort_keys=True, ensure_ascii=False, default=repr
    )
    return hashlib.sha256(said.encode(errors="surrogatepass")).hexdigest()


class MemoryCache:
    """In the worker's memory, the least used first to go."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._bytes, self._most = 0, most_bytes

    async def get(self, key: str) -> str | None:
        """Give what is kept and still valid."""
        text, until = self._kept.get(key, ("", 0.0))
        if until <= time.time():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return text

    async def put(self, key: str, text: str, until: float) -> None:
        """Keep a text until a time, and let go of others if it gets too much."""
        self._drop(key)
        self._kept[key] = (text, until)
        self._bytes += len(text)
        while self._bytes > self._most:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: str) -> None:
        text, _ = self._kept.pop(key, ("", 0.0))
        self._bytes -= len(text)


class StoredCache:
    """In a folder or an object store, shared by all workers that name it."""

    def __init__(self, url: str) -> None:
        from obstore.store import from_url  # noqa: PLC0415 - the extra `objects`

        self._store: Any = from_url(url)

    async def get(self, key: str) -> str | None:
        """Give what is kept and still valid."""
        try:
            found = await self._store.get_async(key)
        except FileNotFoundError:
            return None
        kept = json.loads(bytes(await found.bytes_async()))
        return kept["text"] if kept["until"] > time.time() else None

    async def put(self, key: str, text: str, until: float) -> None:
        """Keep a text until a time; what is out of date is for the store's own rules to delete."""
        await self._store.put_async(key, json.dumps({"until": until, "text": text}).encode())


def open_cache(url: str | None) -> Cache:
    """Open what `REGROW_CACHE` names, or the worker's memory."""
    return MemoryCache() if url is None else StoredCache(url)


class Results:
    """The results of one worker's executors."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def find(self, key: str) -> dict[str, Json] | None:
        """Give the result and metadata that are kept, if any."""
        try:
            text = await self._cache.get(key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the executor can be called
            log.warning("cache.unreadable", error=str(error))
            return None
        return None if text is None else cast("dict[str, Json]", json.loads(text))

    async def keep(self, key: str, answer: dict[str, Json], span: timedelta) -> None:
        """Keep a result for a while."""
        try:
            until = time.time() + span.total_seconds()
            text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
            if len(text.encode()) <= MAX_PAYLOAD:  # else the task fails, and is not to again
                await self._cache.put(key, text, until)
        except Exception as error:  # noqa: BLE001 - the result is there all the same
            log.warning("cache.unwritable", error=str(error))
