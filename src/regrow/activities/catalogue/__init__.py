"""The executors that come with Regrow: one file each, its library imported when it runs.

Each file says in `ERRORS` which error types its executors add, for the documentation; those that
several share are in `failures`.
"""

from typing import Final

from regrow.executors import Registry

_NAMES: Final = (
    "http",
    "command",
    "batch",
    "python",
    "ssh",
    "docker",
    "grpc",
    "llm",
    "mcp",
    "files",
    "objects",
    "sql",
    "system",
    "websocket",
    "email",
    "aipartnerupflow",
)
BUILT_IN: Final = tuple(f"{__name__}.{name}" for name in _NAMES)


def built_in() -> Registry:
    """Give the built-in executors alone."""
    registry = Registry()
    registry.add_built_in(BUILT_IN)
    return registry


def make_registry(sources: tuple[str, ...] = ()) -> Registry:
    """Give the built-in executors and those found in modules, packages, files and entry points.

    Raises `ExecutorErrors` with every problem.
    """
    registry = built_in()
    registry.discover(sources)
    registry.check()
    return registry
