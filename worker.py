"""Run the worker: `python worker.py [OPTIONS]` is `regrow worker [OPTIONS]`."""

import sys

from regrow.cli import main

if __name__ == "__main__":
    sys.exit(main(["worker", *sys.argv[1:]]))
