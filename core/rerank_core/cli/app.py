"""The commands. Each reads its arguments, calls the engine and shows what came back."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rerank_core.cli.commands import EXIT_NOTHING, Commands, interruptible
from rerank_core.cli.completions import model_names
from rerank_core.cli.terminal import say, say_json, writing_to
from rerank_core.errors import InvalidRequestError

if TYPE_CHECKING:
    from rerank_core.conversion.export import ExportReport

app = typer.Typer(
    cls=Commands,
    help="Rank texts by relevance to a query, with a cross-encoder, offline.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write the results here, instead of standard output.", dir_okay=False
    ),
]
"""``-o`` of every command; ``--json`` decides what is written."""


def import_heavy_libraries() -> None:
    """Now, while Ctrl-C still ends the process by itself: an import that is interrupted fails in strange ways."""
    from rerank_core.inference import loading, plan  # noqa: F401  (for the effect)
    from rerank_core.inference.quiet import quiet_onnxruntime

    quiet_onnxruntime()


def api_key_from(variable: str | None) -> str | None:
    """The key in an environment variable: as an argument it would be seen in process lists and shell histories."""
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise InvalidRequestError(  # without what was given: it may be the key itself
            "--api-key-env names an environment variable that is not set; it takes a name, not a key.", param="api_key"
        )
    return key


def _show_version(wanted: bool) -> None:
    if wanted:
        from rerank_core import __version__

        say(f"rerank-plugins {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def models(
    language: Annotated[
        str | None, typer.Option(metavar="CODE", help="Only models for this language: de, or German.")
    ] = None,
    licence: Annotated[str | None, typer.Option(metavar="SPDX", help="Only models with this licence.")] = None,
    max_size: Annotated[float | None, typer.Option(metavar="MB", help="Only models up to this download size.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
    output: OutputFile = None,
) -> None:
    """List the models known by name, and which of them are on this machine."""
    from rerank_core.cli.show import print_models
    from rerank_core.models.registry import select
    from rerank_core.models.source import is_cached

    with interruptible():
        chosen = select(language=language, licence=licence, max_size=max_size)
        specs = [(spec, is_cached(spec)) for spec in chosen]
    with writing_to(output):
        if as_json:
            say_json([asdict(spec) | {"on_this_machine": cached} for spec, cached in specs])
        elif specs:
            print_models(specs)
        else:
            say("rerank: no model known by name fits; `rerank models` lists them all.", error=True)
    if not specs:
        raise typer.Exit(EXIT_NOTHING)


@app.command()
def export(  # noqa: PLR0917  (typer reads them by name)
    model: Annotated[
        str,
        typer.Argument(help="A checkpoint folder, a model of `rerank models` or a Hub id.", autocompletion=model_names),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the ONNX files.")],
    int8: Annotated[bool, typer.Option("--int8/--no-int8", help="Write an int8 graph as well.")] = True,
    revision: Annotated[str | None, typer.Option(help="A Hub commit, branch or tag.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
    output: OutputFile = None,
) -> None:
    """Turn a torch checkpoint into local ONNX files, and check their scores against torch.

    Needs: pip install 'rerank-plugins[torch]'. The result runs without torch: Reranker("DIR"), or
    Reranker("DIR", dtype="int8").
    """
    from rerank_core.cli.progress import status
    from rerank_core.conversion.export import export_onnx

    with interruptible(), status("starting") as on_step:
        report = export_onnx(model, folder, int8=int8, revision=revision, on_step=on_step)
    with writing_to(output):
        if as_json:
            say_json(asdict(report))
        else:
            _say_exported(report)


def _say_exported(report: ExportReport) -> None:
    for path in report.files:
        say(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    say(f"float32: largest difference of a logit from torch {report.float32_difference:.1e}")
    if report.int8_difference is not None:
        say(f"int8: largest difference of a probability from torch {report.int8_difference:.4f}")
