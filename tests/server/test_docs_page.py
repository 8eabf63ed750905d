"""``/docs``: drawn in a browser that reaches nothing but the server, and every example runs as it stands."""

from __future__ import annotations

import json
import re
import subprocess

import httpx
import pytest
from fastapi import FastAPI

from browsers import CHROMIUM, HERE_ONLY, needs_browser
from rerank_core.server import ServerSettings, create_app
from serving import serve_app, serving
from waiting import BOUND

METHODS = ("get", "post")


@pytest.fixture(scope="module")
def document(api):
    return api.http.get("/openapi.json").json()


def operations(document):
    items = document["paths"].items()
    return [(path, method, item[method]) for path, item in items for method in METHODS if method in item]


def bodies(operation):
    """The example bodies of an operation; None for one that takes none."""
    if "requestBody" not in operation:
        return [None]
    shown = operation["requestBody"]["content"]["application/json"]
    return [shown["example"]] if "example" in shown else [each["value"] for each in shown["examples"].values()]


def address(path, operation):
    for parameter in operation.get("parameters", ()):
        path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    return path


def test_every_example_runs_as_it_stands(api, document):
    ran = 0
    for path, method, operation in operations(document):
        for body in bodies(operation):
            reply = api.http.request(method, address(path, operation), json=body)
            assert reply.status_code == 200, (path, reply.text)
            if "return_" in json.dumps(body):
                assert "Machine learning is a subset" in reply.text, path
            ran += 1
    assert ran >= 35


def test_every_operation_has_a_summary_of_its_own_and_a_description(document):
    said = [operation["summary"] for _, _, operation in operations(document)]
    assert len(set(said)) == len(said)
    assert all(operation["description"] for _, _, operation in operations(document))


def test_the_page_and_its_files_come_from_the_server_alone(api):
    page = api.http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|<script>|<style", page.text)
    for name in re.findall(r'(?:src|href)="((?!data:)[^"]+)"', page.text):
        reply = api.http.get(f"/{name}")
        assert reply.status_code == 200, name
        assert reply.headers["x-content-type-options"] == "nosniff"


@needs_browser
def test_a_browser_without_network_draws_every_operation(api, document, tmp_path):
    dom, log = drawn(f"{api.url}/docs", tmp_path)
    assert dom.count('class="opblock-summary-path"') == len(operations(document))
    for _, _, operation in operations(document):
        assert operation["summary"] in dom
    assert "Content Security Policy" not in log


@needs_browser
def test_a_mounted_application_has_its_page_and_addresses_below_its_path(tmp_path):
    outer, inner = FastAPI(), create_app(ServerSettings())
    outer.mount("/search", inner)
    with serve_app(outer) as url:
        assert httpx.get(f"{url}/search/openapi.json", timeout=BOUND, trust_env=False).json()["servers"] == [
            {"url": "/search"}
        ]
        dom, _ = drawn(f"{url}/search/docs", tmp_path)
    assert "Rank documents by relevance to a query" in dom
    inner.state.server.served.close()


def drawn(url, folder):
    """The page's elements after its scripts have run, and what the browser had to say."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    flags += [HERE_ONLY, "--virtual-time-budget=20000"]
    command = [CHROMIUM, *flags, "--enable-logging=stderr", "--v=0", "--dump-dom", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=BOUND)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_a_locked_server_shows_its_page_all_the_same():
    with serving(api_keys=("k",), wait=False) as served:
        assert served.http.get("/docs").status_code == 200
        assert served.http.get("/docs/swagger-ui-bundle.js").status_code == 200
        assert served.http.get("/openapi.json").status_code == 200
