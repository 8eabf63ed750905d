"""``rerank bulk``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_core.cli.app import api_key_from, app, import_heavy_libraries
from rerank_core.cli.commands import EXIT_INTERRUPTED, interruptible
from rerank_core.cli.engine_options import PANELS, KeyVariable, ModelName, takes
from rerank_core.cli.terminal import note, say, say_json
from rerank_core.options import OPTIONS, effective_provider

if TYPE_CHECKING:
    from rerank_core.bulk import Totals

_COLUMNS, _JOB = "Columns", "The job"
# What follows scores, or stands in for them, has no place in a job that is to be complete.
_LEFT_OUT = frozenset(
    {"on_failure", "when_cold", "fusion", "diversify", "max_per_source", "source_field", "highlights"}
)
_TAKEN = {name: each for name, each in OPTIONS.items() if name not in _LEFT_OUT}


class Kind(StrEnum):
    """The format of the output."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    TREC = "trec"


class Engine(StrEnum):
    """Where a job runs."""

    AUTO = "auto"
    LOCAL = "local"
    RAY = "ray"


@app.command()
@takes(_TAKEN, PANELS)
def bulk(  # noqa: PLR0917  (typer reads them by name)
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES",
            help="Files, folders, patterns and URLs (s3://, gs://) of .jsonl, .csv, .parquet, and of .trec or .run.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the scored rows go.", file_okay=False),
    ] = None,
    output_format: Annotated[
        Kind, typer.Option("--format", help="What the scored rows are written as.", rich_help_panel=_JOB)
    ] = Kind.JSONL,
    queries: Annotated[
        Path | None,
        typer.Option(help="The queries of TREC runs: JSONL or id<TAB>text.", dir_okay=False, rich_help_panel=_JOB),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(help="Their documents: the same; may be repeated.", dir_okay=False, rich_help_panel=_JOB),
    ] = None,
    max_rejects: Annotated[
        int | None,
        typer.Option(min=0, help="End when more rows than this cannot be scored.", rich_help_panel=_JOB),
    ] = None,
    rows_per_part: Annotated[
        int,
        typer.Option(
            min=1, help="Rows that are scored before they are written: what a crash costs.", rich_help_panel=_JOB
        ),
    ] = 1000,
    engine: Annotated[
        Engine,
        typer.Option(help="Where the job runs; auto is Ray where an address is known.", rich_help_panel=_JOB),
    ] = Engine.AUTO,
    address: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster, if not that of RAY_ADDRESS or one of this machine's own.", rich_help_panel=_JOB
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many workers hold the model on Ray. Default: as many as there is room for.",
            rich_help_panel=_JOB,
        ),
    ] = None,
    cpus_per_worker: Annotated[
        int, typer.Option(min=1, help="CPUs, and threads, of a worker on Ray.", rich_help_panel=_JOB)
    ] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, help="GPUs of a worker on Ray, or its share of one.", rich_help_panel=_JOB)
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Score the first rows, say what all will take, and write nothing."),
    ] = False,
    query_column: Annotated[str, typer.Option(help="The query.", rich_help_panel=_COLUMNS)] = "query",
    document_column: Annotated[str, typer.Option(help="The text of a pair.", rich_help_panel=_COLUMNS)] = "document",
    documents_column: Annotated[
        str, typer.Option(help="The texts of a query with its candidates.", rich_help_panel=_COLUMNS)
    ] = "documents",
    query_id_column: Annotated[
        str, typer.Option(help="What tells queries apart, where their texts do not.", rich_help_panel=_COLUMNS)
    ] = "query_id",
    document_id_column: Annotated[
        str, typer.Option(help="The ids of texts, for TREC runs.", rich_help_panel=_COLUMNS)
    ] = "document_id",
    id_column: Annotated[
        str, typer.Option(help="What tells rows apart; made where it is missing.", rich_help_panel=_COLUMNS)
    ] = "id",
    prefix: Annotated[
        str, typer.Option(help="Stands before the names of the added columns.", rich_help_panel=_COLUMNS)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
    model: ModelName = None,
    api_key_env: KeyVariable = None,
    **options: Any,
) -> None:
    """Score files of query-document pairs: hard negatives, search logs, training sets.

    A row is a pair (query, document) or a query with its candidates (query, documents). It comes back with all its
    columns and relevance_score, logit, rank, truncated, window, tokens and model; lists where it has candidates. Rows
    that cannot be scored go to rejects-*.jsonl with the reason. A TREC run is joined with its texts by id.

    A job that was ended, by Ctrl-C or a crash, goes on when the same command is run again.

    Exit codes: 0 done, 2 usage or input error, 3 model or API error, 130 stopped by Ctrl-C.
    """
    from rerank_core import Reranker
    from rerank_core.bulk import Columns, Job, find_files, run

    if output is None and not dry_run:
        raise typer.BadParameter("give --output FOLDER, or --dry-run")
    on_ray = _is_on_ray(engine, address)
    if not on_ray and (address or workers or cpus_per_worker > 1 or gpus_per_worker):
        raise typer.BadParameter("the address and the workers are Ray's: add --engine ray, or leave them out")
    if effective_provider(options["provider"], options["base_url"]) == "local":
        import_heavy_libraries()
    columns = Columns(
        query_column, document_column, documents_column, query_id_column, document_id_column, id_column, prefix
    )
    inputs, into = find_files(files), output or Path()
    job = Job(inputs, into, columns, output_format.value, rows_per_part, max_rejects, queries, tuple(texts or ()))
    made = {"model": model, "api_key": api_key_from(api_key_env), **options}
    with interruptible():
        if dry_run:
            with Reranker(**made) as reranker:
                _say_estimate(job, reranker, as_json=as_json)
            return
        try:
            with _progress() as on_part:
                if on_ray:
                    from rerank_core.bulk.on_ray import run_on_ray

                    totals = run_on_ray(
                        job,
                        made,
                        on_part,
                        address=address,
                        workers=workers,
                        cpus_per_worker=cpus_per_worker,
                        gpus_per_worker=gpus_per_worker,
                    )
                else:
                    with Reranker(**made) as reranker:
                        totals = run(job, reranker, on_part)
        except KeyboardInterrupt:
            say("rerank: stopped; what is done is kept. The same command goes on.", error=True)
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        from dataclasses import asdict

        say_json(asdict(totals) | {"output": str(output)})
        return
    say(f"{totals.rows:,} rows = {totals.scored:,} scored + {totals.rejects:,} rejected; {totals.pairs:,} pairs")
    if totals.kept:
        note(f"{totals.kept:,} of the rows had been done before")
    if totals.rejects:
        note(f"the rejects and their reasons are in {output}/rejects-*.jsonl")


