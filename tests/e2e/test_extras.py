"""Each extra alone, in an environment of its own: its executors have what they need.

Takes minutes and a package index, so it is part of `make long`.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.conftest import LONG

from regrow.activities.catalogue import make_registry

ROOT = Path(__file__).parents[2]
GATHER = ("executors", "all", "docs", "test", "dev")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra not in GATHER]
REQUIRED = {executor.id: set(executor.requires.values()) for executor in make_registry()}

pytestmark = pytest.mark.skipif(not LONG, reason="takes minutes: `make long`")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_an_extra_brings_what_its_executors_need_and_nothing_else(
    extra: str, tmp_path: Path
) -> None:
    python = tmp_path / "bin" / "python"
    _run(sys.executable, "-m", "venv", str(tmp_path))
    _run(str(python), "-m", "pip", "install", "-q", f"{ROOT}[{extra}]" if extra else str(ROOT))
    said = _run(str(python), "-m", "regrow", "executors", "-o", "json")

    have = {each["id"] for each in json.loads(said) if not each["missing"]}
    ready = {name for name, needs in REQUIRED.items() if needs <= {f"regrow[{extra}]"}}
    assert ready <= have
    if extra == "":
        assert have == ready


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout
