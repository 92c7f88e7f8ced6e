"""What an operator sets, and how mistakes in it are told."""

import pytest

from regrow.settings import InvalidSettings, load_settings
from regrow.worker import configure


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_EXECUTORS", "acme.data, acme.api,")

    assert load_settings().executors == ("acme.data", "acme.api")


def test_a_relative_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "git,./tool")

    with pytest.raises(InvalidSettings, match=r"'\./tool' must be a bare name or an absolute path"):
        load_settings()


def test_everything_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_MAX_CONCURRENT_TASKS", "none")
    monkeypatch.setenv("REGROW_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("REGROW_EXECUTORS", "no.such.module")

    with pytest.raises(InvalidSettings) as refused:
        configure(["nothing.py"])

    told = "\n".join(refused.value.problems)
    assert "REGROW_MAX_CONCURRENT_TASKS='none'" in told
    assert "REGROW_LOG_LEVEL='LOUD'" in told
    assert "no.such.module: ModuleNotFoundError" in told
    assert "nothing.py: FileNotFoundError" in told


def test_a_cache_is_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_CACHE", "/var/cache")

    with pytest.raises(InvalidSettings, match=r"REGROW_CACHE.*file:///var/cache/regrow"):
        load_settings()
