"""A sub-tree seen from the task that runs it: the document it is given, and how its end is read."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from regrow.core.hashing import document_hash
from regrow.core.loading import load
from regrow.core.models import Json, TaskTree
from regrow.core.outcome import Outcome, failed, short_error
from regrow.core.resolve import Description, executor_ids
from regrow.core.result import failures_of
from regrow.core.wire import ENGINE_KEY, ErrorType, Status


def child_document(
    tree: TaskTree,
    inputs: Mapping[str, Json],
    user_id: str | None,
    description: Description,
    seed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Give the argument of the child workflow: its document, and what is known of executors.

    `seed` is what a rerun lets it keep, if it is given the very document that it was given before.
    """
    known = known_of(executor_ids(tree), description)
    document = tree.as_document()
    if tree.inputs:
        document["inputs"] = {**tree.inputs, **inputs}
    if user_id is not None:
        document["user_id"] = user_id
    engine: dict[str, Any] = {"description": known.model_dump(mode="json")}
    if seed is not None and seed["document"] == document_hash(load(document)):
        engine |= {key: value for key, value in seed.items() if key != "document"}
    return {**document, ENGINE_KEY: engine}


def known_of(ids: Iterable[str], description: Description) -> Description:
    """Give what is known of some executors."""
    executors, unknown = description.executors, description.unknown
    named = dict.fromkeys(ids)
    return Description(
        engine_version=description.engine_version,
        search_attributes=description.search_attributes,
        local=tuple(name for name in description.local if name in named),
        executors={name: executors[name] for name in named if name in executors},
        unknown={name: unknown[name] for name in named if name in unknown},
    )


def subtree_outcome(unit: str, result: Mapping[str, Any]) -> Outcome:
    """Read the `TreeResult` of a sub-tree; `unit` is the task or item that ran it."""
    about: dict[str, Json] = {"tree_id": result["tree_id"], "counts": result["counts"]}
    if result["status"] == Status.FAILED:
        path, error, error_type = _first_failure(unit, result)
        about |= {"failed_task": path, "failed_with": error_type}
        return Outcome(
            Status.FAILED,
            error=short_error(f"{path}: {error}"),
            error_type=ErrorType.SUBTREE_FAILED,
            metadata=about,
            attempts=1,
        )
    if omitted := result.get("outputs_omitted"):
        message = (
            f"the outputs of '{unit}' are too large to be passed on ({', '.join(omitted)});"
            " let its tasks return references, or name smaller `outputs`"
        )
        return failed(message, ErrorType.PAYLOAD_TOO_LARGE, attempts=1)
    return Outcome(Status.COMPLETED, dict(result["outputs"]), metadata=about, attempts=1)


def _first_failure(unit: str, result: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Give the path, error and type of the first task that failed untolerated."""
    for task_id, entry in failures_of(result):
        error, inner = str(entry["error"]), cast("dict[str, Any]", entry.get("metadata") or {})
        deeper, colon, text = error.partition(": ")  # metadata may be left out for its size
        if entry["error_type"] == ErrorType.SUBTREE_FAILED and colon:
            return f"{unit}/{deeper}", text, inner.get("failed_with")
        return f"{unit}/{task_id}", error, entry["error_type"]
    return unit, str(result.get("error") or "a task inside was cancelled"), None
