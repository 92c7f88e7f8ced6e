"""`system_info`: what the worker's machine is and how busy.

It is for choosing where and how much to run, so it says how large and how loaded the machine is,
and nothing about who it is: no host name or address, no user, no process, no environment, no paths.
A result stays in history, where many may read it, and those are what an intruder asks for first.
"""

import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from regrow.executors import TaskError, executor_register

SYSTEM_ERROR: Final = "system_error"
ERRORS: Final = {
    SYSTEM_ERROR: "The system didn't tell what was asked for. Retried.",
}

_INTERVAL: Final = 0.2
"""Seconds over which the use of the processors is measured."""

Kind = Literal["cpu", "memory", "disk", "platform", "load"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class SystemInfo(_Model):
    """What to tell."""

    kinds: Annotated[list[Kind], Field(min_length=1)] = [
        "cpu",
        "memory",
        "disk",
        "platform",
        "load",
    ]
    """Default: all of them."""


class Cpu(_Model):
    """The processors."""

    logical: int
    """Processors that the system counts."""
    physical: int | None
    """Cores, where the system tells them apart."""
    usable: int
    """Processors that this worker may run on."""
    percent: float
    """How busy they all were for a fifth of a second, 0 to 100."""


class Memory(_Model):
    """The machine's memory, in bytes; a container's own limit isn't seen."""

    total: int
    available: int
    """What a program could get without swapping."""
    percent: float
    """How much of it isn't available, 0 to 100."""
    swap_total: int
    swap_used: int


class Disk(_Model):
    """The file system that the worker's working directory is on, in bytes."""

    total: int
    used: int
    free: int
    """What a program could still write."""
    percent: float
    """How much is used, 0 to 100."""


class Platform(_Model):
    """The kind of machine and system."""

    system: str
    """Such as `Linux` or `Darwin`."""
    release: str
    """The version of the system's kernel."""
    machine: str
    """Such as `x86_64` or `arm64`."""
    python: str
    booted_at: datetime


class Load(_Model):
    """How many processes wanted a processor, on average over the last minutes."""

    one_minute: float
    five_minutes: float
    fifteen_minutes: float


class SystemInfoResult(_Model):
    """What was asked for; the rest is null."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    disk: Disk | None = None
    platform: Platform | None = None
    load: Load | None = None


_DEMO: Final[dict[str, Any]] = {
    "cpu": {"logical": 8, "physical": 4, "usable": 8, "percent": 12.5},
    "memory": {
        "total": 17_179_869_184,
        "available": 8_589_934_592,
        "percent": 50.0,
        "swap_total": 0,
        "swap_used": 0,
    },
    "disk": {
        "total": 107_374_182_400,
        "used": 26_843_545_600,
        "free": 80_530_636_800,
        "percent": 25.0,
    },
    "platform": {
        "system": "Linux",
        "release": "6.1.0",
        "machine": "x86_64",
        "python": "3.12.1",
        "booted_at": "2026-05-01T06:00:00Z",
    },
    "load": {"one_minute": 0.5, "five_minutes": 0.4, "fifteen_minutes": 0.3},
}


def _demo(inputs: Mapping[str, Any]) -> dict[str, Any]:
    kinds = inputs.get("kinds") or list(_DEMO)
    return {kind: told if kind in kinds else None for kind, told in _DEMO.items()}


@executor_register(
    "system_info",
    heartbeat_timeout="30s",
    tags=("system",),
    requires={"psutil": "regrow[system]"},
    examples=({"kinds": ["memory", "disk"]},),
    demo=_demo,
)
def system_info(inputs: SystemInfo) -> SystemInfoResult:
    """Tell how large the machine of a worker is, and how busy.

    Which worker that is depends on the task queue. It names no host, address, user, process or
    path, so a result may be read by everybody who may read the tree. Needs no permission of the
    operator. Safe to repeat. A system that doesn't answer is asked again (`system_error`). A cancel
    ends it within a fifth of a second.
    """
    try:
        return SystemInfoResult.model_validate({kind: _TELL[kind]() for kind in inputs.kinds})
    except (OSError, RuntimeError) as error:
        message = f"the system didn't tell what was asked for: {type(error).__name__}"
        raise TaskError(message, error_type=SYSTEM_ERROR, retryable=True) from None


def _cpu() -> Cpu:
    import psutil  # noqa: PLC0415 - an extra, for those who ask

    logical = psutil.cpu_count() or 1
    return Cpu(
        logical=logical,
        physical=psutil.cpu_count(logical=False),
        usable=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical,
        percent=psutil.cpu_percent(interval=_INTERVAL),
    )


def _memory() -> Memory:
    import psutil  # noqa: PLC0415

    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    return Memory(
        total=memory.total,
        available=memory.available,
        percent=memory.percent,
        swap_total=swap.total,
        swap_used=swap.used,
    )


def _disk() -> Disk:
    import psutil  # noqa: PLC0415

    usage = psutil.disk_usage(str(Path.cwd()))
    return Disk(total=usage.total, used=usage.used, free=usage.free, percent=usage.percent)


def _platform() -> Platform:
    import psutil  # noqa: PLC0415

    return Platform(
        system=platform.system(),
        release=platform.release(),
        machine=platform.machine(),
        python=platform.python_version(),
        booted_at=datetime.fromtimestamp(psutil.boot_time(), UTC),
    )


def _load() -> Load:
    import psutil  # noqa: PLC0415

    one, five, fifteen = psutil.getloadavg()
    return Load(one_minute=one, five_minutes=five, fifteen_minutes=fifteen)


_TELL: Final[Mapping[Kind, Callable[[], _Model]]] = {
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "platform": _platform,
    "load": _load,
}
