"""Code, HTML, notebooks, PDF and Word files as passages."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.reading import code, markup, notebook, office

SOURCE = '''\
"""A module."""

import os


def first():
    """Does one thing."""

    return 1


class Long:
    """Has methods."""

    def a(self):
{}
        return 1

    def b(self):
        return 2
'''.format("\n".join(f"        x{i} = {i}" for i in range(60)))


def test_code_is_split_into_functions_and_the_methods_of_long_classes():
    found = list(code.passages(SOURCE))
    lines = SOURCE.split("\n")
    heads = [(piece.line, piece.context, piece.text.split("\n")[0].strip()) for piece in found]
    assert heads[0] == (1, "", '"""A module."""')
    assert (12, "", "class Long:") in heads
    assert [head[2] for head in heads if head[1] == "class Long:"][-1] == "def b(self):"
    for piece in found:
        assert piece.text.split("\n") == lines[piece.line - 1 : piece.line - 1 + piece.text.count("\n") + 1]


@given(st.lists(st.sampled_from(["", "a", "  b", "    c", "}", "\td"])))
def test_all_lines_of_code_are_in_one_passage(lines):
    found = list(code.passages("\n".join(lines)))
    taken = [line for piece in found for line in piece.text.split("\n") if line.strip()]
    assert taken == [line for line in lines if line.strip()]
    for piece in found:
        assert lines[piece.line - 1] == piece.text.split("\n")[0]


def test_html_is_what_a_reader_sees():
    page = """<html><head><title>T</title><style>p {}</style></head><body>
<h1>Manual &amp; <em>more</em></h1><p>Hold both
buttons.<script>x()</script></p>
<h2>Part</h2><ul><li>one<li>two <b>bold</b></ul>
<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
<pre>
x = 1

y</pre>loose<br>words
<h2>Nothing</h2></body></html>"""
    seen = [(piece.line, piece.context, piece.text) for piece in markup.passages(page)]
    assert seen == [
        (2, "Manual & more", "Hold both buttons."),
        (4, "Manual & more > Part", "one"),
        (4, "Manual & more > Part", "two bold"),
        (5, "Manual & more > Part", "a | b"),
        (5, "Manual & more > Part", "1 | 2"),
        (7, "Manual & more > Part", "x = 1\n\ny"),
        (9, "Manual & more > Part", "loose"),
        (9, "Manual & more > Part", "words"),
        (10, "Manual & more", "Nothing"),
    ]  # fmt: skip


TAGS = ["<p>", "</p>", "<td>", "<h1>", "</h1>", "<script>", "<head>", "a", " ", "<", "&lt", "<!--"]


@given(st.lists(st.sampled_from(TAGS)))
def test_any_html_is_read(parts):
    for piece in markup.passages("".join(parts)):
        assert piece.text.strip()
        assert piece.line == 1


def test_notebooks_are_markdown_and_code():
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Words é."]},
        {"cell_type": "code", "source": ["x = 1\n", "y = 2"], "outputs": [{"text": ["out"]}]},
        {"cell_type": "code", "source": "  "},
        {"cell_type": "markdown", "source": "more"},
    ]
    source = json.dumps({"cells": cells}, indent=1)
    lines = source.split("\n")
    seen = list(notebook.passages(source))
    assert [(piece.context, piece.text, piece.origin["cell"]) for piece in seen] == [
        ("Title", "Words é.", 1),
        ("Title", "x = 1\ny = 2", 2),
        ("Title", "more", 4),
    ]
    assert [lines[piece.line - 1].strip()[1:6] for piece in seen] == ["Words", "x = 1", "sourc"]
    for wrong in ("[]", "{}", '{"cells": [{"source": 1}]}', "{"):
        with pytest.raises(ValueError, match=r"cell|Expecting"):
            list(notebook.passages(wrong))


def test_word_files():
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Manual", 0)
    document.add_paragraph("Hold both buttons.")
    document.add_heading("Part", 2)
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("")
    table = document.add_table(rows=1, cols=2)
    table.cell(0, 0).text, table.cell(0, 1).text = "a", "b"
    data = io.BytesIO()
    document.save(data)
    seen = [(piece.line, piece.context, piece.text) for piece in office.docx_passages(data.getvalue())]
    assert seen == [(2, "Manual", "Hold both buttons."), (4, "Manual > Part", "one"), (6, "Manual > Part", "a | b")]


def pdf(*pages):
    """A PDF file with these lines on its pages."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids = []
    for lines in pages:
        content = "BT /F1 12 Tf 14 TL 50 750 Td " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        fonts = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        number = len(objects)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {number} 0 R /Resources {fonts} >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    data, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    table = f"xref\n0 {size}\n0000000000 65535 f \n{table}"
    return data + f"{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF".encode()


def test_pdf_files():
    pytest.importorskip("pypdf")
    pages = [["Hold both but-", "tons until it blinks.", "", "Then wait."], ["Paris is the capital of France."]]
    seen = [(piece.line, piece.text) for piece in office.pdf_passages(pdf(*pages))]
    assert seen[0] == (1, "Hold both buttons until it blinks.") or "buttons" in seen[0][1]
    assert seen[-1] == (2, "Paris is the capital of France.")


def test_paragraphs_of_a_page():
    page = """\
A long line that goes on and on and
then ends here.
Another paragraph which goes on as
well until it is cut-
ting a word."""
    assert list(office.page_paragraphs(page)) == [
        "A long line that goes on and on and then ends here.",
        "Another paragraph which goes on as well until it is cutting a word.",
    ]
    assert list(office.page_paragraphs("")) == []
