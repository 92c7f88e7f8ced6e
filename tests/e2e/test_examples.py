"""The small examples, run as their READMEs say."""

import csv
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import pytest
from tests.e2e.command import Shell, answers, free_port, interrupt, wait_until

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
NAMES: Final = ("approval", "fallback", "map", "saga", "subtrees")
DONE, FAILED = 0, 3


class Example(Shell):
    """One of the examples, run in a directory of its own."""

    def __init__(self, name: str, directory: Path, **env: str) -> None:
        super().__init__(directory, **env)
        self.tree = EXAMPLES / name / "tree.yaml"
        self.executors = EXAMPLES / name / "executors.py"

    def result(self, *args: str, code: int = DONE) -> dict[str, Any]:
        done = self.run("run", self.tree, "--executors", self.executors, "-o", "json", *args)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def rows(self, name: str) -> list[list[str]]:
        with (self.directory / name).open(newline="") as file:
            return list(csv.reader(file))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_its_schema_its_command_and_no_warnings(name: str, tmp_path: Path) -> None:
    example = Example(name, tmp_path)

    checked = example.run("validate", example.tree, "--executors", example.executors)

    assert checked.returncode == DONE, checked.stderr
    assert "warning" not in checked.stderr
    readme = (EXAMPLES / name / "README.md").read_text()
    assert len(readme.splitlines()) <= 15
    assert "$ regrow run tree.yaml " in readme
    for document in (EXAMPLES / name).glob("*.yaml"):
        first = document.read_text().partition("\n")[0]
        assert first == ("# yaml-language-server: $schema=../../src/regrow/tree.schema.json"), (
            document
        )


# fallback


def test_prices_are_converted_with_the_shipped_rates_when_nobody_answers(tmp_path: Path) -> None:
    example = Example("fallback", tmp_path)

    result = example.result()

    primary, fallback = result["tasks"]["primary"], result["tasks"]["fallback"]
    assert (primary["status"], primary["error_type"]) == ("failed", "rates_unavailable")
    assert primary["attempts"] == 2
    assert fallback["status"] == "completed"
    assert result["outputs"]["converted"]["rates"] == "shipped"
    assert "no rates from 127.0.0.1:9" in result["outputs"]["why_not_live"]
    assert example.rows("prices-eur.csv") == [
        ["product", "euro"],
        ["Teapot", "34.90"], ["Cup", "9.43"], ["Kettle", "77.59"], ["Tray", "26.40"],
        ["Gift box", "49.50"],
    ]  # fmt: skip


def test_the_fallback_is_skipped_when_the_service_answers(tmp_path: Path) -> None:
    example, port = Example("fallback", tmp_path), free_port()
    rates = {"as_of": "2025-02-03", "in_euro": {"EUR": 1, "CHF": 2, "GBP": 3, "USD": 4}}
    example.write("rates.json", rates)
    serve = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(serve, cwd=tmp_path, stderr=subprocess.DEVNULL) as service:
        try:
            wait_until(lambda: answers(port))
            result = example.result("--set", f"service=127.0.0.1:{port}")
        finally:
            service.terminate()

    assert result["tasks"]["primary"]["status"] == "completed"
    assert result["tasks"]["fallback"]["status"] == "skipped"
    assert result["outputs"]["converted"]["rates"] == "live"
    assert result["outputs"]["converted"]["as_of"] == "2025-02-03"
    assert result["outputs"]["why_not_live"] is None
    assert ["Cup", "17.80"] in example.rows("prices-eur.csv")


# approval


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """`regrow dev` in one terminal; the tests are the others."""
    port = free_port()
    example = Example(
        "approval", tmp_path_factory.mktemp("dev"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}"
    )
    with example.running(*serving(example, port)) as server:
        wait_until(lambda: answers(port))
        yield example
        interrupt(server)


def serving(example: Example, port: int) -> tuple[str, ...]:
    return (
        "dev", "--db", "state.db", "--executors", str(example.executors),
        "--port", str(port), "--ui-port", str(free_port()),
    )  # fmt: skip


def await_review(example: Example, tree_id: str) -> None:
    def waits() -> bool:
        shown = example.run("show", "-w", tree_id, "-o", "json")
        if shown.returncode != DONE:  # it isn't started yet
            return False
        tasks = json.loads(shown.stdout)["tasks"]
        return all(tasks[name]["status"] == "in_progress" for name in ("review", "tests"))

    wait_until(waits)


def paths(name: str) -> tuple[str, ...]:
    """Where a release of that name goes."""
    return ("--set", f"public={name}", "--set", f"archive={name}.zip")


def send_tests(example: Example, tree_id: str, *, failed: int) -> subprocess.CompletedProcess[str]:
    payload = json.dumps({"passed": 212, "failed": failed})
    return example.run("event", "tests-finished", "-w", tree_id, "--payload", payload)


