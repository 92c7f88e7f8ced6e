"""What a command shows and writes."""

import json
from pathlib import Path

import pytest
from benchmarks.figures import Spread, exactly
from benchmarks.report import Report, target_cells


def a_report() -> Report:
    report = Report("python -m benchmarks.some", "2 cores", 0.25)
    report.run(what="fan-3", wall=0.5)
    report.table("shapes", shape="fan-3", worker_cpu=0.25)
    report.row("stock.cpu", "CPU", "≤ 0.45", Spread(0.412345, 0.4, 0.43))
    report.row("batch.items", "A batch", "≥ 20,000", exactly(25_000), "items/s")
    return report


def test_a_target_is_shown_with_what_came_out() -> None:
    ratio, rate = [target_cells(record) for record in a_report().records if "row" in record]

    assert ratio == {
        "what": "CPU",
        "target": "≤ 0.45",
        "result": "0.412",
        "spread": "0.400 to 0.430",
        "met": "yes",
    }
    assert (rate["result"], rate["spread"]) == ("25,000 a second", "")


def test_tables_name_the_command_and_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    a_report().show()
    shown = capsys.readouterr().out

    assert "python -m benchmarks.some" in shown
    assert "2 cores" in shown
    assert "worker cpu" in shown
    assert "0.250" in shown


def test_lines_of_json_take_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results" / "some.jsonl"
    a_report().write(path)
    a_report().write(path)
    run, table, row, _ = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    assert run["run"] == {"what": "fan-3", "wall": 0.5}
    assert table["table"] == "shapes"
    assert table["cells"] == {"shape": "fan-3", "worker cpu": "0.250"}
    assert row == {
        "row": "stock.cpu",
        "what": "CPU",
        "target": "≤ 0.45",
        "result": 0.4123,
        "low": 0.4,
        "high": 0.43,
        "unit": "ratio",
        "command": "python -m benchmarks.some",
        "machine": "2 cores",
        "load": 0.2,
    }
