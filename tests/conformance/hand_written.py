"""A workflow that somebody wrote by hand beside their trees: same utilities, same executors."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from tests.conformance.url_rules import validate_url


@workflow.defn
class CallUrls:
    @workflow.run
    async def run(self, urls: list[str]) -> list[Any]:
        return [
            await workflow.execute_activity(
                "api_call_executor", {"url": url}, start_to_close_timeout=timedelta(seconds=30)
            )
            for url in urls
            if validate_url(url)
        ]
