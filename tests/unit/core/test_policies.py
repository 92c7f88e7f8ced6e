from datetime import timedelta
from typing import Any

import pytest

from regrow.core.models import Policy, Task
from regrow.core.outcome import Answer
from regrow.core.policies import (
    LIBRARY,
    described_policy,
    foreign_policy,
    merged,
    next_attempt_after,
    says_something,
)

NOTHING = Policy()


def policy(**fields: Any) -> Policy:
    return Policy.model_validate(fields)


def test_library_defaults() -> None:
    made = described_policy(NOTHING, NOTHING, NOTHING)

    assert made.model_dump(mode="json", exclude_none=True) == {
        "start_to_close_timeout": 300,
        "heartbeat_timeout": 30,
        "retry": {
            "maximum_attempts": 3,
            "initial_interval": 1,
            "backoff_coefficient": 2.0,
            "maximum_interval": 60,
            "non_retryable_error_types": [
                "validation_error",
                "type_error",
                "contract_error",
                "PayloadsTooLarge",
                "PayloadSizeError",
            ],
        },
    }


@pytest.mark.parametrize(
    ("tree", "executor", "task", "attempts"),
    [
        (None, None, None, 3),
        (4, None, None, 4),
        (4, 5, None, 5),
        (4, 5, 6, 6),
        (4, None, 6, 6),
        (None, 5, None, 5),
        (None, None, 0, 0),
    ],
)
def test_later_layers_win(
    tree: int | None, executor: int | None, task: int | None, attempts: int
) -> None:
    layers = [
        policy(retry={"maximum_attempts": each}, start_to_close_timeout=each or None)
        for each in (tree, executor, task)
    ]

    made = described_policy(*layers)

    assert made.retry.maximum_attempts == attempts


def test_layers_merge_field_by_field() -> None:
    made = described_policy(
        policy(start_to_close_timeout="1s", retry={"maximum_attempts": 9}),
        policy(heartbeat_timeout="2s", retry={"initial_interval": "3s"}),
        policy(schedule_to_close_timeout="4s", retry={"backoff_coefficient": 5}),
    )

    assert made.start_to_close_timeout == timedelta(seconds=1)
    assert made.heartbeat_timeout == timedelta(seconds=2)
    assert made.schedule_to_close_timeout == timedelta(seconds=4)
    assert made.schedule_to_start_timeout is None
    assert (made.retry.maximum_attempts, made.retry.backoff_coefficient) == (9, 5)
    assert made.retry.initial_interval == timedelta(seconds=3)
    assert made.retry.maximum_interval == timedelta(minutes=1)


def test_error_types_that_are_never_retried_add_up_in_order_each_once() -> None:
    layers = [
        policy(retry={"non_retryable_error_types": types})
        for types in (["a", "b"], ["b"], ["c", "a"])
    ]

    assert merged(*layers).retry.non_retryable_error_types == ("a", "b", "c")


def test_task_gives_its_policy_only() -> None:
    task = Task.model_validate({"id": "a", "priority": 0, "heartbeat_timeout": "1s"})

    made = merged(LIBRARY, task)

    assert type(made) is Policy
    assert made.heartbeat_timeout == timedelta(seconds=1)


def test_task_on_another_queue_has_no_heartbeat_and_ends_if_nobody_takes_it() -> None:
    made = foreign_policy(policy(start_to_close_timeout="1s"), Task(id="a"))

    assert made.heartbeat_timeout is None
    assert made.schedule_to_start_timeout == timedelta(minutes=10)
    assert made.start_to_close_timeout == timedelta(seconds=1)
    assert "unknown_executor" in made.retry.non_retryable_error_types


def test_task_on_another_queue_may_ask_for_a_heartbeat() -> None:
    made = foreign_policy(NOTHING, policy(heartbeat_timeout="5s", schedule_to_start_timeout="1s"))

    assert made.heartbeat_timeout == timedelta(seconds=5)
    assert made.schedule_to_start_timeout == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, False),
        ({"retry": {}}, False),
        ({"retry": {"maximum_attempts": 3}}, True),
        ({"retry": {"non_retryable_error_types": ["x"]}}, True),
        ({"heartbeat_timeout": 1}, True),
    ],
)
def test_layer_says_something_if_any_field_is_set(fields: dict[str, Any], *, says: bool) -> None:
    assert says_something(policy(**fields)) is says


@pytest.mark.parametrize(("attempt", "pause"), [(1, 1), (2, 2), (11, 1024)])
def test_pauses_grow_as_temporals_do_when_nothing_is_said(attempt: int, pause: float) -> None:
    broken = Answer(ok=False, error="broken", error_type="t", retryable=True)

    assert next_attempt_after(NOTHING, broken, attempt, spent=0) == pause
