from __future__ import annotations

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
pytest.importorskip("griffe")


def test_the_reference_is_what_the_docstrings_say():
    """``python docs/make_reference.py`` writes it again."""
    made = runpy.run_path(str(DOCS / "make_reference.py"))["pages"]()
    kept = {page.name: page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")}
    assert sorted(kept) == sorted(made)
    assert [name for name in made if kept[name] != made[name]] == []
