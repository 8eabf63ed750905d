"""Inside somebody else's application, which runs no lifespan of ours."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

from rerank_core.server import ServerSettings, create_app
from serving import SPEC_BODY, serve_app
from waiting import BOUND, wait_for


def test_a_mounted_application_loads_its_models_when_somebody_looks():
    outer, inner = FastAPI(), create_app(ServerSettings())
    outer.mount("/search", inner)
    with serve_app(outer) as url, httpx.Client(base_url=f"{url}/search", timeout=BOUND, trust_env=False) as client:
        body = {**SPEC_BODY, "model": "rerank-mini-en-v1"}
        assert client.get("/health").status_code == 200
        wait_for(lambda: client.get("/ready").status_code == 200)  # the first probe makes it load
        reply = client.post("/v1/rerank", json=body)
        assert [result["index"] for result in reply.json()["results"]] == [0, 2, 1, 3]
        assert client.get("/nothing").json()["error"]["code"] == "not_found"
        assert 'route="/v1/rerank",status="200"' in client.get("/metrics").text
    inner.state.server.served.close()
