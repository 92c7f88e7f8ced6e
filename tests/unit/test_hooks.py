"""What is wrong with a hook is said where it is marked."""

from typing import Any

import pytest

from regrow.hooks import TaskCall, TaskEnd, TreeEvent, after_task, before_task, hook_of, on_tree


def test_a_hook_stays_callable_and_knows_what_it_is_for() -> None:
    @before_task("http_*", "command")
    def look(call: TaskCall) -> None: ...

    hook = hook_of(look)
    assert (hook.kind, hook.only, hook.is_async) == ("before_task", ("http_*", "command"), False)
    assert [hook.is_for(name) for name in ("http_request", "command", "sql_query")] == [
        True,
        True,
        False,
    ]


def test_without_patterns_it_is_for_all() -> None:
    @on_tree()
    async def hear(event: TreeEvent) -> None: ...

    assert hook_of(hear).is_async
    assert hook_of(hear).is_for("failed")


@pytest.mark.parametrize("marker", [before_task, after_task, on_tree])
def test_forgotten_brackets_are_named(marker: Any) -> None:
    with pytest.raises(TypeError, match="with its brackets"):

        @marker
        def look(call: TaskCall, end: TaskEnd) -> None: ...


def test_a_wrong_number_of_parameters_is_named() -> None:
    def none() -> None: ...

    with pytest.raises(TypeError, match="one parameter, a TaskCall"):
        before_task()(none)
    with pytest.raises(TypeError, match="two parameters, a TaskCall and a TaskEnd"):
        after_task()(none)


def test_an_unknown_moment_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no moment of a tree; those are created, started, "):
        on_tree("failled")
