"""A text in a script that a model was not trained on is recognised; one foreign word is not enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_core.models.scripts import foreign_script


@pytest.mark.parametrize(
    ("text", "codes", "expected"),
    [
        ("什么是机器学习", ("en",), "Chinese"),
        ("什么是机器学习", ("en", "zh"), None),
        ("什么是机器学习", ("mul",), None),
        ("что такое обучение", ("en",), "Cyrillic"),
        ("что такое обучение", ("en", "ru"), None),
        ("ما هو التعلم", ("en",), "Arabic"),
        ("これはなんですか", ("en", "zh"), "Kana"),
        ("이것은 무엇입니까", ("en",), "Hangul"),
        ("naïve café, résumé, Übung", ("en",), None),
        ("The capital of Japan is called 東京 in Japanese", ("en",), None),
        ("", ("en",), None),
        ("12345 ÷ 7 🙂", ("en",), None),
    ],
)
def test_the_script_of_most_letters_counts(text, codes, expected):
    assert foreign_script(text, codes) == expected


@given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
def test_latin_letters_never_do(text):
    assert foreign_script(text, ("en",)) is None
