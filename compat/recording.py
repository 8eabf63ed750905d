"""What other people's servers answer, kept for the tests that run without them."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from compat.checkpoint import DOCUMENTS, MODEL, QUERY
from compat.environments import ROOT
from compat.servers import KEY, Server
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest
from rerank_core.wire.registry import dialect

FOLDER = ROOT / "tests" / "compat" / "recorded"
_HEADERS = ("content-type", "retry-after", "www-authenticate")
LONG_DOCUMENT = "machine learning " * 200


def record(server: Server, url: str, local_scores: Sequence[float]) -> None:
    """Ask ``server`` what is right and what is wrong, in each dialect, and write down what it answers."""
    exchanges = [
        {"provider": provider, "name": name, **_ask(url, dialect(provider), key, body)}
        for provider in server.providers
        for name, key, body in _questions(dialect(provider), server.most)
    ]
    recorded = {
        "server": server.environment.package,
        "version": server.environment.version(),
        "recorded": dt.datetime.now(dt.UTC).date().isoformat(),
        "query": QUERY,
        "documents": DOCUMENTS,
        "local_scores": list(local_scores),
        "tolerance": server.tolerance,
        "exchanges": exchanges,
    }
    text = json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"
    _check_private(text)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{server.name}.json").write_text(text)


def _questions(spoken: Dialect, most: int | None) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, key and body of every request."""

    def body(documents: Sequence[str], model: str = MODEL) -> dict[str, Any]:
        return spoken.write_request(WireRequest(QUERY, documents, model=model, return_documents=False))

    questions = [
        ("ranking", KEY, body(DOCUMENTS)),
        ("wrong key", "wrong", body(DOCUMENTS)),
        ("unknown model", KEY, body(DOCUMENTS, "nobody-serves-this")),
        ("no documents", KEY, body([])),
        ("long document", KEY, body([LONG_DOCUMENT])),
    ]
    if most is not None:
        questions.append(("too many documents", KEY, body(["x"] * (most + 1))))
    return questions


def _ask(url: str, spoken: Dialect, key: str, body: dict[str, Any]) -> dict[str, Any]:
    with httpx.Client(trust_env=False, timeout=60) as http:
        reply = http.post(url + spoken.path_for(MODEL), json=body, headers=spoken.headers(key))
    return {
        "path": spoken.path_for(MODEL),
        "status": reply.status_code,
        "headers": {name: reply.headers[name] for name in _HEADERS if name in reply.headers},
        "text": reply.text,
    }


def _check_private(text: str) -> None:
    """Nothing of the machine it was recorded on belongs into it.

    Raises:
        RuntimeError: when something does.
    """
    for secret in (str(ROOT), str(Path.home()), f"/{getpass.getuser()}/", socket.gethostname(), "127.0.0.1", KEY):
        if secret in text:
            raise RuntimeError(f"the recording would hold {secret!r}")
