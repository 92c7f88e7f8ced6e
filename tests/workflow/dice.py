"""A workflow that does what the sandbox must refuse; the sandbox imports its whole module."""

import random

from temporalio import workflow


@workflow.defn
class RollsDice:
    @workflow.run
    async def run(self) -> float:
        return random.random()