def _is_on_ray(engine: Engine, address: str | None) -> bool:
    return engine is Engine.RAY or (engine is Engine.AUTO and (address is not None or "RAY_ADDRESS" in os.environ))


def _say_estimate(job: Any, reranker: Any, *, as_json: bool) -> None:
    from dataclasses import asdict

    from rerank_core.bulk.estimate import estimate

    found = estimate(job, reranker)
    if as_json:
        say_json(asdict(found))
        return
    work = f"about {found.rows:,} rows, {found.pairs:,} pairs and {found.tokens:,} tokens"
    say(f"{work}: {_duration(found.seconds)} on this machine")
    note(f"from the first {found.sample:,} rows, of which {found.rejects:,} cannot be scored")


@contextmanager
def _progress() -> Iterator[Callable[[Totals], None]]:
    """A line with rows, rates and time; silent when standard error is no terminal."""
    from rerank_core.cli.terminal import Terminal, hushed

    console = Terminal(stderr=True)
    if hushed() or not console.is_terminal:
        yield lambda _: None
        return
    started = time.perf_counter()
    with console.status("scoring") as line:

        def on_part(totals: Totals) -> None:
            line.update(_shown(totals, time.perf_counter() - started))

        yield on_part


def _shown(totals: Totals, seconds: float) -> str:
    """What was done, how fast, by how many, and how long the rest will take; short enough for a line."""
    done = totals.rows - totals.kept
    share = done / totals.rows / max(seconds, 1e-9) if totals.rows else 0.0
    left = max(0, totals.expected - totals.rows) * seconds / max(done, 1)
    rejects = f", {totals.rejects:,} rejected" if totals.rejects else ""
    workers = f", {totals.workers} workers" if totals.workers > 1 else ""
    return (
        f"{totals.rows:,} of {max(totals.expected, totals.rows):,} rows{rejects}, {totals.pairs * share:,.0f} pairs/s, "
        f"{totals.tokens * share:,.0f} tokens/s{workers}, {_clock(left)} left"
    )


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as a clock has them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _duration(seconds: float) -> str:
    minutes, hours = 60, 3600
    if seconds < 2 * minutes:
        return f"{seconds:.0f} seconds"
    return f"{seconds / minutes:.0f} minutes" if seconds < 2 * hours else f"{seconds / hours:.1f} hours"
