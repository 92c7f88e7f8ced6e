"""Loggers by the name that executors know."""

from typing import Any

import structlog


def get_logger(name: str = "regrow.executor") -> Any:
    """Give a structlog logger of that name; a worker writes its lines among its own."""
    return structlog.get_logger(name)
