"""A tree and the partitions of it in memory; what happens next is up to the test, or to chance."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, cast

from tests.unit.core.builders import CANCELLED, NOW

from regrow.core.handover import Reporter, obey, partition_document
from regrow.core.loading import without_engine
from regrow.core.normal import read_normal
from regrow.core.outcome import Outcome, failed
from regrow.core.packing import packed, unpacked
from regrow.core.record import Kind, Start
from regrow.core.resolve import Description, Plan, resolve
from regrow.core.run import TreeRun
from regrow.core.snapshot import read_ends, restore_snapshot
from regrow.core.wire import PARTITION_KEY

LOST = failed("lost", "terminated")
Executor = Callable[[Start], Outcome]


def sent(value: dict[str, Any]) -> Any:
    """What arrives of a value that travels compressed."""
    return unpacked(json.loads(json.dumps(packed(value, 0))))


class Part:
    """The child workflow that runs a partition."""

    def __init__(self, unit: str, argument: Any) -> None:
        document, engine = without_engine(argument)
        self.unit = unit
        self.about = engine[PARTITION_KEY]
        self.reporter = Reporter(self.about)
        plan = resolve(
            read_normal(cast("Any", document)), Description.model_validate(engine["description"])
        )
        self.run = TreeRun(plan, tree_id=self.about["of"], on_change=self.reporter.changed)
        restore_snapshot(self.run, engine["snapshot"])
        self.going: list[Start] = []


class Parts:
    """The whole tree: who runs what, and the mail between them."""

    def __init__(
        self, plan: Plan, description: Description, execute: Executor, *, seed: int = 0
    ) -> None:
        self.run = TreeRun(plan, tree_id="tree", may_partition=True)
        self.parts: dict[str, Part] = {}
        self.begun: list[Part] = []
        self.going: list[Start] = []
        self.inputs: dict[str, Any] = {}
        self.now = NOW
        self._description = description
        self._execute = execute
        self._chance = random.Random(seed)

    def to_end(self) -> TreeRun:
        self.go_on()
        while not self.run.is_finished:
            self._chance.choice(self._events())()
            self.go_on()
        return self.run

    def go_on(self) -> None:
        """Let everybody start what can start, and interrupt what is to be."""
        self._start()
        while (unit := self.run.next_interrupt()) is not None:
            self._interrupt(unit)
            self._start()
        for part in self.parts.values():
            self._go_on_inside(part)
        in_flight = [start for part in (self, *self.parts.values()) for start in part.going]
        working = [start for start in in_flight if start.wait is None]
        assert len(working) <= self.run.plan.tree.max_in_flight

    def _start(self) -> None:
        while (start := self.run.next_start(self.now)) is not None:
            self.begin(start)

    def begin(self, start: Start) -> None:
        if start.kind is Kind.PARTITION:
            argument = sent(partition_document(self.run, start, self._description))
            self.parts[start.unit] = Part(start.unit, argument)
            self.begun.append(self.parts[start.unit])
            self.run.began(start.unit, self.now)
            return
        self.going.append(start)
        if start.kind is Kind.WAIT:
            self.run.waiting(start, self.now)
        else:
            self.run.began(start.unit, self.now)
            self.inputs[start.unit] = dict(start.inputs)

    def _go_on_inside(self, part: Part) -> None:
        while (start := part.run.next_start(self.now)) is not None:
            assert start.unit not in self.inputs, "nothing runs twice"
            part.run.began(start.unit, self.now)
            part.going.append(start)
            self.inputs[start.unit] = dict(start.inputs)
        while (unit := part.run.next_interrupt()) is not None:
            part.going = [each for each in part.going if each.unit != unit]
            part.run.ended(unit, CANCELLED, self.now)

    def _interrupt(self, unit: str) -> None:
        holder = self.run.partitions.holders.get(unit)
        if holder is not None:
            obey(self.parts[holder].run, {"cancel": [unit]}, self.now)
        elif unit in self.parts:  # else it has just ended
            self.parts[unit].run.cancel("the tree was cancelled", self.now)
        elif unit in [each.unit for each in self.going if each.wait is None]:
            self.going = [each for each in self.going if each.unit != unit]
            self.run.ended(unit, CANCELLED, self.now)

    # --- what may happen next

    def _events(self) -> list[Callable[[], None]]:
        """A report is as likely as everything else together, if one is due some day."""
        ends = [partial(self.end, each) for each in self.going]
        for part in self.parts.values():
            part.reporter.look(part.run, self.now)
            ends += [partial(self.end_inside, part, each) for each in part.going]
            if part.reporter.due_at is not None and not part.run.is_finished:
                ends += [partial(self.report, part)] * max(1, len(part.going))
            if part.run.is_finished:
                ends.append(partial(self.finish, part))
        return ends

    def end(self, start: Start) -> None:
        self.going.remove(start)
        if start.wait is not None:
            self.run.woke(start.task_id, self.tick())
        else:
            self.run.ended(start.unit, self._execute(start), self.tick())

    def end_inside(self, part: Part, start: Start) -> None:
        part.going.remove(start)
        part.run.ended(start.unit, self._execute(start), self.tick())

    def report(self, part: Part) -> None:
        said = sent(part.reporter.report(part.run, self.now))
        self.run.reported(part.unit, dict(read_ends(said)), self.now)

    def finish(self, part: Part) -> None:
        for said in part.reporter.last_words(part.run, self.now):
            self.run.reported(part.unit, dict(read_ends(sent(said))), self.now)
        del self.parts[part.unit]
        self.run.partition_ended(part.unit, LOST, self.now)

    def tick(self) -> Any:
        self.now += timedelta(seconds=1)
        return self.now
