"""Runs a page's Python in one namespace, block after block, as at a prompt; a process of its own.

Each line of standard input is a block as JSON, `[page, line, code]`; each is answered by one line,
the traceback as JSON, or null if all is well.
"""

import ast
import asyncio
import inspect
import json
import os
import sys
import traceback
from types import CodeType, ModuleType


def compiled(page: str, line: int, code: str) -> CodeType:
    """Compile a block, `await` at its top level included, such that errors name the page."""
    tree = ast.parse(code, page)
    ast.increment_lineno(tree, line - 1)
    return compile(tree, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def main() -> None:
    """Answer until there is nothing more to run."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the page prints is no answer
    sys.path.insert(0, str(os.getcwd()))  # noqa: PTH109
    page = sys.modules["page"] = ModuleType("page")
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(_trouble(runner, page, json.loads(line))), file=replies, flush=True)


def _trouble(runner: asyncio.Runner, page: ModuleType, block: list[object]) -> str | None:
    async def run() -> None:
        outcome = eval(code, vars(page))
        if inspect.isawaitable(outcome):
            await outcome

    try:
        code = compiled(*block)  # type: ignore[arg-type]  # as it was sent
        runner.run(run())
    except Exception:  # noqa: BLE001 - a page may be wrong in any way
        return traceback.format_exc(limit=-3)
    return None


if __name__ == "__main__":
    main()
