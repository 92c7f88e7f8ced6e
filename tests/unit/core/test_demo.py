"""In a demo nobody waits: what would wait ends at once, and says so."""

from tests.unit.core.builders import Document, begin, start_all, task, tree_of

from regrow.core.loading import load
from regrow.core.run import TreeRun
from regrow.core.wire import Status


def shown(executor: str, inputs: Document) -> TreeRun:
    run = begin(tree_of(task("wait", executor=executor, inputs=inputs), demo=True))
    assert start_all(run) == []
    assert run.records["wait"].status is Status.COMPLETED
    return run


def test_a_sleep_is_over() -> None:
    outcome = shown("sleep", {"duration": "1h"}).records["wait"].outcome

    assert outcome is not None
    assert (outcome.result, outcome.metadata) == (None, {"demo": True})


def test_an_approval_is_given() -> None:
    outcome = shown("approval", {"prompt": "fine?"}).records["wait"].outcome

    assert outcome is not None
    assert outcome.result == {"approved": True, "by": "demo", "note": None, "at": None}
    assert outcome.metadata["demo"] is True


def test_an_event_has_come_with_nothing() -> None:
    outcome = shown("wait_for_event", {"event": "paid"}).records["wait"].outcome

    assert outcome is not None
    assert (outcome.result, outcome.metadata) == (None, {"demo": True})


def test_wrong_inputs_of_a_wait_fail_in_a_demo_as_well() -> None:
    run = begin(tree_of(task("wait", executor="sleep", inputs={"for": "1h"}), demo=True))
    start_all(run)

    assert run.records["wait"].status is Status.FAILED


def test_a_demo_is_another_document_and_says_so_only_where_it_is_one() -> None:
    document: Document = {"name": "a", "tasks": [{"id": "a"}]}

    assert load({**document, "demo": True}).as_document()["demo"] is True
    assert "demo" not in load(document).as_document()
