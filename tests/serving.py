"""A server of ours behind a real socket, for tests."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import httpx
import uvicorn

from rerank_core.server import ServerSettings, create_app
from waiting import BOUND, join, wait_for

SPEC_BODY = {
    "model": "bge-reranker-v2",
    "query": "What is machine learning?",
    "documents": [
        "Machine learning is a subset of artificial intelligence.",
        "The weather today is sunny and warm.",
        "Deep learning uses neural networks.",
        "Cats are popular pets worldwide.",
    ],
}


class Served:
    """An application behind a real socket."""

    def __init__(self, app, url):
        self.app = app
        self.server = app.state.server
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=BOUND, trust_env=False)

    def rerank(self, path="/v1/rerank", **changes):
        return self.http.post(path, json={**SPEC_BODY, **changes})

    def metric(self, name, **labels):
        return self.server.metrics._registry.get_sample_value(name, labels) or 0.0


@contextmanager
def serving(*, rerankers=None, wait=True, **settings):
    """A server in a thread; with ``rerankers``, only those are served."""
    if rerankers and "models" not in settings:
        settings["models"] = tuple(f"{name}=rerank-mini-en-v1" for name in rerankers)
    app = create_app(ServerSettings(port=0, **settings), rerankers)
    with serve_app(app) as url:
        served = Served(app, url)
        try:
            if wait:
                wait_for(lambda: app.state.server.served.ready)
            yield served
        finally:
            served.http.close()


@contextmanager
def serve_app(app):
    """Any application in a thread; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started or not thread.is_alive())
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        join(thread)
