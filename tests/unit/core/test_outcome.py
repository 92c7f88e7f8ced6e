from typing import Any

import pytest

from regrow.core.outcome import (
    Answer,
    Because,
    attempts_of,
    completed,
    failed,
    outcome_of,
    read_answer,
    short_error,
)
from regrow.core.wire import Status


@pytest.mark.parametrize("value", [None, False, 0, 1.5, "text", [], [1], {}, {"a": 1}])
def test_anything_that_is_json_is_a_result(value: Any) -> None:
    assert read_answer(value) == Answer(ok=True, result=value)


@pytest.mark.parametrize(
    "value",
    [
        {"success": False},
        {"status": "active", "result": 1},
        {"status": None, "result": 1},
        {"status": ["failed"]},
        {"status": "cancelled"},
        {"result": 1},
    ],
)
def test_mapping_without_a_known_status_is_a_plain_value(value: Any) -> None:
    assert read_answer(value) == Answer(ok=True, result=value)


@pytest.mark.parametrize(
    ("value", "result", "metadata"),
    [
        ({"result": 1}, 1, {}),
        ({"result": None}, None, {}),
        ({"result": {"a": 1}, "took": 2}, {"a": 1}, {"took": 2}),
        ({"result": 1, "metadata": {"a": 1}, "took": 2}, 1, {"a": 1, "took": 2}),
        ({"result": 1, "metadata": {"took": 1}, "took": 2}, 1, {"took": 2}),
        ({"result": 1, "metadata": "text"}, 1, {"metadata": "text"}),
        ({}, {}, {}),
        ({"rows": 5, "metadata": {"a": 1}}, {"rows": 5, "metadata": {"a": 1}}, {}),
    ],
)
def test_completed_mapping_gives_its_result_else_its_other_keys(
    value: dict[str, Any], result: Any, metadata: dict[str, Any]
) -> None:
    answer = read_answer({"status": "completed", **value})

    assert (answer.ok, answer.result, answer.metadata) == (True, result, metadata)


@pytest.mark.parametrize(
    ("value", "error", "error_type"),
    [
        ({"error": "e", "error_type": "t"}, "e", "t"),
        ({"error": "e"}, "e", "execution_error"),
        ({"error": "e", "error_type": ""}, "e", "execution_error"),
        ({"error": "e", "error_type": None}, "e", "execution_error"),
        ({"error": 404, "error_type": 5}, "404", "5"),
        ({"error": ""}, "unknown error", "execution_error"),
        ({"error": None}, "unknown error", "execution_error"),
        ({}, "unknown error", "execution_error"),
    ],
)
def test_failed_mapping_says_why(value: dict[str, Any], error: str, error_type: str) -> None:
    answer = read_answer({"status": "failed", "result": "ignored?", **value})

    assert (answer.ok, answer.error, answer.error_type) == (False, error, error_type)


@pytest.mark.parametrize(
    ("value", "retryable"),
    [(True, True), (False, False), ("yes", False), (1, False), (None, False)],
)
def test_failure_is_retried_only_if_retryable_is_true(value: Any, *, retryable: bool) -> None:
    assert read_answer({"status": "failed", "retryable": value}).retryable is retryable
    assert not read_answer({"status": "failed"}).retryable


@pytest.mark.parametrize(
    ("value", "after"),
    [
        (5, 5.0),
        (0.5, 0.5),
        (0, 0.0),
        (-1, None),
        (True, None),
        ("5", None),
        (None, None),
        (float("nan"), None),
        pytest.param(float("inf"), None),
    ],
)
def test_retry_after_is_a_number_of_seconds(value: Any, after: float | None) -> None:
    assert read_answer({"status": "failed", "retry_after": value}).retry_after == after


def test_other_keys_of_a_failure_are_kept() -> None:
    value: dict[str, Any] = {
        "status": "failed",
        "error": "e",
        "error_type": "t",
        "retryable": True,
        "retry_after": 1,
        "field": "url",
        "metadata": {"attempt": 2},
    }

    assert read_answer(value).metadata == {"field": "url", "attempt": 2}


def test_answer_of_a_foreign_worker_goes_through_the_same_table() -> None:
    done = outcome_of({"status": "completed", "result": 1, "metadata": {"attempt": 3}})
    broken = outcome_of({"status": "failed", "error": "e", "retryable": True})

    assert (done.status, done.result, done.attempts) == (Status.COMPLETED, 1, 3)
    assert (broken.status, broken.error, broken.attempts) == (Status.FAILED, "e", None)
    assert outcome_of("text").attempts is None


@pytest.mark.parametrize(
    ("attempt", "attempts"),
    [
        (2, 2),
        ("2", None),
        (None, None),
        pytest.param(True, None),
    ],
)
def test_attempts_are_what_the_host_said(attempt: Any, attempts: int | None) -> None:
    assert attempts_of({"attempt": attempt}) is attempts


def test_long_error_is_cut_and_says_so() -> None:
    assert short_error("x" * 10_000) == "x" * 10_000
    assert short_error("x" * 10_001) == "x" * 10_000 + "… (10001 characters in all)"
    assert outcome_of({"status": "failed", "error": "x" * 20_000}).error == short_error(
        "x" * 20_000
    )


def test_outcomes_made_by_hand() -> None:
    assert completed(1, attempts=2).with_attempts(3) == completed(1, attempts=3)
    assert failed("e", "t").status is Status.FAILED


def test_because_is_written_with_all_its_keys() -> None:
    assert Because("dependency", "b", "a", "e", "t").as_json() == {
        "reason": "dependency",
        "task_id": "b",
        "root": "a",
        "error": "e",
        "error_type": "t",
    }


@pytest.mark.parametrize(
    ("status", "settled"),
    [
        ("pending", False),
        ("in_progress", False),
        ("completed", True),
        ("failed", True),
        ("cancelled", True),
        ("skipped", True),
    ],
)
def test_an_end_is_settled(status: str, *, settled: bool) -> None:
    assert Status(status).is_settled is settled
