"""``rerank doctor``: what is on this machine, whether its models rank, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from rerank_core.cli.app import api_key_from, app, import_heavy_libraries
from rerank_core.cli.commands import EXIT_FAILED, interruptible
from rerank_core.cli.engine_options import PANELS, KeyVariable, ModelName, takes
from rerank_core.cli.terminal import say, say_json
from rerank_core.errors import RerankError
from rerank_core.options import OPTIONS, effective_provider

_SECONDS = 3.0  # for the speed of one model
_BATCH = 32
_TEXT = "A reranker reads the query and the document together and says how relevant the one is to the other. " * 5


@app.command()
@takes(OPTIONS, PANELS)
def doctor(
    model: ModelName = None,
    api_key_env: KeyVariable = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    **options: Any,
) -> None:
    """Say what is on this machine, whether models really rank, and how many documents per second they score.

    Without --model or --base-url: all models of `rerank models` that are on this machine. Checked are a dozen pairs
    whose answers are known, in each of the model's languages; a server gets about 4,000 tokens to score, and its speed
    is not measured.

    Exit codes: 0 everything ranks, 2 usage error, 3 something does not rank or cannot be loaded.
    """
    local = effective_provider(options["provider"], options["base_url"]) == "local"
    if local:
        import_heavy_libraries()
    from rerank_core.cli.machine import facts

    with interruptible():
        found: dict[str, Any] = facts()
        names = [model] if model is not None or not local else _installed()
        if not as_json:
            for line in _lines(found):
                say(line)
        key = api_key_from(api_key_env)
        patients = []
        for name in names:
            patients.append(_examined(name, {"api_key": key} | options, local=local))
            if not as_json:
                say(_said(patients[-1]))
    if as_json:
        say_json(found | {"models": patients})
    if not all(patient["ranks"] for patient in patients):
        raise typer.Exit(EXIT_FAILED)


def _installed() -> list[str]:
    from rerank_core.models import REGISTRY
    from rerank_core.models.source import is_cached

    return [name for name, spec in REGISTRY.items() if is_cached(spec)]


def _examined(name: str | None, options: dict[str, Any], *, local: bool) -> dict[str, Any]:
    """What a model or server is, whether it ranks, and how fast."""
    from rerank_core import Reranker

    with Reranker(name, **options) as reranker:
        patient: dict[str, Any] = {"model": reranker.model, "ranks": False}
        try:
            report = reranker.check()
            patient |= {"ranks": report.passed, "findings": [each.detail for each in report.findings]}
            patient["said"] = str(report)
            if (loaded := reranker.loaded) is not None:
                patient |= {"backend": loaded.backend, "dtype": loaded.dtype, "device": loaded.device}
                patient["why"] = loaded.reason
            if local:
                patient["documents_per_second"] = round(_speed(reranker), 1)
        except RerankError as error:
            patient["said"] = f"{reranker.model} cannot be checked: {error}"
    return patient


def _speed(reranker: Any) -> float:
    """Documents of 90 words per second, in batches of 32, over about three seconds."""
    texts = [f"{number}. {_TEXT}" for number in range(_BATCH)]
    scored, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        reranker.score("How does a reranker work?", texts)
        scored += _BATCH
    return scored / (time.perf_counter() - started)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        parts = [f"{key} {item}" for key, item in value.items()] if isinstance(value, Mapping) else value
        yield f"{name}: {(', '.join(parts) if isinstance(parts, list) else parts) or 'none'}"


def _said(patient: Mapping[str, Any]) -> str:
    lines = [patient["said"]]
    if "backend" in patient:
        runs = f"runs on {patient['backend']}, {patient['dtype']}, {patient['device']}"
        lines.append(f"{runs}, because {patient['why']}")
    if "documents_per_second" in patient:
        lines.append(f"{patient['documents_per_second']:g} documents of 90 words per second")
    return "\n".join(lines)
