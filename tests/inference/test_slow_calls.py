"""Work beside the event loop: bounded in number, dropped with its caller, no part of the process's life."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rerank_core.inference.workers import Workers
from waiting import BOUND, async_wait_for


@pytest.fixture
def gate():
    """Closed until the test is over, at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.asyncio
async def test_results_and_errors_come_back():
    workers = Workers(2, "workers", slow=True)
    assert await workers.run(lambda: threading.current_thread().daemon) is True
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 // 0)
    assert await asyncio.gather(*(workers.run(lambda i=i: i) for i in range(100))) == list(range(100))


@pytest.mark.asyncio
async def test_work_that_outlives_its_caller_is_bounded_and_what_waits_is_never_begun(gate):
    workers = Workers(2, "workers", slow=True)
    begun = []

    def stuck(number):
        begun.append(number)
        gate.wait(BOUND)

    tasks = [asyncio.create_task(workers.run(lambda i=i: stuck(i))) for i in range(50)]
    await async_wait_for(lambda: len(begun) == 2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    gate.set()
    assert await workers.run(lambda: "next") == "next"  # behind the 48, which were skipped
    assert begun == [0, 1]


@pytest.mark.asyncio
async def test_a_result_for_a_caller_that_has_left_is_dropped(gate):
    workers = Workers(1, "workers", slow=True)
    task = asyncio.create_task(workers.run(lambda: gate.wait(BOUND)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    assert await workers.run(lambda: 1) == 1


def test_a_loop_that_is_gone_is_no_trouble(gate):
    workers = Workers(1, "workers", slow=True)

    async def leave():
        task = asyncio.create_task(workers.run(lambda: gate.wait(BOUND)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    gate.set()
    assert asyncio.run(workers.run(lambda: 2)) == 2
