"""``rerank query``."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_core.cli.app import OutputFile, api_key_from, app, import_heavy_libraries
from rerank_core.cli.commands import EXIT_FOUND, EXIT_NOTHING, interruptible
from rerank_core.cli.engine_options import PANELS, KeyVariable, ModelName, takes
from rerank_core.cli.terminal import note, say, say_json, writing_to
from rerank_core.options import OPTIONS, effective_provider

if TYPE_CHECKING:
    from rerank_core.cli.hits import View
    from rerank_core.reading import Corpus
    from rerank_core.results import RerankResponse

logger = logging.getLogger(__name__)

_READING, _OUTPUT = "What is read", "Output"
_HERE = "."


class Split(StrEnum):
    """How a text file becomes documents."""

    FILE = "file"
    PARAGRAPH = "paragraph"
    LINE = "line"


@app.command()
@takes(OPTIONS, PANELS)
def query(  # noqa: PLR0917  (typer reads them by name)
    text: Annotated[
        str | None, typer.Argument(metavar="QUERY", help="What you are looking for; left out with --queries.")
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES",
            help="Files and folders, or - for standard input. Default: what is piped in, else the current folder.",
        ),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Many queries, one per line.", rich_help_panel=_READING)
    ] = None,
    split: Annotated[
        Split, typer.Option(help="What a document is in text.", rich_help_panel=_READING)
    ] = Split.PARAGRAPH,
    field: Annotated[
        str,
        typer.Option(help="The field or column that holds the text, in data files.", rich_help_panel=_READING),
    ] = "text",
    glob: Annotated[
        list[str] | None,
        typer.Option(
            "--glob", "-g", help="In folders, read only files like this; may be repeated.", rich_help_panel=_READING
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude",
            "-x",
            help="In folders, leave out what is like this; may be repeated.",
            rich_help_panel=_READING,
        ),
    ] = None,
    no_ignore: Annotated[
        bool, typer.Option("--no-ignore", help="Read what .gitignore leaves out.", rich_help_panel=_READING)
    ] = False,
    candidates: Annotated[
        int,
        typer.Option(
            min=0,
            help="Of more passages than this, BM25 picks so many for the model; 0 reads all.",
            rich_help_panel=_READING,
        ),
    ] = 1000,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", help="Show at most this many.", rich_help_panel=_OUTPUT)
    ] = 10,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show everything, whatever --top-n says.", rich_help_panel=_OUTPUT)
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", "-t", help="Leave out scores below this (0 to 1).", rich_help_panel=_OUTPUT),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.", rich_help_panel=_OUTPUT)] = False,
    context: Annotated[
        int, typer.Option("--context", "-C", min=0, help="Lines before and after each hit.", rich_help_panel=_OUTPUT)
    ] = 0,
    after: Annotated[
        int | None, typer.Option("--after", "-A", min=0, help="Lines after each hit.", rich_help_panel=_OUTPUT)
    ] = None,
    before: Annotated[
        int | None, typer.Option("--before", "-B", min=0, help="Lines before each hit.", rich_help_panel=_OUTPUT)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole response as JSON.", rich_help_panel=_OUTPUT)
    ] = False,
    output: OutputFile = None,
    as_jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object per result.", rich_help_panel=_OUTPUT)
    ] = False,
    model: ModelName = None,
    windows: Annotated[
        bool,
        typer.Option("--windows", help="The same as --long-documents windows.", rich_help_panel=PANELS["local"]),
    ] = False,
    api_key_env: KeyVariable = None,
    **options: Any,
) -> None:
    """Rank the passages of files by relevance to QUERY: a semantic grep.

    Reads text, Markdown, code, HTML, notebooks, data (.jsonl .csv .parquet) and, with the extra files, .pdf and .docx.
    On a terminal the best sentence of each hit is bold; piped, each hit is one line, path:line:score:text.

    Exit codes: 0 found, 1 nothing (above the threshold), 2 usage or input error, 3 model or API error.
    """
    from rerank_core import Reranker
    from rerank_core.cli.first_pass import FirstPass
    from rerank_core.cli.hits import View
    from rerank_core.cli.progress import progress_hook
    from rerank_core.reading import Selection, read

    if as_json and as_jsonl:
        raise typer.BadParameter("give --json or --jsonl, not both")
    local = effective_provider(options["provider"], options["base_url"]) == "local"
    if local:
        import_heavy_libraries()
        if options["highlights"] is None and not (as_json or as_jsonl):
            options["highlights"] = 1  # of an API each would be paid for
    if windows:
        options["long_documents"] = "windows"
    several, texts, paths = queries is not None, *_asked(text, files, queries)
    with interruptible(), progress_hook() as hook:
        selection = Selection(tuple(glob or ()), tuple(exclude or ()), ignored=no_ignore)
        corpus = read(paths, split=split.value, field=field, selection=selection)
        for left_out in corpus.left_out:
            say(f"rerank: left out: {left_out}", error=True)
        logger.info("read %d passages", len(corpus.documents))
        first_pass = FirstPass(corpus.documents, candidates)
        with Reranker(model, api_key=api_key_from(api_key_env), hooks=(hook,), **options) as reranker:
            responses = first_pass.ranked(reranker, texts, top_n=None if show_all else top_n, threshold=threshold)
    _log(responses)
    named = list(zip(texts if several else [None], responses, strict=True))
    with writing_to(output):
        if as_json or as_jsonl:
            _print_json(named, as_lines=as_jsonl)
        else:
            view = View(context if before is None else before, context if after is None else after, full)
            _print_text(named, corpus, view, guesses=threshold is None, remark=first_pass.remark)
    raise typer.Exit(EXIT_FOUND if any(map(len, responses)) else EXIT_NOTHING)


def _log(responses: Sequence[RerankResponse]) -> None:
    for response in responses:
        logger.info(
            "%s: %d tokens, %.3f s encoding, %.3f s inference, %.3f s in all",
            response.model, response.usage.prompt_tokens, *asdict(response.timings).values(),
        )  # fmt: skip


def _asked(text: str | None, files: Sequence[str] | None, queries: Path | None) -> tuple[list[str], list[str]]:
    """The queries, and what is read."""
    from rerank_core.reading import STDIN
    from rerank_core.reading.contents import contents, decoded

    paths = list(files or ())
    if queries is None:
        if text is None:
            raise typer.BadParameter("give a QUERY, or --queries FILE")
        texts = [text]
    else:
        paths = [text, *paths] if text is not None else paths
        texts = [line.strip() for line in decoded(contents(queries), str(queries)).split("\n") if line.strip()]
        if not texts:
            raise typer.BadParameter(f"{queries} holds no query; it has one per line", param_hint="--queries")
    return texts, paths or [STDIN if _is_piped_in() else _HERE]


def _is_piped_in() -> bool:
    """Whether something other than a person or the null device is at standard input."""
    try:
        kind = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISREG(kind) or stat.S_ISSOCK(kind)


_Named = tuple[str | None, "RerankResponse"]


def _print_json(named: Sequence[_Named], *, as_lines: bool) -> None:
    def labelled(query: str | None, value: dict[str, Any]) -> dict[str, Any]:
        return value if query is None else {"query": query, **value}

    if as_lines:
        for query, response in named:
            for result in response:
                say_json(labelled(query, result.to_dict()))
    elif named[0][0] is None:
        say_json(named[0][1].to_dict())
    else:
        say_json({"responses": [labelled(query, response.to_dict()) for query, response in named]})


def _print_text(named: Sequence[_Named], corpus: Corpus, view: View, *, guesses: bool, remark: str | None) -> None:
    """The hits on standard output, and what there is to say about them on standard error."""
    from rerank_core.cli.hits import only_guesses, print_hits

    for query, response in named:
        print_hits(response, corpus, view, query=query)
        if guesses and (weak := only_guesses(response)):
            note(weak)
        note(_footer(response, len(corpus.documents)))
    if remark:
        note(remark)


def _footer(response: RerankResponse, passages: int) -> str:
    if not len(response):
        return f"nothing found in {passages} passages"
    cut = sum(result.truncated for result in response)
    notes = [f"{cut} cut to fit the model (--windows reads everything)"] * bool(cut)
    notes += [f"{response.unscored} not scored: no time, or no model yet"] * bool(response.unscored)
    return " · ".join(
        (
            f"{len(response)} of {passages} passages",
            response.model,
            f"{response.usage.prompt_tokens} tokens",
            f"{response.timings.total:.2f} s",
            *notes,
        )
    )
