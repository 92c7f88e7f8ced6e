"""Reading back the normal form that a checked tree was written in.

Only for what a run of ours wrote: the types of fields are read and so hold, but nothing that
`loading` checks across them is checked again. Whatever anybody else wrote goes through `load`.
"""

from collections.abc import Mapping
from typing import Any

from regrow.core.garbage import collected_later
from regrow.core.models import BareEdges, Task, TaskTree


def read_normal(document: Mapping[str, Any]) -> TaskTree:
    """Give the tree of which this is the `as_document`, also after a way as JSON."""
    with collected_later():
        return _tree(document, BareEdges())


def _tree(document: Mapping[str, Any], bare: BareEdges) -> TaskTree:
    tasks = [_task(task, bare) for task in document["tasks"]]
    return TaskTree.model_validate({**document, "tasks": tasks})


def _task(document: Mapping[str, Any], bare: BareEdges) -> Task:
    fields = dict(document)
    if edges := fields.get("dependencies"):
        fields["dependencies"] = [bare[e] if isinstance(e, str) else e for e in edges]
    if inner := fields.get("tree"):
        fields["tree"] = _tree(inner, bare)
    return Task.model_validate(fields)
