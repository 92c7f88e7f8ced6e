"""The tree document: every field, from the schema that editors use."""

from typing import Any, Final

from docs.generate.docstrings import attribute_docs
from docs.generate.markdown import code, joined, table
from docs.generate.schemas import fields, kind_of

from regrow.client.files import MAX_JSON_BYTES
from regrow.client.yaml_text import MAX_YAML_BYTES
from regrow.core import limits
from regrow.core.models import ID_PATTERN, Task, TaskTree
from regrow.core.policies import FOREIGN_SCHEDULE_TO_START, LIBRARY
from regrow.core.references import ITEM_ROOTS, ROOTS, TASK_FIELDS, TREE_FIELDS
from regrow.core.result import Compensation, TaskBecause, TaskResult, TreeResult
from regrow.core.schema import tree_schema
from regrow.core.wire import ENGINE_KEY, Status

_INTRO: Final = """
# The tree document

What a tree may say, field by field. [Semantics](../semantics.md) says what each does in every case.
`regrow schema` prints this as a JSON Schema with which editors complete and check trees, also the
inputs of your executors (`--executors`). Unknown keys are errors; null is the same as absent.
"""
_FORMS: Final = """
A document is YAML 1.2 or JSON: a mapping of the fields below; or a bare list of tasks, named after
its file; tasks may also be nested under `children`, which sets their `parent_id`. In YAML anchors,
aliases and tags are refused, and so is a key that is written twice.
"""
_IDS: Final = f"""
Ids and the tree's name match `{ID_PATTERN}`. The key `{ENGINE_KEY}` is reserved.
"""
_DURATIONS: Final = """
`30s`, `1m30s`, `500ms`, `2h`, `1d`; ISO 8601 (`PT1M`); or a number of seconds.
"""
_REFERENCES: Final = f"""
`${{{{ … }}}}` holds a [JMESPath](https://jmespath.org) expression over
{", ".join(map(code, ROOTS))}, in a map also {" and ".join(map(code, ITEM_ROOTS))}. Of a task there
are {", ".join(code(f"tasks.ID.{name}") for name in TASK_FIELDS)}; of the tree
{", ".join(code(f"tree.{name}") for name in TREE_FIELDS)}. A text that is one reference keeps the
type of its value; inside other text the value is written out. `when` and `for_each` are expressions
with or without the braces. An id with `-` or `.` in it, or with a digit first, needs quotes:
`tasks."fetch-user".result`. Only tasks upstream may be named.
"""
_LIMITS: Final = {
    "Tasks of a tree": f"{limits.MAX_TASKS:,}",
    "A YAML document": f"{MAX_YAML_BYTES // limits.MIB} MiB",
    "A JSON document": f"{MAX_JSON_BYTES // limits.MIB} MiB",
    "What starts a tree, one task's inputs, one result": f"{limits.MAX_PAYLOAD:,} bytes",
    "Nesting": f"{limits.MAX_NESTING}",
    "Sub-trees inside each other": f"{limits.MAX_SUBTREE_DEPTH}",
    "Items of a map": f"{limits.MAX_ITEMS:,}",
    "Running at once (`max_in_flight`)": f"{limits.MAX_IN_FLIGHT}",
    "One expression": f"{limits.MAX_EXPRESSION:,} characters",
    "All expressions of a tree": f"{limits.MAX_EXPRESSIONS:,} characters",
    "Events that a tree keeps": f"{limits.MAX_EVENTS:,}",
    "An event's name": f"{limits.MAX_EVENT_NAME} characters",
    "An event's payload; all of them": f"{limits.MAX_EVENT_BYTES // limits.KIB} KiB; "
    f"{limits.MAX_ALL_EVENTS_BYTES // limits.KIB} KiB",
    "`user_id`": f"{limits.MAX_USER_ID_BYTES} bytes",
    "Results inside a `TreeResult`": f"{limits.MAX_RESULTS_BYTES // limits.KIB} KiB; what is left"
    " out is marked, and stays in history",
    "Tasks listed in a `TreeResult`": f"{limits.MAX_LISTED_TASKS:,}; of a larger tree only those"
    f" that did not complete, the first {limits.MAX_LISTED_PROBLEM_TASKS}",
}


