"""From trained weights to files: the share of them, the feature weights, the calibration, the graphs."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from rerank_core.conversion.observing import Feeds
from rerank_core.conversion.quantize import quantize_int8
from training.calibration import fit_logistic
from training.export import INPUTS, check_export, export_onnx, write_checksums
from training.model import RerankMini
from training.retrieved import ANSWER
from training.selection import DEVELOPMENT_TOKENS, interpolate
from training.tokenizer import collate, pair_ids
from training.train import TRAINED

from .candidates import Lists
from .choosing import across_kinds, by_source, fit_weights, mean_of_kinds
from .scoring import Reader, pairs_of, spread_out
from .students import SOURCES
from .texts import Texts

logger = logging.getLogger(__name__)

ANSWERS, BELOW, FURTHER_DOWN, ANYWHERE = 2, 8, 3, 3
"""Pairs of a list to calibrate on: answers at most; ungraded candidates from rank ``BELOW`` on; any texts."""
SAMPLES = {True: 16, False: 4}
"""Queries of a collection that the int8 rounding looks at, by whether it is a labelled one."""

UNTRAINED, FINISHED = "untrained.pt", "finished.pt"
"""What a run keeps beside ``TRAINED``."""

State = Mapping[str, Tensor]


def before_and_after(states: Path, device: torch.device) -> tuple[State, State]:
    """The state dicts that a run kept before its training and after it."""
    before, after = (torch.load(states / file, weights_only=True, map_location=device) for file in (UNTRAINED, TRAINED))
    return before, after


def choose_share(
    student: Reader, untrained: State, trained: State, shares: tuple[float, ...], lists: Lists
) -> dict[str, float]:
    """Give the student the share of the trained weights that is best on ``lists``.

    Returns:
        ``share``, and nDCG@10 by share.
    """
    figures = {}
    for share in shares:
        student.model.load_state_dict(interpolate(untrained, trained, share))
        found = by_source(student.score_lists(lists), lists)
        logger.info("share %g: %s", share, found)
        figures[f"{share:g}"] = found["mean"]
    best = max(figures, key=lambda share: figures[share])
    student.model.load_state_dict(interpolate(untrained, trained, float(best)))
    logger.info("share %s of %s", best, figures)
    return {"share": float(best), **figures}


def choose_mix(student: Reader, lists: Lists) -> dict[str, float]:
    """Fit the feature weights on ``lists``, and keep them if they are better than the trained ones across kinds.

    Returns:
        nDCG@10 with the ``trained`` ones, and with those that are ``fitted`` on the other kinds of text.
    """
    features, terms = (spread_out(values, lists) for values in student.features(*pairs_of(lists)))
    spread = features[lists.valid].std(0).clamp(min=1e-6)
    with torch.no_grad():
        trained = mean_of_kinds(features @ student.model.mix + terms, lists)
        fitted = across_kinds(features / spread, lists, terms)
        if fitted > trained:
            student.model.mix.copy_(fit_weights(features / spread, lists, terms) / spread)
    logger.info("feature weights %s; trained %.4f, fitted %.4f", student.model.mix.tolist(), trained, fitted)
    return {"trained": trained, "fitted": fitted}


def calibration_pairs(
    lists: Lists, collections: Mapping[str, range], seed: int = 1
) -> tuple[Tensor, Tensor, npt.NDArray[np.float64]]:
    """(queries, documents, labels), each [pairs].

    Args:
        lists: to choose on, best candidates first.
        collections: the rows of the texts of every source.
        seed: decides which are drawn.
    """
    generator = random.Random(seed)
    queries: list[int] = []
    documents: list[int] = []
    labels: list[float] = []
    for row, source in enumerate(lists.sources):
        found = lists.candidates[row][lists.valid[row]].tolist()
        grades = lists.grades[row][lists.valid[row]].tolist()
        graded = list(zip(found, grades, strict=True))
        answers = [text for text, grade in graded if grade >= ANSWER][:ANSWERS]
        wrong = [text for text, grade in graded[BELOW:] if grade == 0]
        wrong = generator.sample(wrong, min(FURTHER_DOWN, len(wrong)))
        wrong += [text for text in generator.choices(collections[source], k=ANYWHERE) if text not in answers]
        if answers:
            queries += [int(lists.queries[row])] * (len(answers) + len(wrong))
            documents += answers + wrong
            labels += [1.0] * len(answers) + [0.0] * len(wrong)
    device = lists.queries.device
    return torch.tensor(queries, device=device), torch.tensor(documents, device=device), np.array(labels)


@torch.no_grad()
def calibrate(student: Reader, lists: Lists, collections: Mapping[str, range]) -> dict[str, float]:
    """Set the model's ``scale`` and ``offset``; returns what the calibrated logits look like."""
    queries, documents, labels = calibration_pairs(lists, collections)
    raw = student.score(queries, documents)[0].cpu().numpy().astype(np.float64)
    scale, offset = fit_logistic(raw, labels)
    student.model.scale.fill_(scale)
    student.model.offset.fill_(offset)
    logits = scale * raw + offset
    return {
        "scale": scale,
        "offset": offset,
        "relevant_median": float(np.median(logits[labels == 1])),
        "relevant_right": float((logits[labels == 1] > 0).mean()),
        "negative_median": float(np.median(logits[labels == 0])),
        "negative_right": float((logits[labels == 0] < 0).mean()),
    }


def sample_inputs(lists: Lists, texts: Texts, seed: int = 3) -> Iterator[Feeds]:
    """Graph inputs out of lists to train on, one pair per run, so that there is no padding."""
    generator = random.Random(seed)

    def tokens(row: int) -> list[int]:
        start, length = int(texts.start[row]), int(texts.length[row])
        found: list[int] = texts.ids[start : start + length].tolist()
        return found

    for source in dict.fromkeys(lists.sources):
        rows = [row for row, name in enumerate(lists.sources) if name == source]
        for row in generator.sample(rows, min(SAMPLES[source in SOURCES], len(rows))):
            first, *others = lists.candidates[row][lists.valid[row]].tolist()
            for document in (first, generator.choice(others or [first])):
                block = collate([pair_ids(tokens(int(lists.queries[row])), tokens(document), DEVELOPMENT_TOKENS)])
                yield {name: values.numpy() for name, values in zip(INPUTS, block, strict=True)}


def export(model: RerankMini, tokenizer: Tokenizer, folder: Path, base_model: str, samples: Iterator[Feeds]) -> Path:
    """Write ``folder/fp32`` and ``folder/int8``, which ``training.bundle`` takes with a card; returns the latter.

    Args:
        model: finished, on the CPU, with attention in parts.
        tokenizer: with the pair template.
        folder: the model's, in the run's.
        base_model: what the weights started from.
        samples: what the int8 rounding looks at.
    """
    exact = export_onnx(model, tokenizer, folder / "fp32", base_model)
    logger.info("largest |torch - onnx| logit: %.1e", check_export(model, exact))
    final = folder / "int8"
    final.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "config.json"):
        (final / name).write_bytes((folder / "fp32" / name).read_bytes())
    quantize_int8(exact, final / "model.onnx", samples)
    write_checksums(final)
    return final
