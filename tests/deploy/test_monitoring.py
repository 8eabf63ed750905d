"""Dashboard and alerts ask Prometheus for what the server really has."""

from __future__ import annotations

import promql_parser as promql
import pytest
from manifests import read_json, read_yaml
from prometheus_client.parser import text_string_to_metric_families

from serving import serving

OF_PROMETHEUS = {"up": {"job", "instance"}}  # what it adds itself
DASHBOARD = "grafana/dashboards/rerank.json"
INTERVAL = "$__rate_interval"  # Grafana's


def expressions():
    asked = [target["expr"] for panel in read_json(DASHBOARD)["panels"] for target in panel["targets"]]
    rules = [rule["expr"] for group in read_yaml("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    return [each.replace(INTERVAL, "1m").strip() for each in (*asked, *rules)]


def nodes(expression):
    """An expression and everything in it."""
    yield expression
    for name in ("expr", "lhs", "rhs", "args", "vector_selector"):
        inner = getattr(expression, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from nodes(each)


def asked(expression):
    """(metrics, labels) that an expression names."""
    metrics, labels = set(), set()
    for node in nodes(promql.parse(expression)):
        if isinstance(node, promql.VectorSelector):
            metrics.add(node.name)
            labels |= {matcher.name for matcher in node.matchers.matchers}
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            labels |= set(node.modifier.labels)
    return metrics, labels


@pytest.fixture(scope="module")
def exposed():
    """Every metric of a server that has answered, refused and remembered, with its labels."""
    with serving(cache_entries=10) as served:
        assert served.rerank(model="rerank-mini-en-v1").status_code == 200
        assert served.rerank().status_code >= 400
        text = served.http.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    known = {}
    for sample in samples:
        known.setdefault(sample.name, set()).update(sample.labels)
    # Those with a label have no sample before the first event; their name is in the text all the same.
    known.setdefault("rerank_failures_total", {"model", "code"})
    known.setdefault("rerank_truncated_documents_total", {"model"})
    assert "# HELP rerank_failures_total" in text
    assert "# HELP rerank_truncated_documents_total" in text
    return known | OF_PROMETHEUS


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_the_server_has(expression, exposed):
    metrics, labels = asked(expression)
    assert metrics
    assert metrics <= set(exposed)
    assert labels <= set.union(*(exposed[metric] for metric in metrics))


def test_a_name_that_is_not_there_is_seen(exposed):
    metrics, labels = asked('sum by (colour) (rate(rerank_answers_total{status="200"}[5m])) / rerank_queue_pairs')
    assert metrics - set(exposed) == {"rerank_answers_total"}
    assert labels == {"colour", "status"}


def test_every_metric_is_on_the_dashboard(exposed):
    shown = set.union(*(asked(expression)[0] for expression in expressions()))
    of_ours = {name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket") for name in exposed}
    bases = {name for name in of_ours if name.startswith("rerank_") and not name.endswith("_created")}
    assert {base for base in bases if not any(name.startswith(base) for name in shown)} == set()


def test_the_panels_fill_the_page_without_overlap():
    panels = read_json(DASHBOARD)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_reads_the_provisioned_source():
    (source,) = read_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert {panel["datasource"]["uid"] for panel in read_json(DASHBOARD)["panels"]} == {source["uid"]}


def test_prometheus_asks_the_server_of_the_compose_file():
    services = read_yaml("compose.yaml")["services"]
    (job,) = read_yaml("prometheus/prometheus.yml")["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert host in services
    assert services[host]["ports"] == [f"{port}:{port}"]
    (provider,) = read_yaml("grafana/provisioning/dashboards/rerank.yaml")["providers"]
    mounts = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts
