from temporalio import workflow


@workflow.defn
class OwnWorkflow:
    """One that has nothing to do with trees, on a worker that also runs those."""

    @workflow.run
    async def run(self) -> None:
        workflow.set_current_details("my own words")
