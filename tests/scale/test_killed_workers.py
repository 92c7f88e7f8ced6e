"""Trees of 10,000 tasks that two workers share, of whom one dies in the middle (`make long`)."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from benchmarks.shapes import Shape, chain, diamond, fan, layered
from tests.e2e.command import Shell, free_port, interrupt, until_serving, wait_until

TASKS: Final = 10_000
PATIENCE: Final = 3_000
SHAPES: Final = (fan(TASKS), chain(TASKS), layered(100, 100), diamond(TASKS))

pytestmark = [
    pytest.mark.skipif(not os.environ.get("REGROW_LONG"), reason="takes minutes"),
    pytest.mark.timeout(PATIENCE),
]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Shell]:
    shell, port = Shell(tmp_path), free_port()
    shell.env |= {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}"}
    shell.env |= {"REGROW_LOG_LEVEL": "ERROR"}  # else what nobody reads fills the pipe
    own = ("--no-worker", "--db", "state.db", "--port", str(port), "--ui-port", str(free_port()))
    with shell.running("dev", *own) as process:
        until_serving(process, port)
        yield shell
        interrupt(process)


def lines(shell: Shell, word: str) -> list[str]:
    return [line.split(" ", 1)[1] for line in shell.log() if line.startswith(f"{word} ")]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_killed_worker_loses_nothing_of_a_large_tree(dev: Shell, shape: Shape) -> None:
    document: dict[str, Any] = shape.document(executor="write_line", inputs={"seconds": 0})
    tree = dev.write("tree.json", document)
    worker = ("worker", "--executors", dev.executors)
    with dev.running(*worker) as first, dev.running(*worker):
        assert dev.run("start", tree, "-w", "large").returncode == 0
        wait_until(lambda: len(lines(dev, "done")) >= TASKS // 3, seconds=PATIENCE)
        first.kill()
        first.wait()
        done = dev.run("result", "-w", "large", "-o", "json", timeout=PATIENCE)

    started = Counter(line.split()[0] for line in lines(dev, "start"))
    keys = dict(line.split() for line in lines(dev, "start"))
    assert json.loads(done.stdout)["counts"]["completed"] == TASKS
    assert set(lines(dev, "done")) == {f"t{at}" for at in range(TASKS)}
    assert keys == {task_id: f"large/{task_id}" for task_id in started}
    again = sum(started.values()) - TASKS
    assert again <= document["max_in_flight"]
