"""KubeRay's RayService: its fields, the pods in it by Kubernetes' own schemas, and the Serve configuration it holds."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from manifests import DEPLOY, dockerfile, read_yaml

from rerank_core.server.settings import ServerSettings, load_settings

# The fields of ray.io/v1 that the manifest may use, from KubeRay's rayservice_types.go and raycluster_types.go.
COUNT = {"type": "integer", "minimum": 0}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
GROUP = {"rayStartParams": WORDS, "template": {"type": "object", "required": ["spec"]}}
WORKERS = {"groupName": {"type": "string"}, "replicas": COUNT, "minReplicas": COUNT, "maxReplicas": COUNT}


def fields(known, *required):
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


CLUSTER = fields(
    {
        "rayVersion": {"type": "string"},
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": fields({"idleTimeoutSeconds": COUNT, "resources": {"type": "object"}}),
        "headGroupSpec": fields(GROUP, *GROUP),
        "workerGroupSpecs": {"type": "array", "items": fields(GROUP | WORKERS, *GROUP, *WORKERS)},
    },
    "headGroupSpec",
)
SPEC = fields({"serveConfigV2": {"type": "string"}, "rayClusterConfig": CLUSTER}, "serveConfigV2", "rayClusterConfig")
SCHEMA = fields(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayService"},
        "metadata": fields({"name": {"type": "string"}, "labels": WORDS}, "name"),
        "spec": SPEC,
    },
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)


def service():
    return read_yaml("ray/rayservice.yaml")


def groups():
    cluster = service()["spec"]["rayClusterConfig"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def config():
    return read_yaml("ray/serve.yaml")


def settings():
    """The server's settings in the config file; the file of keys is on the cluster's nodes."""
    (application,) = config()["applications"]
    return load_settings(None, **application["args"])


def test_the_fields_are_kuberays():
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(service())] == []


@pytest.mark.parametrize("group", range(len(groups())))
def test_the_pods_are_valid(group):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": groups()[group]["template"]["spec"]}
    kubernetes_validate.validate(pod, "1.37.0", strict=True)


def test_it_holds_the_config_file():
    assert yaml.safe_load(service()["spec"]["serveConfigV2"]) == config()


def test_the_arguments_are_settings():
    assert settings().models == ServerSettings.model_fields["models"].default


def test_the_keys_are_where_the_settings_look_for_them():
    for group in groups():
        (container,) = group["template"]["spec"]["containers"]
        assert str(settings().api_keys_file.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_a_worker_has_the_time_to_finish():
    for group in groups()[1:]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > settings().drain_seconds + 10


def test_one_version_of_ray_is_meant():
    version = service()["spec"]["rayClusterConfig"]["rayVersion"]
    (image,) = [rest for name, rest in dockerfile("ray/Dockerfile") if name == "FROM"]
    assert image.startswith(f"rayproject/ray:{version}-")


def test_both_images_are_built_from_the_same_files():
    ignored = [(DEPLOY / folder / "Dockerfile.dockerignore").read_text(encoding="utf-8") for folder in (".", "ray")]
    assert ignored[0] == ignored[1]
