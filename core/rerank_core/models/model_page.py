"""The page of the models that are known by name, made from their records.

``python -m rerank_core.models.model_page > docs/models.md`` writes it; a test fails when it is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rerank_core.models.registry import REGISTRY
from rerank_core.models.spec import MANY, ModelSpec

_TOP = """# Models

Every model that has a name here. Any other cross-encoder loads by its Hub id or folder. `rerank models` prints this
list, `--json` the whole records, and `--language`, `--licence` and `--max-size` (in MB) filter it:

```bash
rerank models --language zh --licence apache-2.0 --max-size 2500
```

This page is made from the records: `python -m rerank_core.models.model_page > docs/models.md`.

## Which name for which language
"""

_SCORES = """## How each one scores

`logit` is the log-odds of relevance, and `relevance_score` its sigmoid. What a model's head gives becomes the logit as
follows.

- *logit*: the head's one output.
- *log-odds of A and B*: the logit of token A minus that of token B, in float32.
- *logit of A*: the logit of that one token.
- *cosine*: of two vectors, of the query and of the document; `relevance_score` is its place between -1 and 1.
- *order*: the model writes the order and nothing else. `relevance_score` is the place: n / (n + 1) for the first of n
  documents, 1 / (n + 1) for the last. There is no logit, and a threshold is refused.
- */ T*: divided by the temperature T, as the model's authors do.

*Uncalibrated*: the sigmoid keeps the order and is no probability. Fit one with `rerank calibrate` before you use a
threshold. `reranker.loaded.probability` says which it is.

A language model that is not listed needs a `modules.json` that states its answers, as sentence-transformers writes it;
without one it is refused.
"""

_LISTS = """## List-wise models

These read several documents together, so that a score depends on the documents beside it. Scores are not cached, equal
documents are not merged, and no list ever holds documents of two requests.

- LightOn's LW models read a window of four documents and write their order. A longer list is read from the bottom to
  the top, each window overlapping the one before it by two. An answer that is no order is counted: the event
  `MalformedAnswers`, a warning, and `degraded` on the documents. Where all answers are, the call fails instead of
  keeping your order silently.
- `jina-reranker-v3` runs code that comes with it, and its licence excludes commercial use. It loads only with
  `trust_remote_code=True` and `revision=` with the commit whose code you have read.
"""

_INSTRUCTIONS = """## Instructions

The table says which models follow instructions. Give one with a call, or `prompt=` for all calls of a reranker:

```text
reranker.rerank(query, documents, instruction="Find what contradicts the query.")
```

Over HTTP it is the field `instruction` (`instruct` of DashScope); [http-fields.md](http-fields.md) has all paths. A
model or service that takes none refuses it. A fallback or the first stage of a cascade that takes none scores without
it. Kept scores of different instructions are kept apart.
"""


def page() -> str:
    """The page, in Markdown."""
    specs = list(REGISTRY.values())
    parts = [_TOP, *_by_language(specs), "\n## What each one is\n", *_facts(specs), "", _SCORES, *_scores(specs), ""]
    return "\n".join([*parts, _LISTS, _INSTRUCTIONS, *_licence_notes(specs), *_training(specs), ""])


def _by_language(specs: list[ModelSpec]) -> Iterator[str]:
    groups: dict[str, list[ModelSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.languages, []).append(spec)
    yield "| your texts are in | use |"
    yield "| --- | --- |"
    for languages, group in groups.items():
        title = "any other language, or several" if MANY in group[0].language_codes else languages
        yield f"| {title} | {', '.join(f'`{spec.name}`' for spec in group)} |"
    yield "\nA model that gets a text in a script of none of its languages says so once, as a warning in the log."


def _facts(specs: list[ModelSpec]) -> Iterator[str]:
    yield "| name | repository | revision | licence | languages | million parameters | MB | tokens | |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for spec in specs:
        place = f"`{spec.repository}`" if spec.repository else "in the package"
        revision = f"`{spec.revision[:8]}`" if spec.revision else "main" if spec.repository else "the package's"
        newer = f". Superseded by `{spec.superseded_by}`" if spec.superseded_by else ""
        yield (
            f"| `{spec.name}` | {place} | {revision} | {spec.licence} | {spec.languages} | {spec.parameters:g} | "
            f"{spec.size_mb} | {spec.max_tokens} | {spec.description}{newer} |"
        )


def _scores(specs: list[ModelSpec]) -> Iterator[str]:
    yield "| name | head | score | sigmoid | instruction |"
    yield "| --- | --- | --- | --- | --- |"
    for spec in specs:
        instruction = "taken" + (f"; usually: {spec.instruction}" if spec.instruction else "")
        probability = "probability" if spec.probability == "sigmoid" else spec.probability
        yield (
            f"| `{spec.name}` | {spec.head} | {score_in_words(spec)} | {probability} | "
            f"{instruction if spec.takes_instruction else ''} |"
        )


def score_in_words(spec: ModelSpec) -> str:
    """How the head's output becomes the logit: ``log-odds of yes and no``, ``logit of Yes / 5``."""
    words = {"log-odds": "log-odds of {} and {}", "answer logit": "logit of {}"}.get(spec.score, spec.score)
    return words.format(*spec.answers) + (f" / {spec.temperature:g}" if spec.temperature != 1 else "")


def _licence_notes(specs: list[ModelSpec]) -> Iterator[str]:
    yield "## What to know about licences\n"
    yield from (f"- `{spec.name}`: {spec.licence}; {spec.licence_note}." for spec in specs if spec.licence_note)
    yield ""


def _training(specs: list[ModelSpec]) -> Iterator[str]:
    yield "## What they were trained on\n"
    yield "Measures on these data sets are not zero-shot. A model that is not listed has no known list.\n"
    yield from (f"- `{spec.name}`: {', '.join(spec.trained_on)}" for spec in specs if spec.trained_on)


if __name__ == "__main__":
    sys.stdout.write(page())
