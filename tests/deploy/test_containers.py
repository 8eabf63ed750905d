"""The images and the compose file: valid, and what they run works."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from manifests import DEPLOY, ROOT, dockerfile, read_yaml

from rerank_core.server.settings import ServerSettings
from rerank_core.variables import OTHERS
from serving import serving
from waiting import BOUND

SETTINGS = {f"RERANK_{name.upper()}" for name in ServerSettings.model_fields} | OTHERS


def one(instruction):
    found = [rest for name, rest in dockerfile() if name == instruction]
    assert len(found) == 1
    return found[0]


def variables():
    return dict(pair.split("=", 1) for pair in one("ENV").split())


@pytest.mark.parametrize("name", ["Dockerfile", "ray/Dockerfile"])
def test_the_dockerfiles_are_clean(name):
    lint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([lint, DEPLOY / name], capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_follows_its_specification():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, timeout=BOUND, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_from_what_the_package_needs():
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert all((ROOT / name).exists() for name in let_in)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {folder.split("/")[0] for folder in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    licenses = {name for name in project["project"]["license-files"] if "/" not in name}
    readme = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"][0]["path"]
    assert packages | licenses | {"pyproject.toml", "constraints.txt", readme} == let_in


def test_the_image_runs_as_nobody_in_particular():
    assert one("USER").isdigit()
    assert int(one("USER")) > 1000


def test_all_variables_are_settings():
    named = {name for name in variables() if name.startswith("RERANK_")}
    for service in read_yaml("compose.yaml")["services"].values():
        named |= {name for name in service.get("environment", ()) if name.startswith("RERANK_")}
    assert named
    assert named <= SETTINGS


def test_the_health_check_sees_whether_the_server_is_ready():
    check = json.loads(one("HEALTHCHECK").partition("CMD")[2])
    assert check[0] == "python"
    with serving() as served:
        code = check[2].replace("http://127.0.0.1:8000", served.url).replace("timeout=2", f"timeout={BOUND}")
        assert code.count(served.url) == 1

        def status():
            return subprocess.run(
                [sys.executable, *check[1:2], code], stderr=subprocess.DEVNULL, timeout=BOUND, check=False
            ).returncode

        assert status() == 0
        served.server.lifecycle.draining = True
        assert status() != 0


def test_without_keys_the_image_refuses_to_start():
    from server_process import running

    environment = {name: value for name, value in variables().items() if name.startswith("RERANK_")}
    with running(environment=environment) as process:
        assert process.ended() != 0
        assert "RERANK_API_KEYS" in process.log


def test_the_server_in_the_compose_file_can_write_nothing_but_tmp():
    server = read_yaml("compose.yaml")["services"]["rerank"]
    assert server["read_only"]
    assert server["cap_drop"] == ["ALL"]
    assert [mount.partition(":")[0] for mount in server["tmpfs"]] == ["/tmp"]  # noqa: S108  (in the container)
    assert variables()["XDG_CACHE_HOME"].startswith("/tmp/")  # noqa: S108
    assert int(server["stop_grace_period"].removesuffix("s")) > ServerSettings().drain_seconds + 10


def test_the_files_that_compose_mounts_are_there():
    for service in read_yaml("compose.yaml")["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_dir()
