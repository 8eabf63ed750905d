"""Tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from rerank_core.cli.terminal import Terminal
from rerank_core.models import ModelSpec


def print_models(specs: Sequence[tuple[ModelSpec, bool]]) -> None:
    """Print the registry."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "here"):
        table.add_column(title, no_wrap=True)
    for title in ("MB", "tokens"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("what it is")
    for spec, here in specs:
        about = f"{spec.languages}, {spec.licence}: {spec.description}"
        table.add_row(spec.name, "yes" if here else "", str(spec.size_mb), str(spec.max_tokens), about)
    Terminal().print(table)
