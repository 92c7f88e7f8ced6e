"""`regrow graph`, of files and of runs."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from temporalio.client import WorkflowHistory
from tests.e2e.command import Shell

from regrow import TreeClient, TreeFailed, executor_register
from regrow.client import Fold
from regrow.core.draw import dot, marks_of, mermaid, picture_of, svg
from regrow.core.draw.details import MOST_BYTES, details
from regrow.core.draw.text import text
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

HISTORIES = Path(__file__).parents[1] / "replay" / "histories"
TREE: dict[str, Any] = {
    "name": "orders",
    "tasks": [
        {"id": "fetch", "executor": "noop"},
        {"id": "clean", "executor": "fail", "dependencies": ["fetch"]},
        {"id": "save", "executor": "noop", "dependencies": ["clean"]},
    ],
}
REFUSED = ("a_bad_document_fails_at_once", "an_unknown_executor_fails_at_once")
RECORDED = sorted(path for path in HISTORIES.glob("*.json") if path.stem not in REFUSED)
LAYERS = {
    "name": "layers",
    "tasks": [
        {
            "id": f"t{at}",
            "executor": "noop",
            "dependencies": [f"t{other}" for other in range(at - 105, at, 35) if at >= 105],
        }
        for at in range(5_000)
    ],
}


@executor_register()
async def noop(inputs: dict[str, Any]) -> int:
    return 1


@executor_register()
async def fail(inputs: dict[str, Any]) -> Any:
    return {"status": "failed", "error": "it broke"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_a_file_is_drawn_before_anything_runs(shell: Shell) -> None:
    file = shell.write("tree.json", TREE)

    drawn = {
        form: shell.run("graph", file, "--format", form).stdout
        for form in ("text", "mermaid", "dot", "svg")
    }

    assert drawn["text"] == (
        "orders: 3 tasks\nfetch  [noop]\nclean  [fail]  after fetch\nsave   [noop]  after clean\n"
    )
    assert drawn["mermaid"].splitlines()[-1] == "  t1 --> t2"
    assert '"clean" -> "save"' in drawn["dot"]
    assert ET.fromstring(drawn["svg"]).tag.endswith("svg")


async def test_a_run_is_drawn_with_how_its_tasks_stand(
    shell: Shell, server: EmbeddedServer
) -> None:
    async with worker_env(server.client, noop, fail) as client:
        handle = await TreeClient.start(client, TREE)
        with pytest.raises(TreeFailed):
            await handle.result()

    drawn = shell.run("graph", "-w", handle.id, "--address", server.address).stdout
    image = shell.run("graph", "-w", handle.id, "--address", server.address, "--format", "svg")

    header, *rows = drawn.splitlines()
    assert header == "orders: 1 completed, 1 failed, 1 skipped"
    assert rows[0].startswith("✔ fetch  ")
    assert rows[1].endswith(" · it broke")
    assert rows[2] == "‖ save   skipped · because clean failed"
    assert "✘ clean" in image.stdout


def test_a_downloaded_history_is_drawn(shell: Shell) -> None:
    history = HISTORIES / "an_optional_failure_is_tolerated.json"

    drawn = shell.run("graph", "--history", history)

    assert drawn.returncode == 0
    assert "tolerated" in drawn.stdout


@pytest.mark.parametrize("form", ["text", "mermaid", "dot", "svg"])
def test_five_thousand_tasks_are_drawn_in_a_bounded_size(shell: Shell, form: str) -> None:
    drawn = shell.run("graph", shell.write("tree.json", LAYERS), "--format", form).stdout

    assert drawn
    assert len(drawn.encode()) < 30_000


def test_it_is_one_thing_that_is_drawn(shell: Shell) -> None:
    neither, both = shell.run("graph"), shell.run("graph", "tree.yaml", "-w", "x")

    assert (neither.returncode, both.returncode) == (2, 2)
    assert "say what to draw" in neither.stderr
    assert neither.stderr == both.stderr


def test_of_a_tree_that_was_refused_it_is_said_why(shell: Shell) -> None:
    drawn = shell.run("graph", "--history", HISTORIES / "a_bad_document_fails_at_once.json")

    assert drawn.returncode == 2
    assert "there is no task 'nowhere'" in drawn.stderr


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_run_can_be_drawn(path: Path) -> None:
    fold = Fold(path.stem)
    fold.feed(WorkflowHistory.from_json(path.stem, json.loads(path.read_text())).events)
    fold.finish()
    assert fold.tree
    marks = marks_of(fold.run) if fold.run else None
    picture = picture_of(fold.tree, marks)

    ET.fromstring(svg(picture))
    assert mermaid(picture).count("[") >= len(picture.nodes)
    assert dot(picture).count("label=") == len(picture.nodes)
    assert len(text(fold.tree, marks).splitlines()) == len(fold.tree.tasks) + 1
    assert fold.run is None or len(details(fold.run).encode()) <= MOST_BYTES
