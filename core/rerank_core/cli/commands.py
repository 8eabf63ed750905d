"""What all commands have in common: exit codes for what goes wrong, and help texts that say what they say."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, cast

import typer
from rich.markup import escape
from typer.core import TyperGroup

from rerank_core.cli.engine_options import in_flags
from rerank_core.cli.examples import EXAMPLES
from rerank_core.cli.loudness import common_options
from rerank_core.cli.terminal import say
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.files import reason
from rerank_core.shown import visible

EXIT_FOUND = 0
EXIT_NOTHING = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

# Its class is not public, and has moved from one package to another.
_UsageError = cast("type[Exception]", typer.BadParameter.__base__)


class Commands(TyperGroup):
    """The group of all commands. Whatever a command raises, and whoever writes it, comes out through here."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self._literal: set[str] = set()

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Reads the arguments of the group itself."""
        with exit_codes():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Reads the command's arguments, and runs it."""
        with exit_codes(lambda: self._flags(ctx)):
            return super().invoke(ctx)

    def _flags(self, ctx: Any) -> set[str]:
        """What the command that runs, or has run, can be given."""
        command: Any = self.commands.get(ctx.invoked_subcommand)
        return {flag for parameter in getattr(command, "params", ()) for flag in parameter.opts}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, with the options that all have, examples, and help in which brackets are brackets."""
        command: Any = super().get_command(ctx, cmd_name)
        if command is not None and cmd_name not in self._literal:
            self._literal.add(cmd_name)
            taken = {flag for each in command.params for flag in each.opts}
            command.params += [each for each in common_options() if taken.isdisjoint(each.opts)]
            for shown in (command, *command.params):
                if isinstance(text := getattr(shown, "help", None), str):
                    shown.help = escape(text)
            if lines := EXAMPLES.get(cmd_name):
                command.epilog = "\n\n".join(("Examples:", *(f"  {escape(line)}" for line in lines)))
        return command


class _Usage(typer.BadParameter):
    """A usage error in words that are safe to show."""

    def format_message(self) -> str:
        return self.message


@contextmanager
def exit_codes(flags: Callable[[], Collection[str]] = tuple) -> Iterator[None]:
    """Errors as one message on standard error and an exit code; Ctrl-C as silence.

    Args:
        flags: the options that messages may name as the command line does.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):  # decided already; whoever reads has enough
        raise
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except SystemExit as leaving:
        # The console that shows help leaves with 1, which means 'nothing found', when its reader has enough.
        if isinstance(leaving.__context__, BrokenPipeError):
            raise typer.Exit(EXIT_FOUND) from None
        raise
    except _UsageError as error:
        raise _shown(error) from None
    except Exception as error:  # noqa: BLE001  (exit code 1 means 'nothing found', never 'it broke')
        if _interrupted(error):
            raise typer.Exit(EXIT_INTERRUPTED) from None
        say(f"rerank: {_message(error, flags())}", error=True)
        raise typer.Exit(EXIT_USAGE if isinstance(error, InvalidRequestError) else EXIT_FAILED) from None


@contextmanager
def interruptible() -> Iterator[None]:
    """From here on Ctrl-C is an exception; until then, while libraries are imported, it ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield


def _message(error: Exception, flags: Collection[str]) -> str:
    if isinstance(error, RerankError):
        return in_flags(str(error), getattr(error, "param", None), flags)
    if isinstance(error, OSError):  # a full disk below a help text
        return f"{reason(error)}."
    if isinstance(error, MemoryError):
        return "out of memory; give less text at once, or a smaller model."
    say("".join(traceback.format_exception(error)).rstrip(), error=True)
    return f"unexpected {type(error).__name__}; this is a bug, please report it."


def _shown(error: Exception) -> Exception:
    said = cast("typer.BadParameter", error).format_message()
    return error if visible(said) == said else _Usage(visible(said), getattr(error, "ctx", None))


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: libraries turn it into errors of their own while they load."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
