"""The `regrow` command."""

from regrow.cli.main import main, run_and_exit

__all__ = ["main", "run_and_exit"]
