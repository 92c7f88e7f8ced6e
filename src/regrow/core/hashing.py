"""Whether two documents are the same tree."""

import json
from hashlib import sha256

from regrow.core.models import TaskTree


def document_hash(tree: TaskTree) -> str:
    """SHA-256 of the canonical JSON of the normal form, with the inputs as they are set."""
    canonical = json.dumps(
        tree.as_document(), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )
    return sha256(canonical.encode()).hexdigest()
