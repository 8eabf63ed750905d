"""Every optional library is imported through one seam, which names the extra that pyproject.toml gives it to."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from rerank_core import MissingDependencyError
from rerank_core.optional import _PACKAGES, optional

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = [ROOT / "core" / "rerank_core", ROOT / "rerank_plugins", ROOT / "haystack_integrations"]
OURS = {"rerank_core", "rerank_plugins", "haystack_integrations"}

# What is imported behind a seam somewhere else: by whom, and where that is.
BEHIND = {
    "core/rerank_core/server/": "core/rerank_core/cli/serve.py",
    "core/rerank_core/inference/": "core/rerank_core/inference/backends/checkpoint.py",
    "core/rerank_core/conversion/export.py": "core/rerank_core/inference/backends/checkpoint.py",
    "core/rerank_core/conversion/": "core/rerank_core/conversion/quantize.py",
    "core/rerank_core/cli/mcp_server.py": "core/rerank_core/cli/mcp.py",
    "haystack_integrations/": "rerank_plugins/haystack.py",
}
# What is imported only by the library it is for, hence needs no seam.
PLUGINS = {"rerank_plugins/pytest.py": "pytest"}
# What one of the extra's packages always brings along.
BROUGHT = {
    "starlette": "fastapi",
    "h11": "uvicorn",
    "transformers": "sentence-transformers",
    "torch": "torch",
    "mcp_types": "mcp",
}


def normal(name):
    return re.sub("[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name)[0]).lower()


BASE = {normal(name) for name in PROJECT["dependencies"]} | {"pydantic-core", "typing-extensions"}
EXTRAS = {
    extra: {normal(name) for name in names}
    for extra, names in PROJECT["optional-dependencies"].items()
    if extra != "all"
}


distributions = cache(packages_distributions)


def extras_of(module):
    """The extras that bring a top-level module; None for the base's and the standard library's."""
    if module in sys.stdlib_module_names | OURS:
        return None
    brought = BROUGHT.get(module)
    names = (
        {brought}
        if brought
        else {normal(name) for name in distributions().get(module, [_PACKAGES.get(module, module)])}
    )
    if names & BASE:
        return None
    return {extra for extra, packages in EXTRAS.items() if names & packages}


class Imports(ast.NodeVisitor):
    """Every import of a module, with the extra of the seam it stands in; those for type checkers left out."""

    def __init__(self):
        self.found = []
        self.extra = None

    def visit_If(self, node):
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)
        for other in node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else ():
            self.visit(other)

    def visit_With(self, node):
        before = self.extra
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "optional":
                self.extra = next(word.value.value for word in call.keywords if word.arg == "extra")
        self.generic_visit(node)
        self.extra = before

    def visit_Import(self, node):
        self.found += [(alias.name.partition(".")[0], node.lineno, self.extra) for alias in node.names]

    def visit_ImportFrom(self, node):
        if not node.level:
            self.found.append((node.module.partition(".")[0], node.lineno, self.extra))


def files():
    return [path for source in SOURCES for path in source.rglob("*.py")]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_optional_library_is_imported_behind_a_seam_that_names_its_extra(path):
    name = path.relative_to(ROOT).as_posix()
    imports = Imports()
    imports.visit(ast.parse(path.read_text(encoding="utf-8")))
    guarded = {module for module, _, extra in imports.found if extra is not None}
    for module, line, extra in imports.found:
        expected = extras_of(module)
        if expected is None or module == PLUGINS.get(name):
            continue
        assert expected, f"{name}:{line} imports {module}, which no extra brings"
        if extra is None and (module in guarded or any(name.startswith(place) for place in BEHIND)):
            continue  # it has been found there already
        assert extra in expected, f"{name}:{line} imports {module} without optional(..., extra={expected})"


def test_what_stands_behind_another_files_seam_does():
    for place, seam in BEHIND.items():
        assert (ROOT / place).exists()
        assert "with optional(" in (ROOT / seam).read_text(encoding="utf-8")


def test_an_absent_library_is_named_with_its_extra():
    with pytest.raises(MissingDependencyError) as caught, optional("this", extra="eval"):
        import no_such_library_at_all.part  # noqa: F401
    assert str(caught.value) == (
        "this needs the package 'no-such-library-at-all', which is not installed. "
        "Run: pip install 'rerank-plugins[eval]'"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("said", ["raise OSError('libcudnn.so.9: cannot open')", "from os import no_such_name"])
def test_a_broken_library_is_said_to_be(tmp_path, said):
    (tmp_path / "broken_library.py").write_text(said)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from rerank_core.optional import _PACKAGES, optional\n"
        "with optional('this', extra='torch'):\n"
        "    import broken_library\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert "MissingDependencyError: this needs a library that is installed and cannot be imported" in last
    assert "--force-reinstall 'rerank-plugins[torch]'" in last


@pytest.mark.parametrize(("module", "package"), _PACKAGES.items())
def test_a_package_has_the_name_it_is_installed_under(module, package):
    assert any(package in packages for packages in EXTRAS.values())
    if module in distributions():
        assert package in {normal(name) for name in distributions()[module]}


def test_a_mistake_is_not_taken_for_an_absent_library():
    with pytest.raises(KeyboardInterrupt), optional("this", extra="eval"):
        raise KeyboardInterrupt
