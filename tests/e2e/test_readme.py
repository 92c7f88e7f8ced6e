"""The README tells the truth: its tree loads and runs, its executor is one, its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from regrow.client.yaml_text import parse_yaml
from regrow.core.loading import load
from regrow.executors import Registry, marked
from regrow.testing import tree_env

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, holding: str) -> str:
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return next(text for text in blocks if holding in text)


def test_the_tree_is_valid() -> None:
    tree = load(parse_yaml(block("yaml", "tasks:")))

    assert [task.id for task in tree.tasks] == ["fetch", "enrich", "save"]


def test_the_simulation_says_what_it_is_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tree.yaml").write_text(block("yaml", "tasks:"))
    code = "\n".join(f"    {line}" for line in block("python", "simulate(").splitlines())

    shown = subprocess.run(
        [sys.executable, "-c", f"import asyncio\nasync def main():\n{code}\nasyncio.run(main())"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert shown.returncode == 0, shown.stderr


async def test_the_executor_runs(tmp_path: Path) -> None:
    module = tmp_path / "readme_executor.py"
    module.write_text(block("python", "@executor_register"))
    registry = Registry()
    registry.discover([str(module)])
    registry.check()

    targets = marked(sys.modules["readme_executor"])
    async with tree_env(*targets) as client:
        handle = await client.start(
            [{"id": "save_user", "inputs": {"id": 7, "active": True}}], id="readme"
        )
        result = await handle.result()

    assert result.outputs["save_user"] == {"saved": 7, "key": "readme/save_user"}


def test_the_commands_exist() -> None:
    named: list[str] = re.findall(r"^(?:.*bin/)?regrow (\w+)", README, flags=re.MULTILINE)
    shown = subprocess.run(
        [sys.executable, "-m", "regrow", "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert {"dev", "worker", "start"} <= set(named)
    assert all(f"│ {name} " in shown for name in named), shown


def test_every_file_that_is_linked_exists() -> None:
    linked: list[str] = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)

    assert linked
    assert all((ROOT / path).exists() for path in linked)
