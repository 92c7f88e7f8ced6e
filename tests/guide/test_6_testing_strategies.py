"""The guide's chapter 6, Testing Strategies: its tests are tests here, as it writes them."""

from unittest.mock import AsyncMock, patch

from tests.guide.conftest import Worker
from tests.guide.my_executors import APICallExecutor, UserDataFetcher, UserDataProcessor

from regrow.compat import TaskManager, TaskTreeNode, create_session


async def test_6_1_good_user_data_fetcher() -> None:
    executor = UserDataFetcher()

    # Test with valid input
    result = await executor.execute({"user_id": "123"})
    assert result["status"] == "completed"
    assert "user_id" in result["result"]

    # Test with invalid input
    result = await executor.execute({})
    assert result["status"] == "failed"
    assert "error" in result


async def test_6_2_good_user_data_pipeline(worker: Worker) -> None:
    async with worker(UserDataFetcher, UserDataProcessor):
        db = create_session()
        task_manager = TaskManager(db)

        # Create pipeline
        fetch = await task_manager.task_repository.create_task(
            name="user_data_fetcher", user_id="test_user", inputs={"user_id": "123"}
        )

        process = await task_manager.task_repository.create_task(
            name="user_data_processor",
            user_id="test_user",
            dependencies=[{"id": fetch.id, "required": True}],
            inputs={},
        )

        # Execute
        root = TaskTreeNode(fetch)
        root.add_child(TaskTreeNode(process))
        await task_manager.distribute_task_tree(root)

        # Verify
        fetch_result = await task_manager.task_repository.get_task_by_id(fetch.id)
        process_result = await task_manager.task_repository.get_task_by_id(process.id)

    assert fetch_result
    assert process_result
    assert fetch_result.status == "completed"
    assert process_result.status == "completed"
    assert process_result.result == {"processed": "123"}


async def test_6_3_good_api_executor_with_mock(worker: Worker) -> None:
    executor = APICallExecutor()

    with patch("aiohttp.ClientSession") as mock_session:
        mock_response = AsyncMock()
        mock_response.json = AsyncMock(return_value={"data": "test"})
        mock_response.status = 200

        mock_session.return_value.__aenter__.return_value.request.return_value.__aenter__.return_value = mock_response  # noqa: E501 - as the guide writes it

        result = await executor.execute({"url": "https://api.example.com"})

        assert result["status"] == "completed"
        assert result["data"] == {"data": "test"}

        async with worker(APICallExecutor):  # and so it does in a tree
            task_manager = TaskManager(create_session())
            call = await task_manager.task_repository.create_task(
                name="api_call_executor", inputs={"url": "https://api.example.com"}
            )
            await task_manager.distribute_task_tree(TaskTreeNode(call))

    assert (call.status, call.result) == ("completed", {"data": {"data": "test"}})
