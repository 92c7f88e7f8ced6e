"""What the comparison with peers says of its findings, and how it checks a run."""

from pathlib import Path
from typing import Any

import pytest
from benchmarks.peers.contract import check, levels
from benchmarks.peers.environments import Place
from benchmarks.peers.field import COURSES, PEERS, Course, Peer
from benchmarks.peers.measure import Finding
from benchmarks.peers.table import Findings, markdown, records
from benchmarks.shapes import chain, fan

OURS = Peer("ours", "Ours 1", "ours", "a file", "a kill")
THEIRS = Peer("theirs", "Theirs 2", "theirs", "memory", "nothing")
FAN = Course("fan-3", "Fan of 3", fan(3))
CHAIN = Course("chain-2", "Chain of 2", chain(2))


def rows(findings: Findings, *, cpu: bool = False) -> list[str]:
    return markdown([OURS, THEIRS], [FAN, CHAIN], findings, cpu=cpu).splitlines()[2:]


def test_the_table_has_a_row_for_each_peer_and_a_column_for_each_course() -> None:
    findings = {
        ("fan-3", "ours"): [Finding(2.0), Finding(1.0), Finding(4.0)],
        ("chain-2", "ours"): [Finding(0.0123)],
        ("fan-3", "theirs"): [Finding(3.0)],
    }

    table = markdown([OURS, THEIRS], [FAN, CHAIN], findings).splitlines()

    assert table == [
        "| Peer | Fan of 3 | Chain of 2 | Storage | Finished tasks survive |",
        "| --- | ---: | ---: | --- | --- |",
        "| Ours 1 | 2.00 s (1.00 s to 4.00 s) | 12.3 ms | a file | a kill |",
        "| Theirs 2 | 3.00 s | - | memory | nothing |",
    ]


def test_a_peer_that_cannot_be_had_says_so_once() -> None:
    gone = [Finding(said="not installable here: no such package")]

    ours, theirs = rows({("fan-3", "theirs"): gone, ("chain-2", "theirs"): gone})

    assert ours == "| Ours 1 | - | - | a file | a kill |"
    assert theirs.startswith("| Theirs 2 | not installable here: no such package | - | memory")


def test_a_limit_that_was_passed_in_one_round_stands_beside_the_figures_of_the_others() -> None:
    ours, _ = rows({("fan-3", "ours"): [Finding(9.0), Finding(said="> 10 s")]})

    assert ours.startswith("| Ours 1 | 9.00 s; > 10 s | - |")


def test_words_do_not_break_the_table() -> None:
    ours, _ = rows({("fan-3", "ours"): [Finding(said="failed: a | b")]})

    assert r"failed: a \| b" in ours


def test_processor_time_has_the_same_table() -> None:
    ours, _ = rows({("fan-3", "ours"): [Finding(9.0, cpu=1.5)]}, cpu=True)

    assert ours.startswith("| Ours 1 | 1.50 s | - |")


def test_a_record_has_the_median_and_the_range() -> None:
    findings = {("fan-3", "ours"): [Finding(2.0), Finding(1.0), Finding(4.0)]}

    assert records([OURS], [FAN, CHAIN], findings, "python -m this") == [
        {
            "row": "peers-fan-3-ours",
            "what": "Fan of 3: Ours 1 (a file)",
            "target": "reported",
            "result": 2.0,
            "low": 1.0,
            "high": 4.0,
            "unit": "s",
            "command": "python -m this",
        }
    ]


def test_a_record_without_a_figure_says_why() -> None:
    findings = {("fan-3", "ours"): [Finding(said="> 10 s")]}

    (record,) = records([OURS], [FAN], findings, "")

    assert record["what"] == "Fan of 3: Ours 1 (a file); > 10 s"
    assert (record["result"], record["low"], record["high"]) == (None, None, None)


def test_tasks_are_grouped_after_all_that_they_depend_on() -> None:
    assert levels([(), (), (0,), (2, 1), (1,)]) == [[0, 1], [2, 4], [3]]
    assert levels([]) == []


def results(count: int) -> list[dict[str, int]]:
    return [{"task": at} for at in range(count)]


def test_a_run_in_order_with_all_results_is_accepted() -> None:
    check([(), (), (0, 1)], [1, 0, 2], results(3))


@pytest.mark.parametrize(
    ("done", "given", "why"),
    [
        ([0, 1], results(3), "2 runs of 2 tasks, not one of each of 3"),
        ([0, 1, 1], results(3), "3 runs of 2 tasks, not one of each of 3"),
        ([0, 2, 1], results(3), "task 2 ran before what it depends on"),
        ([0, 1, 2], [*results(2), None], "the result of task 2 is None"),
    ],
)
def test_any_other_run_is_refused(done: list[int], given: list[Any], why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check([(), (), (0, 1)], done, given)


def test_names_of_peers_and_courses_are_their_own() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    assert len({course.name for course in COURSES}) == len(COURSES)


def test_a_peer_imports_nothing_of_ours_and_finds_its_commands_first() -> None:
    variables = Place("python", (Path("theirs"),), ()).variables()

    assert variables["PYTHONPATH"] == ""
    assert variables["PATH"].startswith("theirs")


def test_every_version_is_pinned() -> None:
    environments = [peer.environment for peer in PEERS if peer.environment]

    assert all("==" in each for environment in environments for each in environment.python)
    assert all("@" in each[1:] for environment in environments for each in environment.node)
