"""What every built-in executor promises, whatever it does."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tests.executors.running import run_one

from regrow import TaskContext, TreeClient
from regrow.activities.catalogue import BUILT_IN, make_registry
from regrow.core.outcome import read_answer
from regrow.executors import ALIAS, Executor

ROOT = Path(__file__).parents[2]
ALL = list(make_registry())
OWN = [executor for executor in ALL if ALIAS not in executor.tags]
HEAVY = [executor for executor in ALL if executor.requires]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
LIBRARIES = sorted({library for executor in HEAVY for library in executor.requires})


def named(executor: Executor) -> str:
    return executor.id


own = pytest.mark.parametrize("executor", OWN, ids=named)
heavy = pytest.mark.parametrize("executor", HEAVY, ids=named)


@own
def test_it_says_what_it_takes_gives_and_does(executor: Executor) -> None:
    assert executor.description
    assert executor.tags
    assert executor.examples
    assert executor.input_schema()["properties"]
    assert executor.policy.heartbeat_timeout
    assert (ROOT / "docs" / "executors" / f"{executor.id}.md").exists()


@own
def test_its_examples_are_inputs_that_it_takes(executor: Executor) -> None:
    for example in executor.examples:
        given = json.loads(re.sub(r"\$\{\{.*?\}\}", "a-secret", json.dumps(example)))
        assert executor.input_errors(given) == []


@own
def test_its_demo_result_is_one_that_it_could_give(executor: Executor) -> None:
    for example in executor.examples:
        shown = executor.demo_answer(example, TaskContext())
        plain = TypeAdapter(Any).dump_python(shown, mode="json")
        value = read_answer(plain).result
        if "usage" in executor.output_schema().get("properties", {}):  # what goes to metadata
            value = {"status": "completed", "result": value, "usage": None}
        if executor.output_type is not Any:
            TypeAdapter(executor.output_type).validate_python(value)


@own
def test_its_file_says_which_errors_it_adds(executor: Executor) -> None:
    errors: dict[str, str] = getattr(import_module(executor.target.__module__), "ERRORS", {})

    assert all(meaning.endswith(".") for meaning in errors.values())
    assert all("etried" in meaning for meaning in errors.values()), "retried or not?"


@heavy
def test_what_it_needs_is_an_extra(executor: Executor) -> None:
    for need in executor.requires.values():
        extra = need.removeprefix("regrow[").removesuffix("]")
        assert extra in EXTRAS
        assert extra in EXTRAS["executors"][0]


@heavy
async def test_without_its_library_it_fails_by_the_name_of_the_extra(
    client: TreeClient, executor: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, need = next(iter(executor.requires.items()))
    monkeypatch.setitem(sys.modules, library, None)  # as if it weren't there

    ended = await run_one(client, executor.id, {})

    assert ended.failure == ("missing_extra", 1)
    assert f"pip install '{need}'" in (ended.task.error or "")


def test_knowing_all_of_them_imports_none_of_their_libraries() -> None:
    code = (
        "import sys, temporalio.worker; before = [*sys.modules];"
        "from regrow.activities.catalogue import make_registry;"
        "[e.input_schema() for e in make_registry()];"
        f"print([name for name in {LIBRARIES} if name in sys.modules and name not in before])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "[]"


def test_all_of_them_are_in_the_catalogue() -> None:
    folder = ROOT / "src" / "regrow" / "activities" / "catalogue"
    with_executors = {
        path.stem for path in folder.glob("*.py") if "@executor_register(" in path.read_text()
    }

    assert with_executors == {name.rpartition(".")[2] for name in BUILT_IN}