_SAID: Final = {
    "tree_id": "Its id, which is its workflow id.",
    "name": "The document's name.",
    "status": "How it stands or ended.",
    "outputs": "What the document declares, else the results of the tasks nothing depends on.",
    "tasks": "Every task, by id.",
    "counts": "How many tasks have each status.",
    "result": "What the executor gave.",
    "error": "Why it failed, in a line.",
    "error_type": "The same for programs: [errors](errors.md).",
    "because": "Why it never ran.",
    "started_at": "When it first began.",
    "finished_at": "When it ended.",
    "metadata": "What the executor said besides its result, and its attempt, start and duration.",
    "outputs_omitted": "Outputs that were too large to carry; they are null.",
    "reason": "`dependency`, `condition`, `on_failure`, `cancel` or `by_hand`.",
    "task_id": "The nearest cause.",
    "root": "Where the chain of causes begins.",
    "attempts": "How often the executor ran.",
}
"""Of the fields whose names say enough in code; an attribute's docstring goes before these."""


def page() -> str:
    """Give the page."""
    definitions = tree_schema()["$defs"]
    policy = definitions["Policy"]["properties"]

    def described(name: str, **defaults: str) -> str:
        model = definitions[name]
        properties = sorted(model["properties"].items(), key=lambda field: field[0] in policy)
        return fields({**model, "properties": dict(properties), "$defs": definitions}, defaults)

    return joined(
        _INTRO, "## Forms", _FORMS,
        "## Tree", described("TaskTree", **_defaults(TaskTree)),
        "## Task", described("Task", **_defaults(Task)),
        "## Dependency", "A text alone is the id of a required one.", described("Dependency"),
        "## Retry", described("RetryPolicy"), _policy(),
        "## Defaults", described("Policy"),
        "## Compensation", described("Compensation"),
        "## Ids", _IDS, "## Durations", _DURATIONS, "## References", _REFERENCES,
        "## Limits", "Beyond a limit a tree is refused, or a task fails by name; nothing hangs.",
        table(("what", "at most"), _LIMITS.items()),
        "## The result", _RESULT, _result_fields(TreeResult),
        "### Of a task", _result_fields(TaskResult),
        "### because", _result_fields(TaskBecause),
        "### compensation", _result_fields(Compensation),
    )  # fmt: skip


_RESULT: Final = f"""
What `regrow result -o json`, `handle.result()` and the workflow give. A status is one of
{", ".join(code(status.value) for status in Status)}.
"""


def _policy() -> str:
    """Say what holds where nobody says otherwise."""
    policy, retry = LIBRARY.model_dump(mode="json"), LIBRARY.retry.model_dump(mode="json")
    timeouts = {name: value for name, value in policy.items() if value and name != "retry"}
    shown = {**timeouts, **{f"retry.{name}": value for name, value in retry.items()}}
    shown["retry.non_retryable_error_types"] = ", ".join(LIBRARY.retry.non_retryable_error_types)
    foreign = FOREIGN_SCHEDULE_TO_START.total_seconds() / 60
    return joined(
        "Each field is taken from the task; else from its executor; else from the tree's"
        " `defaults`; else it is this (durations in seconds). `non_retryable_error_types` add up.",
        table(("field", "library's default"), [(code(k), code(v)) for k, v in shown.items()]),
        "A task with a `task_queue` of its own has no heartbeat unless it sets one, and a"
        f" `schedule_to_start_timeout` of {foreign:g} minutes.",
    )


def _defaults(model: Any) -> dict[str, str]:
    """Give the defaults that a schema leaves out because editors would insert them."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.default, bool | int | str) and field.default != "":
            shown = str(field.default)
            found[name] = code(shown.lower() if isinstance(field.default, bool) else shown)
    return found


def _result_fields(model: Any) -> str:
    schema = model.model_json_schema(mode="serialization")
    meanings = {**_SAID, **attribute_docs(model)}
    rows = [
        (code(name), kind_of(field, schema.get("$defs")), meanings[name])
        for name, field in schema["properties"].items()
    ]
    return table(("field", "type", "meaning"), rows)
