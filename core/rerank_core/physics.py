"""No model is faster than the arithmetic that it takes: what answers sooner has not run the model."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable

from rerank_core.models.registry import known
from rerank_core.scoring.base import Scorer, checked_scores, loaded_by

_TEXTS = 16
_WORDS = 100  # each is a token or more
_QUERY = "Which of these words are in the text?"
_MULTIPLIED = 0.25  # the least share of parameters that multiply: a multilingual vocabulary may hold the rest
_FASTER_THAN_FLOAT32 = 32.0  # int8 tiles multiply so many times faster than float32 does without them
_SIZE, _ROUNDS = 512, 5


def operations(words: int, parameters: float) -> float:
    """The least number of operations that a model takes for a text.

    Args:
        words: of the text.
        parameters: millions of them.

    A token takes a multiplication and an addition per parameter of its layers (Kaplan et al., 2020, section 2.1).
    """
    return 2 * words * parameters * 1e6 * _MULTIPLIED


def too_fast(scorer: Scorer, clock: Callable[[], float]) -> tuple[bool, str] | None:
    """Whether the scorer is no faster than this machine could be, and what was seen; None where nobody can say.

    It is known of a registered model on the CPU of this machine that scores each text. The texts are new ones, so that
    no cache has their scores. A busy machine makes the model slower, which is never held against it; the machine's own
    speed is the best of several short rounds. Of a server nobody can say: on eight of the fastest accelerators the
    smallest models would answer sooner than a network does, unless a check read some hundred thousand tokens.

    Raises:
        RerankError: whatever the scorer raises.
    """
    loaded = loaded_by(scorer)
    record = None if loaded is None else known(loaded.model)
    if not scorer.pointwise or loaded is None or record is None or loaded.device != "cpu":
        return None
    texts = [" ".join(f"{secrets.token_hex(2)}" for _ in range(_WORDS)) for _ in range(_TEXTS)]
    started = clock()
    scores = checked_scores(scorer, _QUERY, texts)
    seconds = clock() - started
    if not scores.genuine or any(score.cached for score in scores.items):
        return None
    needed = operations(_TEXTS * min(_WORDS, loaded.max_tokens // 2), record.parameters)
    speed = needed / seconds if seconds > 0 else math.inf
    share = speed / _measured()
    said = f"it multiplies {share:.1f} times as fast as this CPU does in float32"
    return (
        share <= _FASTER_THAN_FLOAT32,
        said if share <= _FASTER_THAN_FLOAT32 else f"{said}: it does not run the model",
    )


def _measured() -> float:
    """Operations per second of this machine, multiplying float32 matrices on all its CPUs."""
    import numpy as np

    square = np.ones((_SIZE, _SIZE), np.float32)
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        square @ square
        seconds.append(time.perf_counter() - started)
    return float(2 * _SIZE**3 / max(min(seconds), 1e-9))
