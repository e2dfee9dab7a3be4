"""The recipe of the container image, and the manifests that name it: checked without building it."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from batchexport.cli.program import app
from tests.scheduling.test_kubernetes import containers, manifest, pod

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
PAGE = (ROOT / "docs" / "how-to" / "systemd-cron-kubernetes.md").read_text(encoding="utf-8")


def lines(word: str) -> list[str]:
    """What follows an instruction, each time it is given."""
    return [line.removeprefix(f"{word} ") for line in RECIPE.splitlines() if line.startswith(f"{word} ")]


def deployment() -> Any:
    """The example of the page."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    return yaml.safe_load(block)


def test_whatever_the_recipe_copies_is_there_and_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    sent = [each.removeprefix("!") for each in ignored if each.startswith("!")]
    copied = {name for line in lines("COPY") for name in line.split()[:-1]}
    assert copied == set(sent)
    for name in copied:
        assert (ROOT / name).exists()
        assert not any(fnmatch(name, each) for each in ignored[1:] if not each.startswith("!"))


def test_what_the_package_is_built_from_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = {name for line in lines("COPY") for name in line.split()[:-1]}
    assert {project["readme"], *project["license-files"], "pyproject.toml", "batchexport"} <= copied


def test_the_image_has_every_extra_that_a_job_file_may_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (installed,) = re.findall(r"/src\[([a-z,]+)\]", RECIPE)
    assert set(installed.split(",")) == set(project["optional-dependencies"]) - {"test", "lint"}


def test_its_python_is_one_that_the_package_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (version,) = re.findall(r"python:(\d+\.\d+)-slim", RECIPE)
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]


def test_it_runs_as_a_user_that_kubernetes_can_tell_from_root() -> None:
    (user,) = lines("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    for each in (pod(manifest()), deployment()["spec"]["template"]["spec"]):
        assert each["securityContext"]["fsGroup"] == int(user.split(":")[1])
        assert each["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("which", ["cron job", "deployment"])
def test_only_the_jobs_and_tmp_are_writable(which: str) -> None:
    spec = pod(manifest()) if which == "cron job" else deployment()["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    assert mounts.keys() == {each["name"] for each in spec["volumes"]} == {"jobs", "clouds", "tmp"}
    assert mounts["clouds"]["readOnly"] is True
    assert not any(mounts[name].get("readOnly") for name in ("jobs", "tmp"))


@pytest.mark.parametrize("version", ["1.31", "1.37"])
def test_the_deployment_follows_the_published_schema(version: str) -> None:
    kubernetes_validate.validate(deployment(), version, strict=True)


def test_two_schedulers_never_run_at_once() -> None:
    spec = deployment()["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_arguments_of_the_manifests_are_commands_of_the_program() -> None:
    (entry,) = lines("ENTRYPOINT")
    assert entry == '["batchexport"]'
    for container in (*containers(manifest()), *deployment()["spec"]["template"]["spec"]["containers"]):
        words = [word for word in container["args"] if not word.startswith("/")]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
