"""Which package may import which: one table, and every import of ours is held against it."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "rerank_core"

# Modules beside the packages, in groups; a package is a group of its own name.
GROUPS = {
    "values": {
        "bm25", "call_group", "cost", "diversity", "documents", "errors", "events", "files", "forks", "fusion",
        "highlights", "optional", "ranking", "results", "rules", "scores", "shown", "spelling", "variables",
    },
    "options": {"option_checks", "option_fields", "option_text", "options"},
    "engine": {"known_pairs", "many", "packing", "physics", "probe", "request", "reranker"},
    "public": {"__init__"},
}  # fmt: skip
# What a group may import besides itself, rerank_core's version and "values". Imports inside functions and for type
# checkers count as well.
MAY_IMPORT = {
    "values": set(),
    "models": set(),
    "inference": {"models"},
    "conversion": {"inference"},
    "wire": set(),
    "client": {"wire", "inference"},
    "options": {"client", "models"},
    "scoring": {"options", "client", "wire", "inference", "models"},
    "engine": {"scoring", "options", "client", "inference", "models"},
    "public": {"engine"},
    "server": {"engine", "scoring", "options", "wire", "inference", "models"},
    "evaluation": {"engine", "scoring", "options", "wire", "inference", "models"},
    "bulk": {"engine", "options", "evaluation", "inference"},
    "reading": set(),
    "testing": {"engine", "scoring", "wire", "inference", "server"},
    "cli": {
        "public",
        "bulk",
        "conversion",
        "evaluation",
        "reading",
        "server",
        "options",
        "scoring",
        "inference",
        "models",
        "wire",
    },
    "__main__": {"cli"},
    "option_pages": {"options", "scoring"},
    "rerank_plugins": {"public", "scoring", "options", "wire", "models", "cli", "haystack_integrations"},
    "haystack_integrations": {"public", "options", "client", "inference", "rerank_plugins"},
}
# What a group may import for type checkers alone, from a layer above it.
MAY_NAME = {"options": {"scoring"}}
ABOVE_THE_ENGINE = {"rerank_plugins", "haystack_integrations"}


def sources():
    folders = (CORE, *(ROOT / name for name in sorted(ABOVE_THE_ENGINE)))
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def group_of(part):
    """The group of a package or module directly in ``rerank_core``."""
    return next((group for group, modules in GROUPS.items() if part in modules), part)


def group_of_file(path):
    inside = path.relative_to(CORE if path.is_relative_to(CORE) else ROOT).with_suffix("")
    return group_of(inside.parts[0])


def for_type_checkers(tree):
    """The imports in blocks that only type checkers read."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def imported(source):
    """(line, group, whether only for type checkers) of each import of ours."""
    tree = ast.parse(source)
    types_only = for_type_checkers(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module="rerank_core", names=names):
                modules = [f"rerank_core.{alias.name}" for alias in names]
            case ast.ImportFrom(module=str(module), level=0):
                modules = [module]
            case _:
                continue
        for module in modules:
            top, _, rest = module.partition(".")
            part = rest.partition(".")[0]
            if top in ABOVE_THE_ENGINE:
                yield node.lineno, top, node in types_only
            elif top == "rerank_core" and part != "__version__":
                known = (CORE / part).is_dir() or (CORE / f"{part}.py").is_file()
                yield node.lineno, group_of(part if part and known else "__init__"), node in types_only


def faults(group, source):
    allowed = MAY_IMPORT[group] | {group, "values"}
    named = allowed | MAY_NAME.get(group, set())
    return [
        f"{line}: {group} may not import {other}"
        for line, other, types_only in imported(source)
        if other not in (named if types_only else allowed)
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_its_layer_may(path):
    group = group_of_file(path)
    assert group in MAY_IMPORT, f"{path} belongs to no layer yet: enter it in GROUPS or MAY_IMPORT"
    assert faults(group, path.read_text(encoding="utf-8")) == []


def test_the_layers_of_the_engine_form_no_circle():
    engine = {group: others for group, others in MAY_IMPORT.items() if group not in ABOVE_THE_ENGINE}
    assert set(TopologicalSorter(engine).static_order()) == set(engine)


def test_every_permission_is_needed():
    used = {(group_of_file(path), group) for path in sources() for _, group, _ in imported(path.read_text("utf-8"))}
    allowed = [*MAY_IMPORT.items(), *MAY_NAME.items()]
    assert {(group, other) for group, others in allowed for other in others} <= used


@pytest.mark.parametrize(
    "line",
    [
        "from rerank_core.scoring.base import Scorer",
        "import rerank_core.scoring",
        "def f():\n    from rerank_core import scoring",
        "if TYPE_CHECKING:\n    from rerank_core.scoring import Scorer",
        "import rerank_plugins.options",
        "from rerank_core import Reranker",
    ],
)
def test_a_forbidden_import_is_seen(line):
    assert len(faults("client", line)) == 1


def test_what_a_type_checker_may_read_is_not_imported():
    line = "from rerank_core.scoring.base import Scorer"
    assert faults("options", f"if TYPE_CHECKING:\n    {line}") == []
    assert len(faults("options", line)) == 1
