"""When Python looks for garbage: not while a large tree is being built, of which none is."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collected_later() -> Generator[None]:
    """Put off the search for cycles that nobody holds, which looks at all that is new each time.

    What is built stays, so each search is in vain, and together they take as long as the building.
    The switch is the process's own, yet safe with threads: it is off for no longer than a document
    takes to read, and what is in no cycle is freed at once as ever. Who finds it off leaves it to
    whoever turned it off; at worst it is on too early, which only takes time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
