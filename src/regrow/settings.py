"""What an operator may set, by environment variables that begin with `REGROW_`.

Where Temporal is, and how to reach it, is Temporal's own configuration (`TEMPORAL_ADDRESS` and
friends, read by `temporalio.envconfig`); it isn't repeated here.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from regrow.core.durations import Duration
from regrow.core.wire import TASK_QUEUE

_PREFIX = "REGROW_"


EXECUTORS_VARIABLE: Final = f"{_PREFIX}EXECUTORS"

_HOST: Final = r"(\*\.)?([a-z0-9_-]+\.)*(?!0x)(?=[^.]*[a-z])[a-z0-9_-]+\.?"
"""A name's last part has a letter, so that `10.0.0.256` and `0x7f.1` are none."""


def split_names(value: str | None) -> tuple[str, ...]:
    """Read `a, b` as people write lists in the environment."""
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _split(value: Any) -> Any:
    return split_names(value) if isinstance(value, str) else value


def _programs(value: tuple[str, ...]) -> tuple[str, ...]:
    for entry in value:
        if "/" in entry and not entry.startswith("/"):
            raise ValueError(f"'{entry}' must be a bare name or an absolute path")
    return value


def _peers(value: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what would allow nothing, or something else than it seems to."""
    for entry in value:
        if re.fullmatch(_HOST, entry, re.IGNORECASE):
            continue
        try:
            ip_network(entry)
        except ValueError:
            message = f"'{entry}' must be a host, an address or a network: no scheme, no port"
            raise ValueError(f"{message}, no bits beyond the mask") from None
    return value


def _store_url(value: str | None) -> str | None:
    if value is not None and not re.match(r"(file|s3|s3a|gs|az|azure|abfs|abfss)://", value):
        raise ValueError("write a URL such as file:///var/cache/regrow or s3://bucket/prefix")
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class InvalidSettings(ValueError):  # noqa: N818 - several errors in one
    """The environment holds settings that cannot be used; `problems` lists every one."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Settings(BaseSettings):
    """Settings of a worker and its built-in executors."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    task_queue: Annotated[str, Field(min_length=1)] = TASK_QUEUE
    """The task queue that trees run on."""

    executors: Names = ()
    """Modules, packages or files with executors, separated by commas."""

    command_allow: Annotated[Names, AfterValidator(_programs)] = ()
    """Programs that `command` may run, by name or absolute path; none by default."""

    http_allow: Annotated[Names, AfterValidator(_peers)] = ()
    """Hosts and networks that executors may connect to although they aren't public, such as
    `localhost,*.corp.example,10.1.0.0/16`. Only public addresses by default."""

    python_modules: Names = ()
    """Modules whose functions `python` may call; none by default."""

    docker_images: Names = ()
    """Images that `docker_run` may run, as patterns such as `python:3.*`; none by default."""

    docker_networks: Names = ()
    """Networks that `docker_run` may put a container on, such as `bridge`; none by default."""

    ssh_known_hosts: Path = Path("~/.ssh/known_hosts")
    """The hosts that `ssh_command` may connect to, with their keys."""

    ssh_keys: Names = ()
    """Files of private keys that any document may log in with by `ssh_command`, where it brings no
    password or key of its own; none by default."""

    secrets_dir: Path | None = None
    """The folder with secrets as files, by name; `REGROW_SECRET_NAME` holds one itself."""

    cache: Annotated[str | None, AfterValidator(_store_url)] = None
    """Where results are kept that executors let be kept, such as `file:///var/cache/regrow` or
    `s3://bucket/prefix`; default: in the worker's memory."""

    file_root: Path | None = None
    """The folder that `file_read` and `file_write` are confined to; none by default."""

    object_stores: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Stores of `object_get` and `object_put` by name: `REGROW_OBJECT_STORES__MAIN=s3://bucket`."""

    sql_connections: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Databases of `sql_query` by name: `REGROW_SQL_CONNECTIONS__MAIN=postgresql://…`."""

    smtp_url: SecretStr | None = None
    """The mail server of `send_email`: `smtp://` or `smtps://`, with name, password and port."""

    smtp_from: str | None = None
    """The sender of mails that name none."""

    max_concurrent_tasks: Annotated[int, Field(ge=1, le=5000)] = 500
    """Executors that run at once in one worker."""

    graceful_shutdown_timeout: Duration = Field(default="10s", validate_default=True)  # type: ignore[assignment]  # pydantic reads it
    """How long running executors may go on after a stop signal."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least serious events that are logged."""

    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is for people on a terminal and JSON elsewhere."""


def load_settings(**overrides: Any) -> Settings:
    """Read the environment; raises `InvalidSettings` with every problem at once."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise InvalidSettings([_problem(dict(item)) for item in error.errors()]) from None


def _problem(item: dict[str, Any]) -> str:
    name = f"{_PREFIX}{str(item['loc'][0]).upper()}"
    return f"{name}={item['input']!r}: {item['msg']}"
