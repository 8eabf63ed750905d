"""Documentation as passages and as a training set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data import read_set
from training.documentation import (
    WORDS,
    IndexEntry,
    Passage,
    Section,
    cut,
    passages_of,
    read_index,
    read_package,
    read_page,
)
from training.technical import HELD_OUT, NEARBY, build, query_of, rows_of, write_set

PAGE = """<html><head><title>skipped</title></head><body class="light sidebar-visible">
<div class="sidebar"><ul><li>Home<li>Up</ul></div>
<div class="body"><h1>25.1. Routine Vacuuming<a class="headerlink" href="#x">&para;</a></h1>
<p>Databases need <em>vacuuming</em> &amp; care.</p><script>var x = "<p>no</p>";</script>
<div class="section" id="space"><h2>25.1.2. Recovering Disk Space</h2>
<ul><li>First reason<li>Second
 reason</ul><pre>
SELECT 1;
  -- indented
</pre></div>
<h2>A.1 Other</h2><div class="toc"><p>Contents</p></div><h2>Empty</h2></div>
<footer><p>Bottom</p></footer></body></html>"""


def test_a_page_falls_into_sections_without_its_navigation() -> None:
    first, second = read_page(PAGE, "a/b.html")
    assert first == Section("a/b.html", ("Routine Vacuuming",), ["Databases need vacuuming & care."])
    assert second.titles == ("Routine Vacuuming", "Recovering Disk Space")
    assert second.blocks == ["First reason", "Second reason", "SELECT 1;\n  -- indented"]
    assert second.anchors == {"space"}


def test_a_skipped_container_ends_where_it_ends_though_its_items_do_not() -> None:
    html = '<div class="menu"><p>One<p>Two<ul><li>x<li>y</ul><div>deep</div></div><h1>Title</h1><p>Text'
    (section,) = read_page(html, "p")
    assert (section.titles, section.blocks) == (("Title",), ["Text"])


@given(st.text())
def test_any_text_is_a_page(html: str) -> None:
    assert all(section.blocks for section in read_page(html, "p"))


@given(st.lists(st.integers(1, 500), max_size=30))
def test_passages_have_the_right_length_and_lose_no_block_that_fits(sizes: list[int]) -> None:
    section = Section("p", ("Title",), [" ".join([f"w{number}"] * size) for number, size in enumerate(sizes)])
    found = list(cut(section))
    lengths = [len(passage.text.split()) for passage in found]
    assert all(length in WORDS for length in lengths)
    kept = [block for passage in found for block in passage.text.split("\n")]
    assert kept == [block for block in section.blocks if block in kept]
    assert all(block in kept for block in section.blocks if len(block.split()) in WORDS)


def test_equal_passages_stand_once_and_may_have_their_headings() -> None:
    blocks = ["word " * 40]
    sections = [Section("p", ("A", "B", "C"), blocks), Section("q", (), blocks)]
    (passage,) = passages_of(sections)
    assert passage.headed.splitlines()[0] == "B > C"
    assert Passage("q", (), frozenset(), "text").headed == "text"


def test_a_package_is_read_without_other_languages_and_source_code(tmp_path) -> None:
    for path in ("manual/en/a.html", "manual/fr/a.html", "_modules/a.html", "b.html"):
        file = tmp_path / "doc" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("<h1>T</h1><p>text</p>")
    assert [section.page for section in read_package(tmp_path)] == ["doc/b.html", "doc/manual/en/a.html"]
    assert len(list(read_package(tmp_path, pages=1))) == 1


def test_an_index_names_pages_under_terms_and_sub_terms() -> None:
    html = """<dl><dt>disk usage, <a class="indexterm" href="du.html">Determining</a>,
    <a class="indexterm" href="x.html#y">X</a></dt><dt>document</dt>
    <dd><dl><dt>text search, <a class="indexterm" href="ts.html#doc">What?</a></dt></dl></dd>
    <dt>$, <a href="elsewhere.html">no index link</a></dt></dl>"""
    assert read_index(html) == [
        IndexEntry(("disk usage",), ("du.html", "x.html#y")),
        IndexEntry(("document", "text search"), ("ts.html#doc",)),
    ]


@pytest.mark.parametrize(
    ("titles", "query"),
    [
        (("Guide", "How do I log in?"), "How do I log in?"),
        (("Form Validation with WTForms", "The Forms"), "Form Validation with WTForms The Forms"),
        (("Requests", "Requests"), None),
        (("API", "fs.readSync(fd, buffer[, options])"), None),
        (("Source code for a.b", "Some long enough title"), None),
        (("What's New in 3.1", "Some long enough title"), None),
        ((), None),
    ],
)
def test_a_heading_is_a_query_where_it_says_enough(titles: tuple[str, ...], query: str | None) -> None:
    assert query_of(titles) == query


def test_a_row_has_its_section_and_others_of_the_page() -> None:
    found = [
        Passage("p", ("Page", "How to do this"), frozenset(), "answer 1"),
        Passage("p", ("Page", "How to do this"), frozenset(), "answer 2"),
        *(Passage("p", ("Page", f"Part {n}"), frozenset(), f"near {n}") for n in range(9)),
        Passage("q", ("Page", "Far"), frozenset(), "far"),
    ]
    row = next(iter(rows_of(found)))
    assert (row.query, row.positives) == ("How to do this", ("answer 1", "answer 2"))
    assert [text.splitlines()[-1] for text in row.negatives] == [f"near {n}" for n in range(NEARBY)]


def test_the_set_comes_back_from_disk_without_the_packages_held_out(tmp_path, monkeypatch) -> None:
    text = " ".join(["word"] * 40)
    for name in ("sphinx-doc", *HELD_OUT):
        file = tmp_path / name / "a.html"
        file.parent.mkdir()
        file.write_text(f"<h1>How to do this</h1><p>{text}</p>")
    monkeypatch.setattr("training.technical.PACKAGES", {"sphinx-doc": "BSD-2-Clause", **dict.fromkeys(HELD_OUT, "")})
    rows = build(tmp_path)
    assert list(rows) == ["sphinx-doc"]
    write_set(tmp_path / "out" / "train" / "sphinx-doc" / "train.jsonl.gz", rows["sphinx-doc"])
    assert read_set(tmp_path / "out", "sphinx-doc") == rows["sphinx-doc"]
    assert rows["sphinx-doc"][0].positives == (text,)
