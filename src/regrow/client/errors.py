"""What can go wrong for whoever starts a tree or waits for one."""

from collections.abc import Sequence
from typing import Final

from regrow.core.problems import suggestion
from regrow.core.result import TreeResult, failure_message

_FEW: Final = 3
_IN_WORDS: Final = {
    "dns error": "there is no such host",
    "InvalidContentType": "it speaks no TLS, but TLS or an API key is configured",
    "UnknownIssuer": "its certificate is signed by an authority that is not trusted here",
    "PrivateKeyParseError": "the private key of TLS cannot be read",
    "transport error": "it breaks off; if it wants TLS, set TEMPORAL_TLS",
    "operation was canceled": "what listens there does not speak as Temporal does",
}
"""What the native part says, by a word of it, for people."""


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
    """There is no such tree on this server and namespace; one that is `known` may be meant."""

    def __init__(self, tree_id: str, namespace: str, known: Sequence[str] = ()) -> None:
        hint = suggestion(tree_id, known) or "; `regrow list` shows them"
        super().__init__(f"there is no tree '{tree_id}' in the namespace '{namespace}'{hint}")
        self.tree_id = tree_id


class NotATree(TreeError):  # noqa: N818 - likewise
    """The id belongs to a workflow of another type."""

    def __init__(self, tree_id: str, workflow_type: str) -> None:
        super().__init__(
            f"'{tree_id}' is no tree but a workflow of the type {workflow_type}; `temporal workflow"
            f" describe -w {tree_id}` shows it"
        )
        self.tree_id = tree_id


class TreeBusy(TreeError):  # noqa: N818 - likewise
    """The tree is asked for more at once than the server lets through."""

    def __init__(self, tree_id: str, reason: str) -> None:
        super().__init__(
            f"tree '{tree_id}' has too many requests under way; try again later ({reason})"
        )
        self.tree_id = tree_id


class InvalidConnection(TreeError):  # noqa: N818 - likewise
    """What is said of how to reach Temporal cannot be used."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the way to Temporal is not understood: {reason}; it is named by --address and"
            " --profile, or TEMPORAL_ADDRESS, TEMPORAL_PROFILE and the file TEMPORAL_CONFIG_FILE"
        )


class ServerUnreachable(TreeError):  # noqa: N818 - likewise
    """Temporal doesn't answer."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"no Temporal server answers at {address} ({_in_words(reason)}); start one with"
            " `regrow dev`, or say where it is with TEMPORAL_ADDRESS (on the command line also"
            " --address)"
        )
        self.address = address


def _in_words(reason: str) -> str:
    return next((words for sign, words in _IN_WORDS.items() if sign in reason), reason)
