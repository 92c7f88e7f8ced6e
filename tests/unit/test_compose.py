"""What the compose file promises, held without starting a container.

Nothing listens beyond this machine, no password has a default, every image is pinned, and whatever
keeps running has a check that says whether it works.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from regrow.core.attributes import SEARCH_ATTRIBUTES
from regrow.core.wire import TASK_QUEUE

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
SERVER_FOLDER = "/etc/temporal/config/dynamicconfig"
OPTIONAL_MOUNTS = {"./executors", "./secrets"}
"""Docker makes the folders when a user has none."""


class Healthcheck(BaseModel):
    test: list[str]


class Dependency(BaseModel):
    condition: str


class Service(BaseModel):
    """The keys of a service that a promise is made about."""

    image: str | None = None
    build: str | None = None
    restart: str
    command: list[str] = []
    environment: dict[str, str] = {}
    ports: list[str] = []
    volumes: list[str] = []
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None
    security_opt: list[str] = []
    read_only: bool = False


class Compose(BaseModel):
    services: dict[str, Service]


def load(path: Path) -> object:
    yaml = YAML(typ="safe", pure=True)
    return yaml.load(path)  # pyright: ignore[reportUnknownMemberType] - ruamel leaves it untyped


SERVICES = Compose.model_validate(load(COMPOSE_FILE)).services
every_service = pytest.mark.parametrize("name", SERVICES)


@every_service
def test_image_is_pinned_to_a_full_version_or_built_from_here(name: str) -> None:
    service = SERVICES[name]

    assert service.build == "." or re.search(r":\d+\.\d+", service.image or "")


def test_image_of_the_worker_is_pinned_and_runs_as_nobody_in_particular() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()

    assert re.search(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+$", dockerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"python:${PYTHON}"}
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)


def test_server_and_its_tools_are_of_one_version() -> None:
    tags = {
        service.image.rpartition(":")[2]
        for service in SERVICES.values()
        if service.image and service.image.startswith(("temporalio/server:", "temporalio/admin"))
    }

    assert len(tags) == 1


@every_service
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].ports)


@every_service
def test_password_has_to_be_given(name: str) -> None:
    passwords = [
        value
        for key, value in SERVICES[name].environment.items()
        if re.search(r"(PASSWORD|PWD|SECRET|KEY|TOKEN)$", key)
    ]

    assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)


@every_service
def test_service_that_keeps_running_has_a_healthcheck(name: str) -> None:
    service = SERVICES[name]

    assert service.restart in {"unless-stopped", "no"}
    assert (service.healthcheck is None) == (service.restart == "no")


@every_service
def test_service_waits_until_what_it_needs_is_ready(name: str) -> None:
    for needed, dependency in SERVICES[name].depends_on.items():
        one_shot = SERVICES[needed].restart == "no"
        ready = "service_completed_successfully" if one_shot else "service_healthy"
        assert dependency.condition == ready


@every_service
def test_no_process_can_gain_privileges(name: str) -> None:
    assert "no-new-privileges:true" in SERVICES[name].security_opt


@every_service
def test_mounted_files_exist(name: str) -> None:
    sources = [volume.partition(":")[0] for volume in SERVICES[name].volumes]
    mounts = [source for source in sources if source.startswith(".")]

    assert all((ROOT / mount).exists() for mount in mounts if mount not in OPTIONAL_MOUNTS)


def test_server_reads_the_dynamic_configuration_that_is_mounted() -> None:
    temporal = SERVICES["temporal"]

    assert f"./deploy/temporal:{SERVER_FOLDER}:ro" in temporal.volumes
    assert temporal.environment["DYNAMIC_CONFIG_FILE_PATH"] == f"{SERVER_FOLDER}/dynamicconfig.yaml"


def test_dynamic_configuration_raises_the_dispatch_rate_and_turns_fairness_on() -> None:
    assert load(ROOT / "deploy/temporal/dynamicconfig.yaml") == {
        "history.transferProcessorMaxPollRPS": [{"value": 1000}],
        "history.maximumBufferedEventsBatch": [{"value": 5000}],
        "matching.enableFairness": [{"value": True}],
    }


def test_setup_registers_the_search_attributes_of_a_tree() -> None:
    (script,) = SERVICES["setup"].command

    assert dict(re.findall(r"--name (\w+) --type (\w+)", script)) == SEARCH_ATTRIBUTES


def test_worker_writes_nothing_into_its_image_and_logs_json() -> None:
    worker = SERVICES["worker"]

    assert worker.read_only
    assert worker.environment["REGROW_LOG_FORMAT"] == "json"


def test_healthcheck_of_the_worker_asks_about_the_queue_it_polls() -> None:
    healthcheck = SERVICES["worker"].healthcheck

    assert healthcheck is not None
    assert f"/task-queues/{TASK_QUEUE}" in healthcheck.test[-1]


def docker_compose_config(env_file: Path) -> subprocess.CompletedProcess[str]:
    """Read the file as docker-compose does, with this `.env` and nothing else from outside."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose isn't installed; the other tests read the file themselves")
    return subprocess.run(
        [program, "--env-file", env_file, "--file", COMPOSE_FILE, "config", "--quiet"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("POSTGRES_PASSWORD=made-up\n")

    accepted = docker_compose_config(env_file)

    assert accepted.returncode == 0, accepted.stderr


def test_docker_compose_refuses_an_env_file_without_the_password() -> None:
    refused = docker_compose_config(ROOT / ".env.example")

    assert refused.returncode != 0
    assert "set POSTGRES_PASSWORD" in refused.stderr
