"""Where the values of secrets come from: the worker's environment, or files that it is given.

Only what the operator put there for trees can be named: variables that begin with
`REGROW_SECRET_`, and files directly inside `REGROW_SECRETS_DIR`, as Docker and Kubernetes mount
them. A document can't name any other variable or file.
"""

import os
from typing import Any, Final, cast

from regrow.activities.catalogue.failures import UNKNOWN_SECRET
from regrow.core.models import Json
from regrow.core.secrets import SECRETS, SecretPlace, reveal, secret_name
from regrow.core.wire import ErrorType
from regrow.executors import TaskError
from regrow.settings import load_settings

_VARIABLE: Final = "REGROW_SECRET_"


def revealed(inputs: Json, places: Any) -> tuple[Json, tuple[str, ...]]:
    """Put the values into the places that the workflow named; gives the values as well.

    Raises `TaskError`: `unknown_secret` naming it, or `contract_error` for places that don't fit.
    """
    if not places:
        return inputs, ()
    values: dict[str, str] = {}

    def value_of(name: str) -> str:
        return values.setdefault(name, _read(name))

    try:
        shown = reveal(inputs, cast("list[SecretPlace]", places), value_of)
    except (ValueError, KeyError, TypeError) as error:
        raise TaskError(str(error), error_type=ErrorType.CONTRACT) from None
    return shown, tuple(values.values())


def _read(name: str) -> str:
    if secret_name(f"{SECRETS}.{name}") is None:  # a header that no workflow of ours wrote
        raise ValueError("that is no name of a secret")
    value = os.environ.get(f"{_VARIABLE}{name}")
    if value is None:
        value = _from_file(name)
    if value is None:
        message = (
            f"this worker has no secret '{name}'; its operator gives it one by the variable"
            f" {_VARIABLE}{name}, or by a file '{name}' in the folder REGROW_SECRETS_DIR"
        )
        raise TaskError(message, error_type=UNKNOWN_SECRET)
    return value


def _from_file(name: str) -> str | None:
    folder = load_settings().secrets_dir
    if folder is None:
        return None
    try:
        return (folder / name).read_text(encoding="utf-8").removesuffix("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8"
        message = f"the secret '{name}' cannot be read: {reason}"
        raise TaskError(message, error_type=UNKNOWN_SECRET) from None
