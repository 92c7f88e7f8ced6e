"""The reference says what the code says, and its tables leave nothing out."""

import pytest
from docs.generate.pages import DOCS, FOLDERS, pages
from docs.generate.settings import TEMPORAL_VARIABLES
from temporalio.envconfig import ClientConfigProfile

MADE = pages()
CHOOSES = ("TEMPORAL_CONFIG_FILE", "TEMPORAL_PROFILE")
"""They say which profile is read, and are no part of it."""


@pytest.mark.parametrize("name", MADE)
def test_the_reference_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text() == MADE[name], f"{name} is out of date: run `make docs`"


def test_no_page_of_the_reference_is_left_over() -> None:
    there = [path for folder in FOLDERS for path in (DOCS / folder).iterdir()]
    assert {str(path.relative_to(DOCS)) for path in there} == set(MADE)


@pytest.mark.parametrize("name", [name for name in TEMPORAL_VARIABLES if name not in CHOOSES])
def test_a_variable_of_temporal_is_read(name: str) -> None:
    value = "true" if name == "TEMPORAL_TLS" else "value"

    read = ClientConfigProfile.load(disable_file=True, override_env_vars={name: value})

    assert read.to_dict()


def test_a_profile_is_chosen_out_of_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("temporal") / "temporal.toml"
    file.write_text('[profile.test]\naddress = "there:7233"\n')

    read = ClientConfigProfile.load(
        override_env_vars=dict(zip(CHOOSES, (str(file), "test"), strict=True))
    )

    assert read.address == "there:7233"
