"""What is needed to repeat a measurement."""

from __future__ import annotations

import platform
from dataclasses import fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rerank_core.evaluation.experiment import Experiment
from rerank_core.inference.cpus import available_cpus

_PACKAGES = (
    "rerank-plugins", "onnxruntime", "tokenizers", "torch", "numpy", "scipy", "scikit-learn",
    "bm25s", "snowballstemmer", "ir-measures", "pytrec-eval-terrier",
)  # fmt: skip


def provenance(experiment: Experiment) -> dict[str, Any]:
    """Everything that decides what is measured, the system apart."""
    plan = experiment.plan
    settings = {each.name: getattr(plan, each.name) for each in fields(plan)}
    return {
        "data": experiment.data.name,
        "checksum": experiment.data.checksum,
        "queries": len(experiment.data.queries),
        "first_stage": experiment.stage.description,
        "settings": {**settings, **experiment.stage.settings},
        "environment": environment(),
    }


def environment() -> dict[str, str]:
    """Versions of what computes, the machine, and the date."""
    known = {"python": platform.python_version(), "machine": machine()}
    for package in _PACKAGES:
        try:
            known[package] = version(package)
        except PackageNotFoundError:
            continue
    return known | {"date": datetime.now(tz=UTC).date().isoformat()}


def machine() -> str:
    """The processor's name where the system gives it, and how many of them this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{platform.machine()}, {available_cpus()} CPUs, {name}"
