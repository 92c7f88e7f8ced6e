"""The tree of tree.yaml, built in Python: the same normal form, so the same tree.

Run it with: python tree.py
It needs a Temporal server and a worker, such as: regrow dev --executors executors.py
"""

import asyncio
import json
from datetime import timedelta

from regrow import Dependency, RetryPolicy, Task, TaskTree, TreeClient


def build() -> TaskTree:
    """Give the tree."""
    fetch = Task(
        id="fetch",
        name="Fetch the shop's export",
        executor="fetch_orders",
        priority=1,
        inputs={"data": "${{ inputs.data }}", "workdir": "${{ inputs.workdir }}"},
        start_to_close_timeout=timedelta(minutes=1),
    )
    clean = Task(
        id="clean",
        name="Drop what cannot be counted",
        executor="clean_orders",
        dependencies=(Dependency(id=fetch.id, into="orders"),),
    )
    enrich = Task(
        id="enrich",
        name="Look up exchange rates",
        executor="enrich_orders",
        priority=3,
        dependencies=(Dependency(id=clean.id),),
        inputs={
            "service": "${{ inputs.rates }}",
            "currencies": "${{ tasks.clean.result.currencies }}",
        },
        retry=RetryPolicy(
            maximum_attempts=3, initial_interval=timedelta(seconds=1), backoff_coefficient=1
        ),
        start_to_close_timeout=timedelta(seconds=5),
    )
    aggregate = Task(
        id="aggregate",
        name="Add up per country",
        executor="aggregate_orders",
        dependencies=(
            Dependency(id=clean.id, into="orders"),
            Dependency(id=enrich.id, required=False, into="rates"),
        ),
    )
    save = Task(
        id="save",
        name="Save to the database",
        executor="save_orders",
        dependencies=(Dependency(id=clean.id, into="orders"), Dependency(id=aggregate.id)),
        inputs={
            "database": "${{ inputs.database }}",
            "totals": "${{ tasks.aggregate.result.totals }}",
        },
        retry=RetryPolicy(maximum_attempts=5),
        start_to_close_timeout=timedelta(minutes=1),
    )
    return TaskTree(
        name="orders",
        description="Fetch, clean, enrich, add up and save a shop's orders",
        inputs={
            "data": "orders.csv",
            "database": "orders.sqlite3",
            "workdir": "orders-work",
            "rates": "127.0.0.1:9",
        },
        outputs={
            "totals": "${{ tasks.aggregate.result.totals }}",
            "in_euro": "${{ tasks.aggregate.result.in_euro }}",
            "dropped": "${{ tasks.clean.result.dropped }}",
            "saved": "${{ tasks.save.result }}",
        },
        tasks=(fetch, clean, enrich, aggregate, save),
    )


async def main() -> None:
    """Start the tree and wait for its end."""
    client = await TreeClient.connect()
    handle = await client.start(build())
    print(f"started {handle.id}")
    result = await handle.result()
    print(json.dumps(result.outputs, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
