"""Whether a text is written in a script that a model was trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rerank_core.models.spec import MANY

# Scripts whose letters tell by themselves that a text is in none of a model's languages.
_LETTERS = {
    "Arabic": "\u0600-\u06ff\u0750-\u077f",
    "Chinese": "\u4e00-\u9fff\u3400-\u4dbf",
    "Cyrillic": "\u0400-\u052f",
    "Devanagari": "\u0900-\u097f",
    "Greek": "\u0370-\u03ff",
    "Hangul": "\uac00-\ud7af\u1100-\u11ff",
    "Hebrew": "\u0590-\u05ff",
    "Kana": "\u3040-\u30ff",
    "Thai": "\u0e00-\u0e7f",
}
_SCRIPTS_OF = {
    "ar": {"Arabic"}, "el": {"Greek"}, "en": set(), "fa": {"Arabic"}, "he": {"Hebrew"}, "hi": {"Devanagari"},
    "ja": {"Kana", "Chinese"}, "ko": {"Hangul", "Chinese"}, "ru": {"Cyrillic"}, "th": {"Thai"}, "uk": {"Cyrillic"},
    "zh": {"Chinese"},
}  # fmt: skip
_PATTERNS = {script: re.compile(f"[{letters}]") for script, letters in _LETTERS.items()}
_ANY = re.compile(f"[{''.join(_LETTERS.values())}]")
_LETTER = re.compile(r"[^\W\d_]")
_LOOKED_AT = 200


def foreign_script(text: str, language_codes: Sequence[str]) -> str | None:
    """The script of most letters at the beginning of ``text``, where no language of the model is written in it.

    None where the model reads it, where the text has letters of several scripts and none has most, and for Latin
    letters, which do not tell the language.
    """
    beginning = text[:_LOOKED_AT]
    if beginning.isascii() or MANY in language_codes or not _ANY.search(beginning):
        return None
    read = set().union(*(_SCRIPTS_OF.get(code, set()) for code in language_codes))
    letters = len(_LETTER.findall(beginning))
    for script, pattern in _PATTERNS.items():
        if script not in read and 2 * len(pattern.findall(beginning)) > letters:
            return script
    return None
