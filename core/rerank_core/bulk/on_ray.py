"""The same job on Ray: files are read, and parts scored and written, wherever Ray has CPUs.

Ray Data moves parts from readers to a pool of workers that each hold the model, with only so many under way that
memory stays bounded, and does again what a lost worker was at. What is done is known by the parts in the output folder
(``parts.py``), which must be the same place for all machines. So a job may be begun on Ray and finished in one process,
or the other way round.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from rerank_core.bulk.job import Job, Progress, Totals, check_rejects, decisive, parts_of
from rerank_core.bulk.parts import Counts
from rerank_core.bulk.scoring import RerankBatch
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.inference.cpus import available_cpus
from rerank_core.optional import optional
from rerank_core.reranker import Reranker
from rerank_core.variables import RAY

with optional("bulk jobs on Ray", extra="ray"):
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
    from ray.data.block import BlockMetadata

_OBJECT_STORE_BYTES = 200_000_000


def run_on_ray(
    job: Job,
    options: Mapping[str, Any],
    on_part: Progress | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: int = 1,
) -> Totals:
    """:func:`~rerank_core.bulk.run` on Ray.

    Args:
        job: what is to be done. Files and output must be reachable from every machine under the same paths.
        options: the arguments of :class:`~rerank_core.Reranker`, for each worker to make its own.
        on_part: called after each part.
        address: of a cluster; None for that of ``RAY_ADDRESS``, or one of this machine's own, which ends with the job.
        workers: how many hold the model; None for as many as the cluster has CPUs for.
        cpus_per_worker: how many CPUs each one uses.

    Raises:
        InvalidRequestError: as for :func:`~rerank_core.bulk.run`; when there are fewer CPUs than the workers need.
        RerankError: when the model fails, or Ray does.
    """
    job = replace(job, files=[file.resolve() for file in job.files], output=job.output.resolve())
    parts, totals = job.parts(), Totals()
    with Reranker(**options) as reranker:
        parts.open(decisive(job, reranker))
    for counts in parts.all_done():
        totals.add(counts, kept=True)
    check_rejects(job, totals)
    with _cluster(address):
        size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)) // cpus_per_worker)
        for counts in _counted(job, {**options, "threads": cpus_per_worker}, size, cpus_per_worker):
            totals.add(counts, kept=False)
            check_rejects(job, totals)
            if on_part is not None:
                on_part(totals)
    return totals


def _counted(job: Job, options: Mapping[str, Any], workers: int, cpus: int) -> Iterator[Counts]:
    """The counts of each part, as it is done."""
    scored = ray.data.read_datasource(_Files(job), num_cpus=0).map_batches(
        _Worker,
        fn_constructor_args=(job, dict(options)),
        batch_size=1,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=cpus,
    )
    try:
        for row in scored.iter_rows():
            yield Counts(**json.loads(row["counts"]))
    except ray.exceptions.RayError as error:
        raise _own(error) from error


class _Files(Datasource):  # type: ignore[misc]  # Ray has no types
    """The parts of a job's files that are not done: a task per file, which gives one part after the other."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    def estimate_inmemory_data_size(self) -> int:
        """The size of the files."""
        return sum(file.stat().st_size for file in self._job.files)

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:  # noqa: ARG002  (Ray's signature)
        """A task per file."""
        return [
            ReadTask(partial(_parts_to_do, self._job, position), _about(file))
            for position, file in enumerate(self._job.files)
        ]


def _about(file: Any) -> Any:
    return BlockMetadata(num_rows=None, size_bytes=file.stat().st_size, exec_stats=None, input_files=(str(file),))


def _parts_to_do(job: Job, position: int) -> Iterator[Any]:
    parts = job.parts()
    for name, rows in parts_of(job, position):
        if parts.done(name) is None:
            yield pa.table({"name": [name], "rows": pa.array([pickle.dumps(rows)], pa.large_binary())})


class _Worker:
    """Scores and writes parts, with a reranker of its own."""

    def __init__(self, job: Job, options: Mapping[str, Any]) -> None:
        self._batch = RerankBatch(columns=job.columns, **options)
        self._parts = job.parts()

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        (name,), (packed,) = batch["name"], batch["rows"]
        rows = pickle.loads(packed)  # noqa: S301  (a reader of this job has written it)
        return {"counts": [json.dumps(asdict(self._parts.keep(str(name), len(rows), self._batch.score(rows))))]}


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A connection to a cluster, or a cluster on this machine that ends afterwards."""
    local: dict[str, Any] = {}
    if address is None and "RAY_ADDRESS" not in os.environ:
        for name, value in RAY.items():
            os.environ.setdefault(name, value)
        local = {
            "num_cpus": available_cpus(),
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    try:
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InvalidRequestError(f"no Ray cluster could be reached or started: {error}", param="address") from error
    context = DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def _own(error: Exception) -> RerankError:
    """A worker's error of ours, or one that says where to look."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RerankError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return RerankError(f"Ray gave up: {type(error).__name__}. Its logs are in the session's folder.", code="ray_failed")
