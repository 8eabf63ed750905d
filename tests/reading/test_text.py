"""Markdown, reStructuredText and plain text as passages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rerank_core.reading import text
from rerank_core.reading.passages import Passage

MANUAL = """\
# Manual

Some words on the thing. They take
two lines.

To reset the device:

1. Hold both buttons.
2. Wait ten seconds.

   It blinks.

## Empty

Underlined
------
- a
- b
  ```
  x

  y
  ```

Before a fence
```sh
# no heading

cd
```
After it.
## Last
"""


def seen(source, **more):
    return [(piece.line, piece.context, piece.text) for piece in text.passages(source, **more)]


def test_fences_stay_whole_items_are_apart_and_headings_are_carried_along():
    assert seen(MANUAL) == [
        (3, "Manual", "Some words on the thing. They take\ntwo lines."),
        (8, "Manual\nTo reset the device:", "1. Hold both buttons."),
        (9, "Manual\nTo reset the device:", "2. Wait ten seconds.\n\n   It blinks."),
        (13, "Manual", "Empty"),
        (17, "Manual > Underlined", "- a"),
        (18, "Manual > Underlined", "- b\n  ```\n  x\n\n  y\n  ```"),
        (25, "Manual > Underlined", "Before a fence"),
        (26, "Manual > Underlined", "```sh\n# no heading\n\ncd\n```"),
        (31, "Manual > Underlined", "After it."),
        (32, "Manual", "Last"),
    ]  # fmt: skip


def test_what_ends_with_a_colon_and_introduces_nothing_is_a_passage():
    assert seen("Hello reader:\n\nGood day.") == [(1, "", "Hello reader:"), (3, "", "Good day.")]
    assert seen("word " * 100 + "so:\n\n- a")[1:] == [(3, "", "- a")]


def test_of_a_longer_paragraph_the_last_sentence_introduces():
    assert seen("It has two modes. These are:\n\n- a\n- b\n\nc") == [
        (1, "", "It has two modes. These are:"),
        (3, "These are:", "- a"),
        (4, "These are:", "- b"),
        (6, "", "c"),
    ]


def test_headings_underlined_with_any_mark_in_restructured_text():
    source = "=====\nTitle\n=====\n\nPart\n~~~~\n\ntext\n\nSecond\n~~~~~~\nmore\n"
    assert seen(source, restructured=True) == [(8, "Title > Part", "text"), (12, "Title > Second", "more")]


def test_front_matter_rules_and_fences_that_nobody_closes():
    assert seen("---\ntitle: a\n---\nb\n\n***\n\nc") == [(2, "", "title: a"), (4, "", "b"), (8, "", "c")]
    assert seen("~~~\na\n\nb\n") == [(1, "", "~~~\na\n\nb")]
    assert seen("") == seen("\n \n") == []


PARTS = ["", "# a", "## b", "- c", "  d", "```", "e:", "f", "---", "1. g", "\th"]


@given(st.lists(st.sampled_from(PARTS)).map("\n".join))
def test_no_words_are_lost_and_lines_are_the_files(source):
    lines = source.split("\n")
    found = list(text.passages(source))
    for piece in found:
        first = piece.text.split("\n")[0].strip()
        assert lines[piece.line - 1].strip().lstrip("# ") == first.lstrip("# ")
    whole = "\n".join(piece.context + "\n" + piece.text for piece in found)
    introductions = source.count("e:")  # one that introduces nothing but a heading has nobody to go with
    assert all(whole.count(word) >= bool(source.count(word)) for word in ("- c", "f", "1. g")), (source, whole)
    assert introductions == 0 or "e:" in whole


def test_a_passage_does_not_show_its_words():
    shown = repr(Passage(3, "the words", "the heading", {"page": 2}))
    assert shown == "Passage(line=3, origin={'page': 2})"
