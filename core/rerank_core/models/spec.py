"""What is recorded about a model that is known by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MANY = "mul"
"""In a list of language codes: about a hundred languages and more."""

Head = Literal["classifier", "modular", "language model", "list-wise"]
ScoreKind = Literal["logit", "log-odds", "answer logit", "cosine", "order"]
Probability = Literal["sigmoid", "uncalibrated", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWise:
    """How a model reads lists.

    Attributes:
        window: how many documents it reads together.
        stride: how far the next window is moved up; 0 where a window begins behind the one before it.
        thinks: whether its answer begins with a block of thoughts, which is then given empty.
        own_code: whether the checkpoint's own code puts lists together and scores them.
    """

    window: int
    stride: int = 0
    thinks: bool = False
    own_code: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """What is known about a model before it is loaded: all that decides a score, and what helps to choose it.

    Attributes:
        name: the name users write.
        repository: its Hugging Face Hub repository, or None for a model inside this package, in the folder of its name.
        revision: the Hub commit that is loaded unless another is asked for; None for the main branch.
        licence: SPDX identifier of the weights' licence.
        licence_note: what there is to know about the licence beside its name.
        languages: what it was trained for, in words.
        language_codes: the same as ISO 639-1 codes; ``mul`` means a hundred languages and more.
        max_tokens: the default limit of query and document together, special tokens included.
        parameters: millions of parameters.
        size_mb: download size of the weights in MB.
        description: one line for people.
        backend: the only backend that may load it, or None for any.
        dtype: the precision of its ONNX file, where that is not float32.
        head: what makes the score: the classifier of a transformers model, sentence-transformers' modules, a language
            model's next token, or a model that reads lists.
        score: what the head gives: one logit, the log-odds of two answers, the logit of one answer, a cosine, or an
            order and nothing else.
        answers: a language model's answer tokens: the relevant one, and the other where there is one.
        temperature: what the head's score is divided by to become the log-odds of relevance.
        probability: whether the sigmoid of the log-odds is a probability, or only a number in that order until a
            calibration is fitted; ``none`` where there is an order and nothing else.
        template: a language model's chat template, in Jinja, for a checkpoint that does not bring its own modules.
        instruction: the instruction in the template unless another is given.
        takes_instruction: whether the model was trained with instructions.
        trained_on: public data sets that it, or what it was made from, was trained on, in lower case: measures on these
            are not zero-shot.
        listwise: how a list-wise model reads lists; None for one that reads a document at a time.
        superseded_by: the model that its authors name instead, by its name here or its Hub id.
    """

    name: str
    repository: str | None
    licence: str
    languages: str
    language_codes: tuple[str, ...]
    max_tokens: int
    parameters: float
    size_mb: int
    description: str
    revision: str | None = None
    licence_note: str = ""
    backend: str | None = None
    dtype: str | None = None
    head: Head = "classifier"
    score: ScoreKind = "logit"
    answers: tuple[str, ...] = ()
    temperature: float = 1.0
    probability: Probability = "sigmoid"
    template: str | None = None
    instruction: str = ""
    takes_instruction: bool = False
    trained_on: tuple[str, ...] = ()
    listwise: ListWise | None = None
    superseded_by: str | None = None

    def reads(self, language: str) -> bool:
        """Whether the model was trained for a language, given as its ISO 639-1 code or English name."""
        wanted = language.strip().lower()
        return MANY in self.language_codes or wanted in self.language_codes or wanted in self._named_languages()

    def _named_languages(self) -> set[str]:
        return {part.strip().lower() for part in self.languages.split(",")}
