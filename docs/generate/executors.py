"""Built-in executors: those a worker runs, from their types, and those the workflow runs itself."""

from typing import Any, Final

from docs.generate.markdown import code, joined, prose, table
from docs.generate.schemas import fields

from regrow.activities.catalogue import BUILT_IN
from regrow.core.schema import tree_schema
from regrow.core.wire import (
    AGGREGATE_RESULTS,
    APPROVAL,
    GROUP,
    NATIVE_EXECUTORS,
    SLEEP,
    TREE,
    WAIT_FOR_EVENT,
)
from regrow.executors import Executor, Registry

_INTRO: Final = """
# Executors that are built in

`regrow executors` lists those that a worker has, yours included; with `--schema` as JSON. How to
write one: [Writing executors](../executors.md).
"""
_EXTRAS: Final = {"http_request": "http"}
_HOSTED: Final = """
A worker runs these. What they don't say of timeouts and retries is the
[library's](document.md#retry).
"""
_NATIVE: Final = """
The workflow runs these itself. They hold no worker while they wait and have no retries. Of them
only sub-trees count as in flight.
"""
_ABOUT: Final = {
    GROUP: "Holds tasks together (`parent_id`) and settles when all below it have. Its result is"
    " those of the completed tasks below it, by id; it fails with `group_failed`. Implied for a"
    " task that has children, names no executor and has no inputs.",
    AGGREGATE_RESULTS: "Gathers the results of its dependencies:"
    ' `{"results": {ID: result}, "count": N, "absent": [ID]}`.',
    TREE: "Runs the sub-tree under `tree` as a workflow of its own; `inputs` sets what that"
    " declares. Its result is the sub-tree's outputs. Implied by `tree`.",
    SLEEP: "Waits for a time, given as `duration` or as `until`. Its result is null.",
    APPROVAL: "Waits for a person: `regrow approve`, the update `approve`, or the Web UI. The"
    " result of one that is approved says who, why and when (`approved`, `by`, `note`, `at`, and"
    " `result` if one was given); one that is rejected fails with `rejected`.",
    WAIT_FOR_EVENT: "Waits for the first event of a name, sent before or after it began to wait."
    " Its result is the event's payload.",
}


def page() -> str:
    """Give the page."""
    registry = Registry()
    registry.add_built_in(BUILT_IN)
    definitions = tree_schema()["$defs"]
    return joined(
        _INTRO,
        "## Run by a worker",
        _HOSTED,
        *(_executor(executor) for executor in registry),
        "## Run by the workflow",
        _NATIVE,
        *(_native(name, definitions) for name in NATIVE_EXECUTORS),
    )


def _executor(executor: Executor) -> str:
    extra = _EXTRAS.get(executor.id)
    policy = executor.policy.model_dump(mode="json", exclude_defaults=True)
    own = [(code(name), code(f"{value:g}s")) for name, value in policy.items()]
    return joined(
        f"### {executor.id}",
        prose(executor.description),
        f"Needs `pip install 'regrow[{extra}]'`." if extra else "",
        "Inputs:",
        fields(executor.input_schema()),
        *_parts(executor.input_schema()),
        "Result:",
        fields(executor.output_schema()),
        *(["Its own policy:", table(("field", "value"), own)] if own else []),
    )


def _parts(schema: dict[str, Any]) -> list[str]:
    """Describe the mappings inside the inputs."""
    inner = schema.get("$defs", {})
    return [
        f"{code(name)}: {part['description']}\n\n{fields(part)}"
        for name, part in inner.items()
        if part.get("properties")
    ]


def _native(name: str, definitions: dict[str, Any]) -> str:
    inputs = definitions.get(f"{name}.inputs", {})
    return joined(f"### {name}", _ABOUT[name], fields({**inputs, "$defs": definitions}))
