"""The files of ``deploy/``, read."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ROOT = DEPLOY.parent


def read_yaml(name):
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def read_json(name):
    return json.loads((DEPLOY / name).read_text(encoding="utf-8"))


def kubernetes():
    """Every manifest of the folder, by its kind."""
    read = [read_yaml(path.relative_to(DEPLOY)) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))]
    kinds = {manifest["kind"]: manifest for manifest in read}
    assert len(kinds) == len(read)
    return kinds


def dockerfile(name="Dockerfile"):
    """Its instructions, in order, as (name, the rest); continued lines are one."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(instruction, rest.strip()) for instruction, _, rest in (line.partition(" ") for line in lines)]
