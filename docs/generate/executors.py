"""Built-in executors: those a worker runs, from their types, and those the workflow runs itself."""

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from docs.generate.markdown import code, fenced, joined, prose, table
from docs.generate.schemas import fields
from pydantic_core import to_jsonable_python

from regrow.activities.catalogue import built_in
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
from regrow.executors import ALIAS, Executor, TaskContext

_INTRO: Final = """
# Built-in executors

A worker has these without being told, and yours beside them
([Writing executors](../executors.md)). `regrow executors` lists what a worker has, with what is
missing for it. Each is a file of its own; its library is imported when it runs and comes with an
extra; `regrow[executors]` brings all of them, `regrow[all]` a Temporal to try them as well. Eight
of them work together in `examples/morning`.
"""
_HOSTED: Final = """
What they don't say of timeouts and retries is the [library's](../reference/document.md#retry).
Where a tree says where to connect, only public addresses and what `REGROW_HTTP_ALLOW` lists can be
reached. A secret is written `${{ secrets.NAME }}` ([Security](../security.md#secrets)).
"""
_ALIASES: Final = """
# Executors of aipartnerupflow

A document of aipartnerupflow or apflow names these ids, with the inputs they take there. Each
stands for an executor of Regrow, gives the result that authors know from there, and has the safety
of what it stands for. Two things differ: **what fails, fails its task**, where that system
completed it with `success: false`; and what is the operator's to say (a mail server, mounts, key
files) is refused in a document. In new trees, name what it stands for.
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


def built_in_pages() -> dict[str, str]:
    """Give the pages, by file name."""
    hosted = [executor for executor in built_in() if ALIAS not in executor.tags]
    aliases = [executor for executor in built_in() if ALIAS in executor.tags]
    return {
        "index.md": _index(hosted),
        "workflow.md": _workflow_page(),
        "aipartnerupflow.md": joined(_ALIASES, table(("id", "what it is"), map(_row, aliases))),
        **{f"{executor.id}.md": _page(executor) for executor in hosted},
    }


def _index(hosted: Sequence[Executor]) -> str:
    rows = [
        (f"[{e.id}]({e.id}.md)", _first_sentence(e), ", ".join(map(code, _extras(e))))
        for e in hosted
    ]
    native = [
        (f"[{name}](workflow.md#{name})", _ABOUT[name].partition(". ")[0].rstrip(".") + ".")
        for name in NATIVE_EXECUTORS
    ]
    return joined(
        _INTRO,
        "## Run by a worker",
        _HOSTED,
        table(("id", "what it does", "extra"), rows),
        "## Run by the workflow",
        _NATIVE,
        table(("id", "what it does"), native),
        "The ids of another system: [aipartnerupflow](aipartnerupflow.md).",
    )


def _workflow_page() -> str:
    definitions = tree_schema()["$defs"]
    return joined(
        "# Executors of the workflow",
        _NATIVE,
        *(_native(name, definitions) for name in NATIVE_EXECUTORS),
    )


def _page(executor: Executor) -> str:
    policy = executor.policy.model_dump(mode="json", exclude_defaults=True)
    own = [(code(name), code(f"{value:g}s")) for name, value in policy.items()]
    extras = " ".join(_extras(executor))
    errors = getattr(sys.modules[executor.target.__module__], "ERRORS", {})
    return joined(
        f"# {executor.id}",
        prose(executor.description),
        f"Needs `pip install '{extras}'`." if extras else "",
        *(_example(each) for each in executor.examples),
        "## Inputs",
        fields(executor.input_schema()),
        *_parts(executor.input_schema()),
        "## Result",
        fields(executor.output_schema()) or "Any JSON.",
        *_parts(executor.output_schema()),
        "## Errors",
        "Beside [those that all may have](../reference/errors.md#of-tasks):" if errors else "",
        table(("error_type", "meaning"), [(code(k), v) for k, v in errors.items()])
        or "[Those that all may have](../reference/errors.md#of-tasks).",
        "## In a demo",
        _shown(executor),
        *(["## Its own policy", table(("field", "value"), own)] if own else []),
    )


def _example(inputs: object) -> str:
    text = json.dumps(inputs, ensure_ascii=False, indent=2)
    return fenced(text, "json")


def _shown(executor: Executor) -> str:
    """Show what it answers in a demo, to what its first example is given."""
    shown = executor.demo_answer(executor.examples[0], TaskContext())
    return fenced(json.dumps(to_jsonable_python(shown), ensure_ascii=False, indent=2), "json")


def _extras(executor: Executor) -> list[str]:
    return list(dict.fromkeys(executor.requires.values()))


def _first_sentence(executor: Executor) -> str:
    text = " ".join(executor.description.split("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".") + "."


def _row(executor: Executor) -> tuple[str, str]:
    return code(executor.id), " ".join(executor.description.split())


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
    return joined(f"## {name}", _ABOUT[name], fields({**inputs, "$defs": definitions}))
