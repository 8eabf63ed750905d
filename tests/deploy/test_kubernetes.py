"""The Kubernetes manifests: valid by Kubernetes' own schemas, and fitting each other and the server."""

from __future__ import annotations

import kubernetes_validate
import pytest
from manifests import kubernetes, read_yaml

from rerank_core.server.settings import ServerSettings
from serving import serving

VERSIONS = ("1.30.0", "1.37.0")  # the first with a pause before the end of a container, and the newest known


def pod():
    return kubernetes()["Deployment"]["spec"]["template"]


def container():
    (only,) = pod()["spec"]["containers"]
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", sorted(kubernetes()))
def test_a_manifest_is_valid(kind, version):
    kubernetes_validate.validate(kubernetes()[kind], version, strict=True)


def test_every_selector_selects_the_pods():
    labels = pod()["metadata"]["labels"]
    kinds = kubernetes()
    selectors = [
        kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        kinds["Service"]["spec"]["selector"],
        kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert labels
    assert all(selector == labels for selector in selectors)
    assert kinds["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == kinds["Deployment"]["metadata"]["name"]


def test_the_ports_are_the_servers():
    named = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert named == {"http": ServerSettings.model_fields["port"].default}
    assert {port["targetPort"] for port in kubernetes()["Service"]["spec"]["ports"]} == {"http"}


def test_the_probes_are_answered():
    probes = {name: container()[name]["httpGet"]["path"] for name in container() if name.endswith("Probe")}
    assert set(probes) == {"startupProbe", "readinessProbe", "livenessProbe"}
    with serving() as served:
        assert {path: served.http.get(path).status_code for path in probes.values()} == {"/ready": 200, "/health": 200}
        served.server.lifecycle.draining = True
        assert served.http.get(probes["readinessProbe"]).status_code == 503
        assert served.http.get(probes["livenessProbe"]).status_code == 200


def test_a_pod_has_the_time_to_finish():
    pause = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod()["spec"]["terminationGracePeriodSeconds"] > pause + ServerSettings().drain_seconds + 10


def test_a_service_called_rerank_does_not_set_the_servers_port():
    assert pod()["spec"]["enableServiceLinks"] is False


def test_pods_are_restricted():
    """What Kubernetes' policy "restricted" asks for."""
    secured, inside = pod()["spec"]["securityContext"], container()["securityContext"]
    assert secured["runAsNonRoot"]
    assert secured["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inside["readOnlyRootFilesystem"]
    assert inside["allowPrivilegeEscalation"] is False
    assert inside["capabilities"] == {"drop": ["ALL"]}


def test_compose_and_kubernetes_give_the_server_the_same_settings():
    set_here = {each["name"]: each["value"] for each in container()["env"]}
    set_there = read_yaml("compose.yaml")["services"]["rerank"]["environment"]
    assert set(set_here) == set(set_there)
    assert set_here["RERANK_CACHE_ENTRIES"] == set_there["RERANK_CACHE_ENTRIES"]
