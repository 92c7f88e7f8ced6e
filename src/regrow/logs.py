"""Logs: events with fields, for people on a terminal and as JSON elsewhere.

Our own events and those of libraries go through one chain. Workflow code is executed again on
every replay, so its events are dropped then.
"""

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog
from temporalio import workflow

from regrow.core.secrets import hide

_SDK_LOGGERS = ("temporalio",)

hidden_values: ContextVar[tuple[str, ...]] = ContextVar("regrow_hidden_values", default=())
"""Secrets that the executor which is running was given; no line shows them."""


def configure_logs(*, level: str = "INFO", style: str = "auto") -> None:
    """Send structlog and the standard library's loggers to stderr; safe to call again."""
    console = sys.stderr.isatty() if style == "auto" else style == "console"
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    errors = [] if console else [structlog.processors.format_exc_info]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _shorten_sdk],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *errors,
                _hide_secrets,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            _silent_on_replay,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.getLogger("temporalio.activity").addFilter(_is_not_task_failure)


def _silent_on_replay(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    if workflow.in_workflow() and workflow.unsafe.is_replaying_history_events():
        raise structlog.DropEvent
    return event


def _hide_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    values = hidden_values.get()
    if not values:
        return event
    told = structlog.processors.format_exc_info(_logger, _method, event)
    return hide(dict(told), values)


def _shorten_sdk(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The SDK appends its whole context to the message; ours is in fields."""
    record: logging.LogRecord = event["_record"]
    if record.name.startswith(_SDK_LOGGERS):
        text = str(event.get("event", ""))
        event["event"] = text.split(" ({", 1)[0]
    return event


def _is_not_task_failure(record: logging.LogRecord) -> bool:
    """The host has logged the failure of a task in one line already."""
    return getattr(record, "__temporal_error_identifier", None) != "ActivityFailure"
