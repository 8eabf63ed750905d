"""Whether an event loop goes on while something else works: by who waits for whom, not by how long it takes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rerank_core.scoring import FakeScorer
from waiting import BOUND, async_wait_for

T = TypeVar("T")


def on_the_loop() -> bool:
    """Whether this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Held:
    """A function that does its work once an event loop has moved on; called by the loop itself, it fails.

    Attributes:
        entered: set by the first call.
        released: lets all calls go on.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.entered.set()
        assert not on_the_loop(), f"{self._function} was called on the event loop's thread"
        assert self.released.wait(BOUND), "the event loop did not move on"
        return self._function(*arguments, **options)


async def while_held(work: Awaitable[T], held: Held) -> T:
    """What ``work`` gives, which calls ``held`` meanwhile; the loop has to run for that to end."""
    task = asyncio.ensure_future(work)
    await async_wait_for(lambda: held.entered.is_set() or task.done())
    assert held.entered.is_set() or task.exception(), "it did not do what should be held"
    held.released.set()
    return await task


def held_model(monkeypatch: Any, reranker: Any) -> Held:
    """The model of a local reranker, loaded and held before each batch."""
    reranker.warm_up()
    backend = reranker.scorer._loaded.shared.backend
    held = Held(backend.run)
    monkeypatch.setattr(backend, "run", held)
    return held


class GatedScorer(FakeScorer):
    """Scores when it is let; remembers who came and who was sent away."""

    def __init__(self, model="gated"):
        super().__init__(model)
        self.open = threading.Event()
        self.waiting = 0
        self.cancelled = 0

    async def ascore(self, query, texts):
        self.waiting += 1
        try:
            await async_wait_for(self.open.is_set)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        return await super().ascore(query, texts)
