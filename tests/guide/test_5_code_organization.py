"""The guide's chapter 5, Code Organization: its projects are written to a folder and hosted."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.guide.conftest import Worker
from tests.guide.helping import grouped
from tests.guide.my_executors import UserDataFetcher

from regrow.compat import TaskManager, TaskTreeNode, create_session, create_task
from regrow.executors import Registry

EXECUTOR = '''
from regrow.compat import BaseTask, executor_register

@executor_register()
class {name}(BaseTask):
    """{name}"""

    async def execute(self, inputs):
        return {{"status": "completed", "result": __name__.rpartition("executors.")[2]}}
'''

Project = Callable[..., Registry]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Write a project's files, and find its executors from inside it, as a worker does."""
    names = ("my_project", "executors", "utils", "config")

    def is_its(module: str) -> bool:
        return module.partition(".")[0] in names

    def find(package: str, files: dict[str, str]) -> Registry:
        for name, code in files.items():
            (file := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            file.write_text(code)
        for module in filter(is_its, list(sys.modules)):
            monkeypatch.delitem(sys.modules, module)
        registry = Registry()
        registry.discover([package])
        registry.check()
        return registry

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return find


async def test_5_1_good_executors_are_grouped_by_domain(worker: Worker, project: Project) -> None:
    classes = {
        "data/fetch.py": "FetchUsers",
        "data/process.py": "ProcessUsers",
        "api/http.py": "CallApi",
        "storage/database.py": "SaveUsers",
    }
    folders = ("", "executors/", "executors/data/", "executors/api/", "executors/storage/")
    registry = project(
        "my_project",
        {f"my_project/{folder}__init__.py": "" for folder in folders}
        | {
            f"my_project/executors/{file}": EXECUTOR.format(name=name)
            for file, name in classes.items()
        },
    )

    tasks = [create_task(name=executor.id) for executor in registry]
    async with worker(*(executor.target for executor in registry)):
        await TaskManager(create_session()).distribute_task_tree(grouped(*tasks))

    assert {task.name: task.result for task in tasks} == {
        "fetch_users": "data.fetch",
        "process_users": "data.process",
        "call_api": "api.http",
        "save_users": "storage.database",
    }


VALIDATION = '''
# utils/validation.py
def validate_url(url: str) -> bool:
    """Validate URL format"""
    return url.startswith(("http://", "https://"))
'''

API = """
# executors/api.py
from typing import Any, Dict
from utils.validation import validate_url
from regrow.compat import BaseTask, executor_register

@executor_register()
class APICallExecutor(BaseTask):
    async def execute(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        url = inputs.get("url")
        if not validate_url(url):
            return {"status": "failed", "error": "Invalid URL"}
        return {"status": "completed", "result": url}
"""


async def test_5_2_good_executors_share_utilities(worker: Worker, project: Project) -> None:
    [executor] = project(
        "executors.api", {"utils/validation.py": VALIDATION, "executors/api.py": API}
    )

    urls = ("https://example.test", "ftp://example.test")
    good, bad = (create_task(name="api_call_executor", inputs={"url": url}) for url in urls)
    async with worker(executor.target):
        await TaskManager(create_session()).distribute_task_tree(grouped(good, bad))

    assert (good.status, good.result) == ("completed", "https://example.test")
    assert (bad.status, bad.error, bad.attempts) == ("failed", "Invalid URL", 1)


CONFIG = """
# config.py
import os

API_TIMEOUT = int(os.getenv("API_TIMEOUT", "30"))
MAX_RETRIES = int(os.getenv("MAX_RETRIES", "3"))
"""

CONFIGURED = """
# executors/api.py
from typing import Any, Dict
from config import API_TIMEOUT, MAX_RETRIES
from regrow.compat import BaseTask, executor_register

@executor_register()
class APICallExecutor(BaseTask):
    async def execute(self, inputs: Dict[str, Any]) -> Dict[str, Any]:
        timeout = inputs.get("timeout", API_TIMEOUT)
        return {"status": "completed", "result": [timeout, MAX_RETRIES]}
"""


async def test_5_3_good_configuration_is_the_workers_and_inputs_overrule_it(
    worker: Worker, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT", "7")
    [executor] = project("executors.api", {"config.py": CONFIG, "executors/api.py": CONFIGURED})

    default = create_task(name="api_call_executor")
    own = create_task(name="api_call_executor", inputs={"timeout": 5})
    async with worker(executor.target):
        await TaskManager(create_session()).distribute_task_tree(grouped(default, own))

    assert (default.result, own.result) == ([7, 3], [5, 3])


async def test_5_4_good_documentation_is_published_and_its_example_runs(worker: Worker) -> None:
    task = create_task(name="user_data_fetcher", inputs={"user_id": "123", "include_profile": True})
    async with worker(UserDataFetcher):
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(task))

    description = Registry(UserDataFetcher)["user_data_fetcher"].description
    assert description.startswith("Fetches user data from the API.\n")
    assert "user_id (str): The ID of the user to fetch" in description
    assert task.result == {"user_id": "123", "profile": {"name": "Ann"}}
