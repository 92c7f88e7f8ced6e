"""What can go wrong for whoever starts a tree or waits for one."""

from collections.abc import Sequence
from typing import Final

from regrow.core.result import TreeResult, failure_message

_FEW: Final = 3


class TreeError(Exception):
    """Anything that a client reports about a tree."""


class TreeFailed(TreeError):  # noqa: N818 - the name is part of the contract
    """A task failed and nothing tolerated it; `result` has everything."""

    def __init__(self, result: TreeResult) -> None:
        shape = {**result.model_dump(mode="json"), "name": result.tree_id}
        super().__init__(failure_message(shape))
        self.result = result


class TreeCancelled(TreeError):  # noqa: N818 - likewise
    """The tree was cancelled; `result` says how far it came."""

    def __init__(self, result: TreeResult) -> None:
        super().__init__(f"tree '{result.tree_id}' was cancelled")
        self.result = result


class TreeTerminated(TreeError):  # noqa: N818 - likewise
    """The run was ended from outside, or by a timeout of the workflow; nothing was cleaned up."""

    def __init__(self, result: TreeResult, reason: str) -> None:
        super().__init__(f"tree '{result.tree_id}' was ended from outside: {reason}")
        self.result = result


class TreeConflict(TreeError):  # noqa: N818 - likewise
    """The id belongs to a tree with another document; `differences` says what differs."""

    def __init__(self, tree_id: str, differences: Sequence[str] = ()) -> None:
        first = "; ".join(differences[:_FEW])
        more = f"; and {len(differences) - _FEW} more" if len(differences) > _FEW else ""
        what = f" ({first}{more})" if differences else ""
        super().__init__(
            f"'{tree_id}' is the id of a tree with another document or other inputs{what}; use"
            " another id"
        )
        self.tree_id = tree_id
        self.differences = tuple(differences)


class TreeNotFound(TreeError):  # noqa: N818 - likewise
    """There is no such tree on this server and namespace."""

    def __init__(self, tree_id: str, namespace: str) -> None:
        super().__init__(
            f"there is no tree '{tree_id}' in the namespace '{namespace}'; `regrow list` shows them"
        )
        self.tree_id = tree_id


class TreeBusy(TreeError):  # noqa: N818 - likewise
    """The tree is asked for more at once than the server lets through."""

    def __init__(self, tree_id: str, reason: str) -> None:
        super().__init__(
            f"tree '{tree_id}' has too many requests under way; try again later ({reason})"
        )
        self.tree_id = tree_id


class ServerUnreachable(TreeError):  # noqa: N818 - likewise
    """Temporal doesn't answer."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"no Temporal server answers at {address} ({reason}); start one with `regrow dev`, or"
            " say where it is with TEMPORAL_ADDRESS (on the command line also --address)"
        )
        self.address = address
