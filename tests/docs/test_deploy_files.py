"""What deploy/kubernetes/worker.yaml promises, held without a cluster.

It gives a worker time to stop, holds no secret, runs as nobody in particular, and sets only
variables that something reads.
"""

from pathlib import Path
from typing import Any, Final, cast

from tests.docs.pages import parse_yaml

from regrow.core.durations import parse_duration
from regrow.core.policies import LIBRARY
from regrow.settings import Settings

ROOT: Final = Path(__file__).parents[2]
MANIFEST: Final = ROOT / "deploy/kubernetes/worker.yaml"
[DEPLOYMENT] = cast("list[dict[str, Any]]", parse_yaml(MANIFEST.read_text()))
POD: Final = DEPLOYMENT["spec"]["template"]["spec"]
[WORKER] = POD["containers"]
ENVIRONMENT: Final = {each["name"]: each.get("value") for each in WORKER["env"]}


def test_it_is_a_deployment_that_selects_its_own_pods() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]

    assert (DEPLOYMENT["apiVersion"], DEPLOYMENT["kind"]) == ("apps/v1", "Deployment")
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels


def test_a_pod_is_given_longer_to_end_than_its_worker_takes() -> None:
    assert LIBRARY.heartbeat_timeout is not None
    waits = parse_duration(ENVIRONMENT["REGROW_GRACEFUL_SHUTDOWN_TIMEOUT"])
    longest = waits + 2 * LIBRARY.heartbeat_timeout

    assert POD["terminationGracePeriodSeconds"] > longest.total_seconds()


def test_new_workers_poll_before_old_ones_stop() -> None:
    update = DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]

    assert update == {"maxSurge": 1, "maxUnavailable": 0}


def test_every_variable_of_regrow_is_a_setting_with_a_value_it_takes() -> None:
    given = {
        name.removeprefix("REGROW_").lower(): value
        for name, value in ENVIRONMENT.items()
        if name.startswith("REGROW_")
    }

    assert given.keys() <= Settings.model_fields.keys()
    Settings(**given)


def test_no_secret_is_written_down() -> None:
    [key] = [each for each in WORKER["env"] if each["name"] == "TEMPORAL_API_KEY"]

    assert "value" not in key
    assert key["valueFrom"]["secretKeyRef"]["optional"]


def test_it_runs_as_nobody_in_particular_and_listens_on_nothing() -> None:
    guarded = WORKER["securityContext"]

    assert POD["securityContext"]["runAsNonRoot"]
    assert not POD["automountServiceAccountToken"]
    assert guarded["readOnlyRootFilesystem"]
    assert not guarded["allowPrivilegeEscalation"]
    assert guarded["capabilities"] == {"drop": ["ALL"]}
    assert "ports" not in WORKER
