"""A worker of its own for CrewAI: Temporal's SDK and CrewAI, nothing of Regrow.

CrewAI pins libraries to versions that Regrow has outgrown, so the two don't fit into one
environment. They need not: an executor is an activity with one JSON argument and a JSON result.
Attempts are Temporal's alone, so CrewAI's own are off; each costs money.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false
# CrewAI isn't in the environment that checks these types.

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")  # read as CrewAI is imported

import openai
from crewai import LLM, Agent, Crew, Task
from temporalio import activity
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

TASK_QUEUE = "crew"
AT_ONCE = 4
BEAT = 2.0
FINAL = (400, 401, 403, 404, 422)
"""What a model's provider says again however often it is asked."""


@activity.defn
async def crew_run(inputs: dict[str, str]) -> dict[str, str]:
    """Let a writer and an editor agree on a sentence about `topic`; not the same twice."""
    try:
        async with beating():
            output = await make_crew().akickoff(inputs={"topic": inputs["topic"]})
            return {"text": output.raw}
    except openai.APIStatusError as error:
        raise ApplicationError(
            f"the model's provider answered {error.status_code}",
            type="llm_error",
            non_retryable=error.status_code in FINAL,
        ) from None


def make_crew() -> Crew:
    """Make the crew anew for each run, with the model that the environment names."""
    llm = LLM(
        model=os.environ.get("CREW_MODEL", "openai/gpt-5-mini"),
        base_url=os.environ.get("OPENAI_BASE_URL"),
        max_retries=0,
        timeout=60,
    )
    writer = Agent(
        role="Writer",
        goal="Say what matters about {topic}",
        backstory="You write for people in a hurry.",
        llm=llm,
        max_retry_limit=0,
    )
    editor = Agent(
        role="Editor",
        goal="Make sentences shorter",
        backstory="You cut what isn't needed.",
        llm=llm,
        max_retry_limit=0,
    )
    draft = Task(
        description="Write one sentence about {topic}.",
        expected_output="One sentence.",
        agent=writer,
    )
    final = Task(
        description="Shorten the sentence.",
        expected_output="One sentence of at most ten words.",
        agent=editor,
    )
    return Crew(agents=[writer, editor], tasks=[draft, final], tracing=False)


@asynccontextmanager
async def beating() -> AsyncGenerator[None]:
    """Heartbeat while a crew thinks; a cancel arrives with a heartbeat's answer."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(BEAT)

    beats = asyncio.create_task(beat())
    try:
        yield
    finally:
        beats.cancel()


async def main() -> None:
    """Poll the queue until Ctrl-C; where Temporal is, Temporal's own configuration says."""
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    worker = Worker(
        await Client.connect(**config),
        task_queue=TASK_QUEUE,
        activities=[crew_run],
        max_concurrent_activities=AT_ONCE,
        max_heartbeat_throttle_interval=timedelta(seconds=BEAT),
    )
    print(f"crews run on the task queue {TASK_QUEUE}")
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