def test_a_release_is_published_once_a_person_and_the_tests_say_so(dev: Example) -> None:
    with dev.running("run", dev.tree, "-w", "release-1", "-o", "json", *paths("good")) as run:
        await_review(dev, "release-1")
        approved = dev.run("approve", "review", "--by", "ann", "-w", "release-1")
        assert not (dev.directory / "good").exists()
        sent = send_tests(dev, "release-1", failed=0)
        stdout, stderr = run.communicate(timeout=30)

    assert (approved.returncode, sent.returncode) == (DONE, DONE), approved.stderr + sent.stderr
    assert run.returncode == DONE, stderr
    result = json.loads(stdout)
    assert result["outputs"]["approved_by"] == "ann"
    assert result["tasks"]["review"]["result"]["approved"] is True
    current = dev.directory / "good" / "current"
    assert current.resolve() == (dev.directory / result["outputs"]["published"]["folder"]).resolve()
    site = EXAMPLES / "approval" / "site"
    for path in site.iterdir():
        assert (current / path.name).read_bytes() == path.read_bytes()
    release = json.loads((current / "release.json").read_text())
    assert release["approved_by"] == "ann"
    assert release["tests"] == {"passed": 212, "failed": 0}
    archive = dev.directory / "good.zip"
    assert release["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    with ZipFile(archive) as packed:
        assert sorted(packed.namelist()) == sorted(path.name for path in site.iterdir())


def test_a_rejected_release_ends_at_once_and_is_not_published(dev: Example) -> None:
    with dev.running("run", dev.tree, "-w", "release-2", "-o", "json", *paths("refused")) as run:
        await_review(dev, "release-2")
        dev.run(
            "approve", "review", "--reject", "--by", "ann", "--note", "too early", "-w", "release-2"
        )
        stdout, stderr = run.communicate(timeout=30)

    assert run.returncode == FAILED, stderr
    tasks = json.loads(stdout)["tasks"]
    assert tasks["review"]["error"] == "rejected by ann: too early"
    assert tasks["review"]["error_type"] == "rejected"
    for name in ("tests", "publish"):
        assert tasks[name]["status"] == "cancelled"
        assert tasks[name]["because"]["task_id"] == "review"
    assert not (dev.directory / "refused").exists()


def test_silence_is_a_no(dev: Example) -> None:
    done = dev.run(
        "run", dev.tree, "-w", "release-3", "-o", "json", *paths("late"), "--set", "patience=1s"
    )

    assert done.returncode == FAILED, done.stderr
    tasks = json.loads(done.stdout)["tasks"]
    assert tasks["review"]["error_type"] == "rejected"
    assert "nobody answered within 1s" in tasks["review"]["error"]
    assert not (dev.directory / "late").exists()


def test_what_fails_its_tests_is_not_published(dev: Example) -> None:
    with dev.running("run", dev.tree, "-w", "release-4", "-o", "json", *paths("broken")) as run:
        await_review(dev, "release-4")
        send_tests(dev, "release-4", failed=3)
        dev.run("approve", "review", "-w", "release-4")
        stdout, stderr = run.communicate(timeout=30)

    assert run.returncode == DONE, stderr
    publish = json.loads(stdout)["tasks"]["publish"]
    assert (publish["status"], publish["because"]["reason"]) == ("skipped", "condition")
    assert not (dev.directory / "broken").exists()


def test_an_approval_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    port = free_port()
    example = Example("approval", tmp_path, TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    with example.running(*serving(example, port)) as server:
        wait_until(lambda: answers(port))
        started = example.run("start", example.tree, "-w", "release-1")
        await_review(example, "release-1")
        approved = example.run("approve", "review", "--by", "ann", "-w", "release-1")
        interrupt(server)
    with example.running(*serving(example, port)) as server:
        wait_until(lambda: answers(port))
        sent = send_tests(example, "release-1", failed=0)
        result = example.run("result", "-w", "release-1", "-o", "json")
        interrupt(server)

    for done in (started, approved, sent, result):
        assert done.returncode == DONE, done.stderr
    assert json.loads(result.stdout)["outputs"]["approved_by"] == "ann"
    assert (tmp_path / "public" / "current" / "index.html").exists()


# map


def make_statements(directory: Path, *bad: str) -> list[Path]:
    script = EXAMPLES / "map" / "make_data.py"
    subprocess.run([sys.executable, script, "statements", *bad], cwd=directory, check=True)
    return sorted((directory / "statements").iterdir())


def adds_up(file: Path) -> bool:
    """Judge a statement in another way than the example does: in cents, line by line."""
    rows = [line.split(",") for line in file.read_text().splitlines()]
    cents = [round(float(amount) * 100) for _, amount in rows if amount]
    whole = rows[-1][0] == "closing" and len(cents) == len(rows)
    return whole and sum(cents[:-1]) == cents[-1]


def test_a_map_tolerates_a_tenth_of_bad_statements(tmp_path: Path) -> None:
    example = Example("map", tmp_path)
    files = make_statements(tmp_path)

    result = example.result()

    bad = [file.name for file in files if not adds_up(file)]
    report, check = result["outputs"]["report"], result["tasks"]["check"]
    assert len(bad) == 3
    assert (report["sound"], report["bad"]) == (37, bad)
    assert [file.name for file, item in zip(files, check["result"], strict=True) if not item] == bad
    assert check["metadata"]["failed"] == 3
    assert {error["error_type"] for error in check["metadata"]["errors"]} == {
        "does_not_add_up", "incomplete", "unreadable",
    }  # fmt: skip
    header, *rows = example.rows("report.csv")
    assert header == ["statement", "movements", "closing"]
    assert [row[0] for row in rows] == [file.name for file in files]
    assert [row[0] for row in rows if row[1] == "bad"] == bad
    closing_balances = [Decimal(row[2]) for row in rows if row[2]]
    assert sum(closing_balances) == Decimal(report["total"])


def test_a_map_fails_when_more_are_bad(tmp_path: Path) -> None:
    example = Example("map", tmp_path)
    make_statements(tmp_path, "6")

    result = example.result(code=FAILED)

    check = result["tasks"]["check"]
    assert check["error_type"] == "map_failed"
    assert check["metadata"]["failed"] > 4
    assert "of 40 items failed: item 0: statements/statement-01.csv: " in check["error"]
    assert result["tasks"]["report"]["status"] == "skipped"
    assert not (tmp_path / "report.csv").exists()


# saga


def test_what_cannot_be_paid_is_undone_in_reverse_and_what_can_is_kept(tmp_path: Path) -> None:
    example = Example("saga", tmp_path)

    def saved(sql: str) -> list[Any]:
        with closing(sqlite3.connect(tmp_path / "journey.sqlite3")) as db:
            return db.execute(sql).fetchall()

    failed = example.result(code=FAILED)

    assert failed["tasks"]["pay"]["error"] == "ann has 500 euros, but 890 are due"
    assert failed["tasks"]["pay"]["error_type"] == "insufficient_money"
    undone = {name: task.get("compensation") for name, task in failed["tasks"].items()}
    assert {name: end["status"] for name, end in undone.items() if end} == {
        "flight": "completed", "hotel": "completed", "car": "completed",
    }  # fmt: skip
    assert [what for (what,) in saved("SELECT what FROM journal ORDER BY line")] == [
        "deposited 500", "booked flight", "booked hotel", "booked car",
        "cancelled car", "cancelled hotel", "cancelled flight",
    ]  # fmt: skip
    assert saved("SELECT what FROM bookings WHERE state <> 'cancelled'") == []
    assert saved("SELECT owner, euros FROM accounts") == [("ann", 500)]

    completed = example.result()

    assert completed["outputs"] == {"paid": 890, "left": 110}
    assert saved("SELECT what, price FROM bookings WHERE state = 'booked' ORDER BY rowid") == [
        ("flight", 420), ("hotel", 310), ("car", 160),
    ]  # fmt: skip
    assert saved("SELECT owner, euros FROM accounts") == [("ann", 110)]


# sub-trees


def test_every_text_is_measured_by_a_tree_of_its_own(tmp_path: Path) -> None:
    example = Example("subtrees", tmp_path)
    texts = sorted((EXAMPLES / "subtrees" / "texts").iterdir())
    words = {path.stem: len(path.read_text().split()) for path in texts}

    result = example.result()

    features = result["tasks"]["features"]["result"]
    assert {Path(item["text"]).stem: item["words"] for item in features} == words
    assert result["outputs"] == {
        "easiest": "bicycle", "table": "texts.csv", "words": sum(words.values()),
    }  # fmt: skip
    header, *rows = example.rows("texts.csv")
    assert header == ["text", "words", "ease", "common"]
    assert [row[0] for row in rows] == ["bicycle", "river", "contract"]
    assert [float(row[2]) for row in rows] == sorted(item["ease"] for item in features)[::-1]


def test_a_failure_deep_inside_is_named_by_its_path(tmp_path: Path) -> None:
    example = Example("subtrees", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("One sentence. Another one.")
    (tmp_path / "mine" / "b.txt").write_text("no full stop")

    result = example.result("--set", f"folder={tmp_path / 'mine'}", code=FAILED)

    features = result["tasks"]["features"]
    assert features["error_type"] == "map_failed"
    assert "item 1: features[1]/ease/sentence: divide was given invalid" in features["error"]
    assert result["tasks"]["rank"]["status"] == "skipped"
    assert not (tmp_path / "texts.csv").exists()
