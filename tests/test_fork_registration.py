"""Everything that a forked child must renew is made or renewed through ``rerank_core.forks``."""

from __future__ import annotations

import ast
import gc
import importlib
import pkgutil
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest

import rerank_core
import rerank_plugins
from rerank_core import Reranker, forks
from rerank_core.client.factory import Certificates, ClientFactory
from rerank_core.scoring import CachedScorer, LocalScorer

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("core/rerank_core", "rerank_plugins", "haystack_integrations")
    for path in (ROOT / folder).rglob("*.py")
)
PACKAGES = ("rerank_core", "rerank_plugins", "haystack_integrations")
# What holds a lock, a thread, a connection or a pool of them, by the module that makes it.
STATEFUL = {
    "threading": {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "Timer", "Thread"},
    "_thread": {"allocate_lock", "start_new_thread", "RLock"},
    "queue": {"Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"},
    "concurrent.futures": {"ThreadPoolExecutor", "ProcessPoolExecutor"},
    "concurrent.futures.thread": {"ThreadPoolExecutor"},
    "multiprocessing": {"Pool", "Process", "Lock", "Queue", "Manager", "Pipe"},
    "multiprocessing.pool": {"ThreadPool", "Pool"},
    "asyncio": {"to_thread"},
    "sqlite3": {"connect"},
    "httpx": {"Client", "AsyncClient", "HTTPTransport", "AsyncHTTPTransport"},
    "functools": {"cached_property"},  # Python 3.11 holds a lock while it computes
}
# Where such things are made, and what becomes of them in a child.
RENEWED = {
    "core/rerank_core/forks.py": "it is the place",
    "core/rerank_core/inference/workers.py": "Workers._renew",
    "core/rerank_core/server/ray_process.py": "made in the process that starts Ray, which does not fork afterwards",
    "core/rerank_core/server/served.py": "ServedModels._begin_anew",
    "core/rerank_core/server/watchdog.py": "made in the process that serves, which does not fork afterwards",
    "core/rerank_core/client/threads.py": "threads of one call, which end with it; only their own call waits for them",
    "core/rerank_core/client/retry.py": "an event of one call",
    "core/rerank_core/client/factory.py": "SyncTransport._forget and AsyncTransport._forget",
    "core/rerank_core/testing/contract.py": "a barrier of one check",
    "core/rerank_core/bulk/texts.py": "a connection of one reading, to a file that nobody writes any more",
    "core/rerank_core/evaluation/database.py": "ScoreStore._disconnect",
}


def made_in(path):
    """The stateful things that a file's code makes or refers to, as ``module.name``, whatever it calls them."""
    names, found = {}, set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                names[each.asname or top] = each.name if each.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {(each.asname or each.name): f"{node.module}.{each.name}" for each in node.names}
    # Annotations and isinstance() name classes without making any.
    skipped = {id(each) for node in ast.walk(tree) for each in _only_named(node)}
    for node in ast.walk(tree):
        if id(node) not in skipped and isinstance(node, ast.Attribute | ast.Name):
            module, _, name = _full_name(node, names).rpartition(".")
            if name in STATEFUL.get(module, ()):
                found.add(f"{module}.{name}")
    return found


def _only_named(node):
    parts = []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        parts = [node.returns, *(each.annotation for each in arguments)]
    elif isinstance(node, ast.AnnAssign):
        parts = [node.annotation]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"isinstance", "cast"}:
        parts = node.args
    return [each for part in parts if part is not None for each in ast.walk(part)]


def _full_name(node, names):
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    return f"{_full_name(node.value, names)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def test_locks_threads_and_connections_are_made_only_where_a_child_renews_them():
    made = {path.relative_to(ROOT).as_posix(): found for path in SOURCES if (found := made_in(path))}
    assert made.keys() == RENEWED.keys(), {place: made.get(place) for place in made.keys() ^ RENEWED.keys()}


@pytest.mark.parametrize(
    "code",
    [
        "import threading\nx = threading.Lock()",
        "from threading import RLock as L\nx = L()",
        "import threading as t\nf = t.Condition",
        "from dataclasses import field\nfrom threading import Lock\nx = field(default_factory=Lock)",
        "import concurrent.futures\nconcurrent.futures.ThreadPoolExecutor(1)",
        "def f():\n    from sqlite3 import connect\n    connect('x')",
        "import httpx\nhttpx.AsyncClient()",
        "import asyncio\nasyncio.to_thread(print)",
    ],
)
def test_the_search_finds_them_under_any_name(tmp_path, code):
    (tmp_path / "module.py").write_text(code)
    assert len(made_in(tmp_path / "module.py")) == 1


def test_the_search_lets_annotations_pass(tmp_path):
    (tmp_path / "module.py").write_text(
        "import threading, httpx\ndef f(x: httpx.Client) -> threading.RLock:\n    assert isinstance(x, httpx.Client)"
    )
    assert not made_in(tmp_path / "module.py")


FOREIGN = (sqlite3.Connection, threading.Condition, httpx.Client, httpx.AsyncClient)
THEIR_OWNERS = {"ScoreStore", "SyncTransport"}
# A client that a user hands over is theirs to renew. The collector may still hold such options of an earlier test.
THE_USERS = "http_client"


def test_every_lock_that_our_objects_hold_is_registered(bundled):
    """Seen from the other side: the modules and objects that are there once everything has been in use."""
    used = [bundled, Reranker(scorer=CachedScorer(LocalScorer())), Reranker("m", base_url="http://127.0.0.1:9")]
    used[1].rerank("q", ["a"])
    client = ClientFactory("http://127.0.0.1:9", Certificates()).client()
    holders = [each for each in gc.get_objects() if str(type(each).__module__).startswith(PACKAGES)] + modules()
    kinds = (type(threading.Lock()), type(threading.RLock()))
    locks = [(name, value) for each in holders for name, value in attributes(each) if isinstance(value, kinds)]
    assert len(locks) > 10
    assert not [
        name for name, lock in locks if not (forks.is_registered(lock) or name.startswith("rerank_core.forks."))
    ]
    held = [
        (type(each).__name__, name)
        for each in holders
        for name, value in attributes(each)
        if isinstance(value, FOREIGN) and not name.endswith(f".{THE_USERS}")
    ]
    assert not [name for owner, name in held if owner not in THEIR_OWNERS]
    client.close()


def modules():
    """All modules of the packages, as far as their extras are installed."""
    found = []
    for package in (rerank_core, rerank_plugins):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            try:
                found.append(importlib.import_module(module.name))
            except ImportError as error:
                if (error.name or "").startswith(PACKAGES):
                    raise
    return found


def attributes(holder):
    """Name and value of everything that an object or module holds itself."""
    slots = [name for kind in type(holder).__mro__ for name in getattr(kind, "__slots__", ()) if name != "__weakref__"]
    held = {**getattr(holder, "__dict__", {}), **{name: getattr(holder, name, None) for name in slots}}
    owner = getattr(holder, "__name__", type(holder).__qualname__)
    return [(f"{owner}.{name}", value) for name, value in held.items()]
