"""The process group of a program: nothing that a program starts outlives the task."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

_GRACE: Final = 2.0
"""Seconds between asking a group to end and ending it."""
_REAP: Final = 5.0
_GLANCE: Final = 0.02


async def end_group(leader: int, ended: Callable[[], Awaitable[object]]) -> None:
    """End whatever is left of a group, and wait until `ended()` tells that its leader has.

    The group has the id of its leader, which isn't given away again while anyone is in it.
    """
    if _signal(leader, signal.SIGTERM) and not await _is_gone(leader, _GRACE):
        _signal(leader, signal.SIGKILL)
    with suppress(TimeoutError):  # stuck in the kernel, or another user's by now
        async with asyncio.timeout(_REAP):
            await ended()


async def _is_gone(leader: int, patience: float) -> bool:
    """Look again and again: nobody tells when a group is empty."""
    loop = asyncio.get_running_loop()
    until = loop.time() + patience
    while _signal(leader, 0):
        if loop.time() > until:
            return False
        await asyncio.sleep(_GLANCE)
    return True


def _signal(leader: int, number: int) -> bool:
    """Send to all of the group; False if there is nobody it could reach."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # the latter: zombies only (macOS), or sudo
        return False
    return True
