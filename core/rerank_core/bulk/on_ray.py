"""The same job on Ray: files are read, and parts scored and written, wherever Ray has CPUs.

Ray Data moves parts from readers to a pool of workers that each hold the model, and does again what a lost worker was
at. Only so many parts are under way that memory stays bounded, whatever the input. What is done is known by the parts
in the output folder (``parts.py``), which must be the same place for all machines. So a job may be begun on Ray and
finished in one process, or the other way round.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from rerank_core.bulk.inputs import Input
from rerank_core.bulk.job import Job, Part, Progress, Totals, check_rejects, decisive, parts_of, score_part
from rerank_core.bulk.parts import Counts
from rerank_core.bulk.scoring import RerankBatch
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.inference.cpus import available_cpus
from rerank_core.optional import optional
from rerank_core.options import effective_provider
from rerank_core.reranker import Reranker
from rerank_core.variables import RAY

with optional("bulk jobs on Ray", extra="ray"):
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, DataContext, Datasource, ReadTask
    from ray.data.block import BlockMetadata

OBJECT_STORE_BYTES = 200_000_000
"""Of a Ray of this machine's own; what does not fit, Ray spills to disk."""

_RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU"}
_READERS = 2
_AHEAD = 2  # parts under way per worker: one at work, one that waits


def run_on_ray(
    job: Job,
    options: Mapping[str, Any],
    on_part: Progress | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: int = 1,
    gpus_per_worker: float = 0,
) -> Totals:
    """:func:`~rerank_core.bulk.run` on Ray.

    Args:
        job: what is to be done. Files and output must be reachable from every machine under the same paths.
        options: the arguments of :class:`~rerank_core.Reranker`, for each worker to make its own.
        on_part: called after each part.
        address: of a cluster; None for what Ray is connected to, that of ``RAY_ADDRESS``, or one of this machine's own,
            which ends with the job.
        workers: how many hold the model; None for as many as the cluster has CPUs, or GPUs, for.
        cpus_per_worker: how many CPUs each one uses.
        gpus_per_worker: how many GPUs, or what share of one; the rest of a machine's GPUs a worker does not see.

    Raises:
        InvalidRequestError: as for :func:`~rerank_core.bulk.run`; when no cluster can be reached or started, or this
            machine has less than a worker needs.
        RerankError: when the model fails, or Ray does.
    """
    job = job.resolved()
    needs = {"num_cpus": cpus_per_worker, "num_gpus": gpus_per_worker}
    with _cluster(address, needs):
        options = _shared_out(options, cpus_per_worker)
        model = _taken(ray.remote(**needs)(_identity).remote(options))
        parts, totals = job.parts(), Totals(expected=job.rows_about())
        parts.open(decisive(job, model))
        job.keep_texts()
        for counts in parts.all_done():
            totals.add(counts, kept=True)
        check_rejects(job, totals)
        totals.workers = workers or _most_workers(needs)
        for counts in _counted(job, options, model, totals.workers, needs):
            totals.add(counts, kept=False)
            check_rejects(job, totals)
            if on_part is not None:
                on_part(totals)
    parts.tidy()
    return totals


def _identity(options: Mapping[str, Any]) -> str | RerankError:
    """That of a worker's model: the machine that the job is started on may have no GPU, or be of another kind."""
    try:
        with Reranker(**options) as reranker:
            return reranker.scorer.identity
    except RerankError as error:
        return error


def _taken(reference: Any) -> str:
    """What a task returned.

    Raises:
        RerankError: when that is an error of ours, or Ray fails.
    """
    try:
        found = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise _given_up(error) from error
    if isinstance(found, RerankError):
        raise found
    return str(found)


def _most_workers(needs: Mapping[str, float]) -> int:
    """How many workers a cluster has room for; at least one, for which it may have to grow."""
    there = ray.cluster_resources()
    rooms = [there.get(_RESOURCES[name], 0) / need for name, need in needs.items() if need]
    return max(1, int(min(rooms, default=1)))


def _shared_out(options: Mapping[str, Any], cpus: int) -> dict[str, Any]:
    """The options of a worker: its model has the threads that Ray keeps for it, unless somebody said otherwise."""
    local = effective_provider(options.get("provider"), options.get("base_url")) == "local"
    return {**options, "threads": cpus} if local and options.get("threads") is None else dict(options)


def _counted(
    job: Job, options: Mapping[str, Any], model: str, workers: int, needs: Mapping[str, float]
) -> Iterator[Counts]:
    """The counts of each part, as it is done. ``model`` is what each worker's must be."""
    readers = min(_READERS, len(job.files))
    gate = ray.remote(num_cpus=0)(_Gate).remote(_AHEAD * (workers + 1))
    scored = ray.data.read_datasource(_Files(job, gate), num_cpus=0, concurrency=readers).map_batches(
        _Worker,
        fn_constructor_args=(job, options, model),
        batch_size=1,
        # All at once; a least size of them all would be a warning where a job has fewer parts.
        compute=ActorPoolStrategy(min_size=1, max_size=workers, initial_size=workers),
        **needs,
    )
    try:
        for row in scored.iter_rows():
            done = pickle.loads(row["done"])  # noqa: S301  (a worker of this job has written it)
            if isinstance(done, RerankError):
                raise done
            name, counts = done
            gate.leave.remote(name)
            yield counts
    except ray.exceptions.RayError as error:
        raise _given_up(error) from error


