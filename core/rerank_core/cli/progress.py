"""Progress on standard error, only when a person is watching."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from rerank_core.cli.terminal import Terminal, hushed
from rerank_core.events import BatchScored, Encoded, Event, Hook


class _Count(MofNCompleteColumn):
    """How many of how many; nothing while nobody knows."""

    def render(self, task: Task) -> Text:
        """The count."""
        return Text() if task.total is None else super().render(task)


def _columns() -> tuple[ProgressColumn, ...]:
    """Description, bar, count, time left. Descriptions are names, no markup."""
    return TextColumn("{task.description}", markup=False), BarColumn(), _Count(), TimeRemainingColumn()


@contextmanager
def progress_hook() -> Iterator[Hook]:
    """A hook that shows how many inputs have been scored; silent when standard error is not a terminal."""
    console = Terminal(stderr=True)
    if hushed() or not console.is_terminal:
        yield _ignore
        return
    with Progress(*_columns(), console=console, transient=True) as progress:
        task = progress.add_task("reading", total=None)

        def hook(event: Event) -> None:
            if isinstance(event, Encoded):
                progress.update(task, description="scoring", total=event.inputs)
            elif isinstance(event, BatchScored):
                progress.advance(task, event.inputs)

        yield hook


def _ignore(_event: Event) -> None:
    pass


@contextmanager
def status(first: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done; call the yielded function with each next step."""
    console = Terminal(stderr=True)
    if hushed():
        yield lambda _: None
        return
    if not console.is_terminal:
        yield lambda step: console.print(f"{step} ...", markup=False, highlight=False)
        return
    with console.status(first) as line:
        yield line.update


@contextmanager
def query_progress(count: int) -> Iterator[Callable[[str], None]]:
    """A bar for each system of an evaluation over ``count`` queries; call the yielded function with its name."""
    console = Terminal(stderr=True)
    if hushed() or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(*_columns(), console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def on_query(system: str) -> None:
            if system not in tasks:
                tasks[system] = progress.add_task(system, total=count)
            progress.advance(tasks[system])

        yield on_query
