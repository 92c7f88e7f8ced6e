"""What a tree is started with: by hand, by a schedule, or by a rerun."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.client.documents import read_document
from regrow.core import limits
from regrow.core.draw.details import static_details
from regrow.core.hashing import document_hash
from regrow.core.loading import load, with_inputs
from regrow.core.models import TaskTree
from regrow.core.packing import packed
from regrow.core.problems import InvalidTree, Problem
from regrow.core.wire import MEMO_DOCUMENT_HASH, MEMO_NAME, MEMO_USER_ID
from regrow.workflows.policies import summary

Submitted = TaskTree | Mapping[str, Any] | Sequence[Any] | str | Path


@dataclass(frozen=True, slots=True)
class Submission:
    """What a checked tree is started with."""

    name: str
    document: dict[str, Any]
    argument: dict[str, Any]
    """The document as it travels: compressed, if it is large."""
    memo: dict[str, str]
    summary: str
    details: str


def prepare(
    tree: Submitted, inputs: Mapping[str, Any] | None = None, *, demo: bool = False
) -> Submission:
    """Check a tree and give what starts it; raises `InvalidTree`."""
    checked = checked_tree(tree, inputs)
    if demo:
        checked = checked.model_copy(update={"demo": True})
    document = checked.as_document()
    argument = packed(document)
    size = bytes_of(argument)
    if size > limits.MAX_PAYLOAD:
        compressed = " although compressed" if argument is not document else ""
        message = (
            f"the document takes {size:,} bytes{compressed}; a server takes at most"
            f" {limits.MAX_PAYLOAD:,} to start a tree"
        )
        raise InvalidTree([Problem("payload_too_large", (), message)])
    digest = document_hash(checked)
    return Submission(
        checked.name,
        document,
        argument,
        _memo(checked, digest),
        summary(checked.name, checked.description or checked.name),
        static_details(checked, digest),
    )


def _memo(tree: TaskTree, digest: str) -> dict[str, str]:
    owner = {MEMO_USER_ID: tree.user_id} if tree.user_id else {}
    return {MEMO_DOCUMENT_HASH: digest, MEMO_NAME: tree.name, **owner}


def checked_tree(tree: Submitted, inputs: Mapping[str, Any] | None = None) -> TaskTree:
    """Read a tree in any form, with its inputs set; raises `InvalidTree`."""
    read = read_document(tree).tree() if isinstance(tree, str | Path) else load(tree)
    return with_inputs(read, inputs) if inputs else read


def bytes_of(document: Mapping[str, Any]) -> int:
    """Give the bytes that a document takes on the wire."""
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
