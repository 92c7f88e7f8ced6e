"""What a worker says about its executors, and what it answers for those that it lacks."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from regrow.core.resolve import Description, Unknown
from regrow.core.wire import TreeMoment
from regrow.executors import ALIAS, Registry

_NEAR_MISS: Final = 0.85
_SUGGESTION: Final = 0.6


def describe(
    registry: Registry, ids: Sequence[str], search_attributes: tuple[str, ...] = ()
) -> Description:
    """Say what a registry knows about some executors, and how near the unknown ones are.

    `search_attributes` are those that the server has; they belong to the same answer.
    """
    known = sorted(executor.id for executor in registry if ALIAS not in executor.tags)
    unknown: dict[str, Unknown] = {}
    for executor_id in ids:
        if executor_id not in registry:
            close = get_close_matches(executor_id, known, n=1, cutoff=_SUGGESTION)
            near = get_close_matches(executor_id, known, n=1, cutoff=_NEAR_MISS)
            unknown[executor_id] = Unknown(
                suggestion=close[0] if close else None, near_miss=bool(near)
            )
    return Description(
        executors={name: registry[name].policy for name in ids if name in registry},
        unknown=unknown,
        known=tuple(known) if unknown else (),
        search_attributes=search_attributes,
        local=tuple(name for name in ids if name in registry and registry[name].local),
        hooks=tuple(moment for moment in TreeMoment if _wanted(registry, moment)),
    )


def _wanted(registry: Registry, moment: TreeMoment) -> bool:
    return any(hook.kind == "on_tree" and hook.is_for(moment) for hook in registry.hooks)