def _given_up(error: Exception) -> RerankError:
    return RerankError(
        f"Ray gave up: {type(error).__name__}. Its logs say more: session_latest/logs in Ray's folder.",
        code="ray_failed",
    )


class _Gate:
    """Lets so many parts be under way at once.

    Ray Data's own limits are on blocks that wait between its operators, and let a reader run far ahead of slow workers:
    all of a file may then lie in the object store, and spill to disk.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._inside: set[str] = set()
        self._changed = asyncio.Condition()

    async def enter(self, name: str) -> None:
        """Wait until there is room; a part that a lost reader had brought in is in."""
        async with self._changed:
            await self._changed.wait_for(lambda: name in self._inside or len(self._inside) < self._most)
            self._inside.add(name)

    async def leave(self, name: str) -> None:
        """A part is done."""
        async with self._changed:
            self._inside.discard(name)
            self._changed.notify_all()


class _Files(Datasource):  # type: ignore[misc]  # Ray has no types
    """The parts of a job's files that are not done: a task per file, which gives one part after the other."""

    def __init__(self, job: Job, gate: Any) -> None:
        super().__init__()
        self._job = job
        self._gate = gate

    def estimate_inmemory_data_size(self) -> int:
        """The size of the files."""
        return sum(file.size() for file in self._job.inputs())

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:  # noqa: ARG002  (Ray's signature)
        """A task per file."""
        return [
            ReadTask(partial(_parts_to_do, self._job, self._gate, position), _about(file))
            for position, file in enumerate(self._job.inputs())
        ]


def _about(file: Input) -> Any:
    return BlockMetadata(num_rows=None, size_bytes=file.size(), exec_stats=None, input_files=(file.name,))


def _parts_to_do(job: Job, gate: Any, position: int) -> Iterator[Any]:
    """Parts, and an error of ours at the end if there is one: Ray would lose it on the way to the driver."""
    parts = job.parts()
    try:
        for part in parts_of(job, position):
            if parts.done(part.name) is None:
                ray.get(gate.enter.remote(part.name))
                yield _packed("part", part)
    except RerankError as error:
        yield _packed("part", error)


def _packed(name: str, value: Part | tuple[str, Counts] | RerankError) -> Any:
    return pa.table({name: pa.array([pickle.dumps(value)], pa.large_binary())})


class _Worker:
    """Scores and writes parts, with a reranker of its own. Errors of ours are values, as in :func:`_parts_to_do`."""

    def __init__(self, job: Job, options: Mapping[str, Any], model: str) -> None:
        self._parts = job.parts()
        self._made: RerankBatch | RerankError
        try:
            self._made = RerankBatch(columns=job.columns, **options)
            _check_identity(self._made.reranker.scorer.identity, model)
        except RerankError as error:
            self._made = error

    def __call__(self, batch: Mapping[str, Any]) -> Any:
        (packed,) = batch["part"]
        return _packed("done", self._done(pickle.loads(packed)))  # noqa: S301  (a reader of this job has written it)

    def _done(self, part: Part | RerankError) -> tuple[str, Counts] | RerankError:
        try:
            if isinstance(part, RerankError):
                return part
            if isinstance(self._made, RerankError):
                return self._made
            return part.name, score_part(part, self._made, self._parts)
        except RerankError as error:
            return error


def _check_identity(own: str, model: str) -> None:
    """Whether a worker's model is the job's.

    Raises:
        RerankError: when it is another one, though the options are the same.
    """
    if own != model:
        raise RerankError(
            f"a worker's model is {own}, and the job's is {model}: their machines are not alike. Say with --backend "
            "and --dtype what all are to use.",
            code="another_model",
        )


@contextmanager
def _cluster(address: str | None, needs: Mapping[str, float]) -> Iterator[None]:
    """A connection to a cluster, or a cluster on this machine that ends afterwards; one that there is stays."""
    if address is None and ray.is_initialized():
        with _data_settings():
            yield
        return
    local: dict[str, Any] = {}
    if address is None and "RAY_ADDRESS" not in os.environ:
        for name, value in RAY.items():
            os.environ.setdefault(name, value)
        local = {
            "num_cpus": available_cpus(),
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
    try:
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InvalidRequestError(f"no Ray cluster could be reached or started: {error}", param="address") from error
    try:
        if local:
            _check_room(needs)
        with _data_settings():
            yield
    finally:
        ray.shutdown()


def _check_room(needs: Mapping[str, float]) -> None:
    """Whether this machine has what one worker needs; Ray would wait for it for ever. A cluster may grow."""
    there = ray.cluster_resources()
    for name, need in needs.items():
        kind = _RESOURCES[name]
        if need > there.get(kind, 0):
            raise InvalidRequestError(
                f"a worker needs {need:g} {kind}s, and this machine has {there.get(kind, 0):g}. Ask for fewer "
                f"({name.removeprefix('num_')}_per_worker), or name a cluster (address).",
                param=f"{name.removeprefix('num_')}_per_worker",
            )


@contextmanager
def _data_settings() -> Iterator[None]:
    """Ray Data's settings for a job; afterwards they are what they were."""
    context = DataContext.get_current()
    before = (context.enable_progress_bars, context.target_max_block_size)
    # A part is a block, and leaves its reader at once: the next may have to wait.
    context.enable_progress_bars, context.target_max_block_size = False, 1
    # What it says of plans and stack traces stands in its logs as well.
    consoles = [each for each in logging.getLogger("ray.data").handlers if each.name == "console"]
    levels = [each.level for each in consoles]
    for console in consoles:
        console.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.target_max_block_size = before
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)
