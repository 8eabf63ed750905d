from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.shown import STEERING, json_text, visible

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202eevil\u2066\r\ud800"
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_what_steers_a_terminal_is_seen():
    assert visible(HOSTILE) == r"\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202eevil\u2066\r\ud800"
    assert visible("naïve\tcafé\n東京 🙂") == "naïve\tcafé\n東京 🙂"


@given(st.text())
def test_nothing_that_is_shown_steers(text):
    shown = visible(text)
    assert STEERING.search(shown) is None
    assert visible(shown) == shown
    shown.encode()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252", "shift_jis", "no such encoding"])
@given(value=ANYTHING)
def test_json_loses_nothing_in_any_encoding(encoding, value):
    text = json_text(value, encoding=encoding)
    assert json.loads(text) == value
    assert STEERING.search(text) is None
    if encoding != "no such encoding":
        assert json.loads(text.encode(encoding).decode(encoding)) == value


def test_json_of_what_json_has_no_form_for():
    value = {"a": float("nan"), "b": [float("inf"), (float("-inf"), 1)], "c": {1}}
    assert json.loads(json_text(value)) == {"a": None, "b": [None, [None, 1]], "c": "{1}"}
    assert json_text("é") == '"é"'
    assert json_text("é", encoding="ascii") == r'"\u00e9"'
