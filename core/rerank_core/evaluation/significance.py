"""Is a difference between two rankings more than chance?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from rerank_core.optional import optional

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["helps", "no difference found", "hurts", "too few queries to tell"]

LEVEL = 0.05
ENOUGH_QUERIES = 25
_RESAMPLES = 10_000
_SEED = 0
_AT_ONCE = 1_000_000
"""How many numbers a batch of resamples may have: what it takes does not grow with the queries."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What paired values say about a change.

    Attributes:
        difference: the mean of after minus before.
        low: the lower end of its 95 % confidence interval; -1 where there are too few queries to tell.
        high: the upper end; 1 where there are too few.
        p_value: how often chance alone gives a mean difference as large, in either direction.
        wins: how many queries got better.
        losses: how many got worse.
        ties: how many stayed as they were.
    """

    difference: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    ties: int

    @property
    def verdict(self) -> Verdict:
        """``helps`` or ``hurts`` where chance explains little (p < 0.05) of 25 queries or more."""
        return verdict_of(self, self.p_value)

    @property
    def bounded(self) -> bool:
        """Whether there are enough queries for an interval."""
        return self.high - self.low < 2  # noqa: PLR2004  (from -1 to 1, all there is)

    @property
    def p_value_text(self) -> str:
        """The p-value, for people."""
        return p_value_text(self.p_value)

    @property
    def caution(self) -> str:
        """What to keep in mind about so few queries; "" where there are enough."""
        count = self.wins + self.losses + self.ties
        if count >= ENOUGH_QUERIES:
            return ""
        return f"{count} {'query proves' if count == 1 else 'queries prove'} nothing: label at least {ENOUGH_QUERIES}."


def verdict_of(change: Comparison, p_value: float) -> Verdict:
    """What a change says at a p-value, which may be adjusted."""
    if change.caution:
        return "too few queries to tell"
    if p_value >= LEVEL or not change.difference:
        return "no difference found"
    return "helps" if change.difference > 0 else "hurts"


def p_value_text(value: float) -> str:
    """A p-value, for people."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"  # noqa: PLR2004  (as many digits)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for how many there are, in order (Holm, Scandinavian Journal of Statistics 1979).

    Of all that are below a level afterwards, none is wrong with a probability of at least 1 minus that level.
    """
    adjusted, most = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = most
    return adjusted


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of values between 0 and 1, one per query (Student, Biometrika 1908).

    None below 25 values: the mean of so few is not near a normal distribution.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    if len(values) < ENOUGH_QUERIES:
        return None
    with optional("the interval of a mean", extra="eval"):
        from scipy.stats import t
    given = np.asarray(values, float)
    half = float(t.ppf(1 - LEVEL / 2, len(given) - 1) * given.std(ddof=1) / math.sqrt(len(given)))
    mean = float(given.mean())
    return max(0.0, mean - half), min(1.0, mean + half)


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare paired values between 0 and 1, one pair per query.

    A paired randomisation test (10,000 sign flips of the differences, or all of them where there are fewer; Smucker,
    Allan and Carterette, CIKM 2007) from a fixed seed, and the interval of the changes that this test does not rule
    out: it has 0 in it exactly where no difference was found. Five queries or fewer rule out nothing.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    differences = np.asarray(after, float) - np.asarray(before, float)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    ties = len(differences) - wins - losses
    mean = float(differences.mean()) if len(differences) else 0.0
    if not wins + losses:
        return Comparison(mean, mean, mean, 1.0, wins, losses, ties)
    p_value, flipped = _randomised(differences)
    low, high = _interval(mean, flipped, _signs(len(differences)))
    return Comparison(mean, low, high, p_value, wins, losses, ties)


def _randomised(differences: FloatArray) -> tuple[float, FloatArray]:
    """The two-sided p-value of the mean, and the mean after every sign flip, the flips from a fixed seed."""
    with optional("the significance test", extra="eval"):
        from scipy.stats import permutation_test
    if len(differences) == 1:  # both signs are as extreme
        return 1.0, np.concatenate([differences, -differences])
    found = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(differences)),
        rng=np.random.default_rng(_SEED),
    )
    return float(found.pvalue), found.null_distribution


@lru_cache(maxsize=8)
def _signs(count: int) -> FloatArray:
    """The mean of each flip's signs."""
    return _randomised(np.ones(count))[1]  # from the same seed, so by the same flips


def _interval(mean: float, flipped: FloatArray, signs: FloatArray) -> tuple[float, float]:
    """The changes that the sign flips do not rule out (Hartigan, JASA 1969).

    A flip speaks against a change above the mean of the differences that it turns round, and against one below it, so
    the ends are among those means.

    Args:
        mean: of the differences.
        flipped: their mean after each flip, [flips].
        signs: the mean of each flip's signs, [flips].
    """
    turned = signs < 1 - 1e-12
    means = np.sort((mean - flipped[turned]) / (1 - signs[turned]))
    # The differences as they are count as one of the flips, as they do in the p-value.
    outside = math.ceil(LEVEL / 2 * max(len(signs), len(means) + 1)) - 1
    if outside < 1:
        return -1.0, 1.0
    return float(means[outside - 1]), float(means[-outside])
