"""What every command takes, wherever it stands: how much is said beside the results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from rerank_core.cli.terminal import LogLines, hush

_PACKAGE = "rerank_core"
_PANEL = "Messages"


class Level(StrEnum):
    """The levels of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _quiet(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        hush(True)
        ctx.call_on_close(lambda: hush(False))
        _log(ctx, logging.ERROR)


def _verbose(ctx: typer.Context, times: int) -> None:
    if times:
        _log(ctx, logging.INFO if times == 1 else logging.DEBUG)


def _log_level(ctx: typer.Context, level: Level | None) -> None:
    if level is not None:
        _log(ctx, logging.getLevelNamesMapping()[level.name])


def _log(ctx: typer.Context, level: int) -> None:
    """Show the package's log lines of this level and above on standard error, until the command ends."""
    logger, lines = logging.getLogger(_PACKAGE), LogLines()
    before = logger.level
    if not any(isinstance(each, LogLines) for each in logger.handlers):
        logger.addHandler(lines)
    logger.setLevel(level)

    def restore() -> None:
        logger.removeHandler(lines)
        logger.setLevel(before)

    ctx.call_on_close(restore)


def _command(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_quiet,
            expose_value=False,
            help="Nothing on standard error but errors.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            callback=_verbose,
            expose_value=False,
            help="Say what is done, on standard error; -vv says more.",
            rich_help_panel=_PANEL,
        ),
    ] = 0,
    log_level: Annotated[
        Level | None,
        typer.Option(
            callback=_log_level,
            expose_value=False,
            help="Show log lines of this level and above.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
) -> None:
    pass


def common_options() -> Sequence[Any]:
    """The options, as parameters of a command."""
    maker = typer.Typer(add_completion=False)
    maker.command()(_command)
    return [each for each in typer.main.get_command(maker).params if each.name != "help"]
