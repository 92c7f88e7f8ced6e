"""Executors that chapters 5 and 6 of the guide test, as it writes them where it does."""

from typing import Any

import aiohttp

from regrow.compat import BaseTask, executor_register

Guide = dict[str, Any]


@executor_register()
class UserDataFetcher(BaseTask):
    """
    Fetches user data from the API.

    This executor retrieves user information from the external API
    and returns it in a standardized format.

    Args (inputs):
        user_id (str): The ID of the user to fetch
        include_profile (bool): Whether to include profile data (default: False)

    Returns:
        dict: User data with status and result

    Example:
        task = create_task(
            name="user_data_fetcher",
            inputs={"user_id": "123", "include_profile": True}
        )
    """

    id = "user_data_fetcher"

    async def execute(self, inputs: Guide) -> Guide:
        if "user_id" not in inputs:
            return {"status": "failed", "error": "user_id is required"}
        user = {"user_id": inputs["user_id"]}
        profile = {"profile": {"name": "Ann"}} if inputs.get("include_profile") else {}
        return {"status": "completed", "result": {**user, **profile}}


@executor_register()
class UserDataProcessor(BaseTask):
    """Processes what was fetched."""

    async def execute(self, inputs: Guide) -> Guide:
        [user] = inputs.values()
        return {"status": "completed", "result": {"processed": user["user_id"]}}


@executor_register()
class APICallExecutor(BaseTask):
    """Calls an API."""

    async def execute(self, inputs: Guide) -> Guide:
        async with (
            aiohttp.ClientSession() as session,
            # The guide's mock of `request` is to be awaited; so may the real one be.
            await session.request("GET", inputs["url"]) as response,
        ):
            return {"status": "completed", "data": await response.json()}
