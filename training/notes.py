"""What was noted by hand about one set of weights, ``cards/NAME.toml``: it completes the model card.

A card's template, ``cards/NAME.md``, has two kinds of placeholders: what a run measures, which ``card.py`` fills, and
those that begin with ``note_``, which stay open until the model is bundled.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

PREFIX = "note_"


class NotesError(ValueError):
    """The notes do not fit the card, or are not there; the message says what to do."""


@dataclass(frozen=True)
class Notes:
    """What was noted about one set of weights.

    Attributes:
        file: where it stands.
        weights: the sha256 of the ``model.onnx`` it is about, in hexadecimal digits.
        texts: placeholder to text.
    """

    file: Path
    weights: str
    texts: Mapping[str, str]

    @classmethod
    def read(cls, file: Path) -> Notes:
        """Read a file with ``weights = "..."`` and a table ``[notes]``.

        Raises:
            NotesError: when there is no such file, or it holds something else.
        """
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
            weights, notes = content["weights"], content["notes"]
            texts = {f"{PREFIX}{name}": str(text).strip() for name, text in notes.items()}
        except FileNotFoundError:
            raise NotesError(f'{file} is missing: write weights = "sha256 of model.onnx" and [notes] to it') from None
        except (ValueError, KeyError, AttributeError) as error:
            raise NotesError(f"{file} is not a TOML file with weights = and [notes]: {error}") from None
        return cls(file, str(weights), texts)

    def complete(self, card: str) -> str:
        """The card with its notes; one that has them already stays as it is.

        Raises:
            NotesError: when a placeholder has no note, or a note is not in the card.
        """
        try:
            text = Template(card).substitute(self.texts)
        except KeyError as error:
            raise NotesError(f"the card asks for {error.args[0]}, which {self.file} does not have") from None
        except ValueError as error:
            raise NotesError(f"the card holds a $ that begins no placeholder: {error}") from None
        for name, note in self.texts.items():
            if note not in text:
                raise NotesError(
                    f"{self.file} has {name.removeprefix(PREFIX)!r}, which is not in the card: write the card again "
                    "from its template (--evaluate), or restore the note"
                )
        return text


def left_open(template: Template) -> dict[str, str]:
    """The placeholders of a template that notes will fill, each standing for itself."""
    return {name: f"${name}" for name in template.get_identifiers() if name.startswith(PREFIX)}
