import os
from pathlib import Path

import pytest

from batchexport.cli import practice
from batchexport.errors import ConfigError


def define(text):
    Path(os.environ["OS_CLIENT_CONFIG_FILE"]).write_text(text)


def test_a_run_on_another_cloud_wants_no_practice_cloud():
    assert not practice.is_wanted({"prod", None})


def test_the_name_sandbox_wants_the_practice_cloud():
    assert practice.is_wanted({"sandbox"})


def test_a_cloud_of_that_name_in_clouds_yaml_comes_first():
    define("clouds: {sandbox: {auth: {auth_url: http://127.0.0.1:1/v3}}}")
    assert not practice.is_wanted({"sandbox"})


def test_practice_and_real_clouds_do_not_mix():
    with pytest.raises(ConfigError, match="'sandbox' and for prod, the default cloud"):
        practice.is_wanted({"sandbox", "prod", None})


def test_a_clouds_yaml_that_openstacksdk_refuses_is_told(monkeypatch):
    monkeypatch.setenv("OS_USERNAME", "somebody")
    define("clouds: {envvars: {auth: {}}}")
    with pytest.raises(ConfigError, match=r"clouds\.yaml cannot be used"):
        practice.is_wanted({"sandbox"})


def test_the_journal_stands_beside_the_state_file():
    assert practice.journal_path(Path("a/b.state")) == Path("a/b.state.sandbox")


def test_the_environment_is_afterwards_what_it_was(monkeypatch):
    monkeypatch.setenv("PRACTICE_A", "before")
    with practice.environment({"PRACTICE_A": "during", "PRACTICE_B": "during"}):
        assert (os.environ["PRACTICE_A"], os.environ["PRACTICE_B"]) == ("during", "during")
    assert os.environ["PRACTICE_A"] == "before"
    assert "PRACTICE_B" not in os.environ
