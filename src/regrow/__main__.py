"""`python -m regrow` is the `regrow` command."""

from regrow.cli import run_and_exit

run_and_exit()
