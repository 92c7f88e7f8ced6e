"""The executors that come with Regrow."""

from typing import Final

from regrow.executors import Registry

BUILT_IN: Final = ("regrow.activities.http", "regrow.activities.command")


def make_registry(sources: tuple[str, ...] = ()) -> Registry:
    """Give the built-in executors and those found in modules, packages, files and entry points.

    Raises `ExecutorErrors` with every problem.
    """
    registry = Registry()
    registry.add_built_in(BUILT_IN)
    registry.discover(sources)
    registry.check()
    return registry
