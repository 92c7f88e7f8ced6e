"""Run the worker: `python worker.py [OPTIONS]` is `regrow worker [OPTIONS]`."""

import sys

from regrow.cli import run_and_exit

if __name__ == "__main__":
    sys.argv.insert(1, "worker")
    run_and_exit()
