"""Is a difference between two rankings more than chance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rerank_core.errors import missing_dependency

Verdict = Literal["helps", "no difference found", "hurts"]

LEVEL = 0.05
ENOUGH_QUERIES = 25
_RESAMPLES = 10_000
_SEED = 0
_AT_ONCE = 2_000_000
"""How many numbers a batch of resamples may have: what it takes does not grow with the queries."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What paired values say about a change.

    Attributes:
        difference: the mean of after minus before.
        low: the lower end of its 95 % confidence interval.
        high: the upper end.
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
        """``helps`` or ``hurts`` where chance is an unlikely explanation (p < 0.05)."""
        if self.p_value >= LEVEL or not self.difference:
            return "no difference found"
        return "helps" if self.difference > 0 else "hurts"

    @property
    def chance(self) -> str:
        """The p-value, for people."""
        return "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.3f}"  # noqa: PLR2004  (as many digits)

    @property
    def caution(self) -> str:
        """What to keep in mind about so few queries; "" where there are enough."""
        count = self.wins + self.losses + self.ties
        if count >= ENOUGH_QUERIES:
            return ""
        return f"{count} {'query proves' if count == 1 else 'queries prove'} nothing: label at least {ENOUGH_QUERIES}."


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare paired values, one pair a query.

    A paired randomisation test (10,000 sign flips of the differences, or all of them where there are fewer; Smucker,
    Allan and Carterette, CIKM 2007) and a percentile bootstrap of the mean difference, both from a fixed seed.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
    """
    try:
        import numpy as np
        from scipy.stats import bootstrap, permutation_test
    except ImportError as error:
        raise missing_dependency("scipy", extra="eval", what="the significance test") from error
    differences = np.asarray(after, float) - np.asarray(before, float)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    ties = len(differences) - wins - losses
    mean = float(differences.mean()) if len(differences) else 0.0
    if not wins + losses or len(differences) < 2:  # noqa: PLR2004  (nothing to resample)
        return Comparison(mean, mean, mean, 1.0, wins, losses, ties)
    batch = max(1, _AT_ONCE // len(differences))
    test = permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        batch=batch,
        rng=np.random.default_rng(_SEED),
    )
    interval = bootstrap(
        (differences,),
        np.mean,
        method="percentile",
        n_resamples=_RESAMPLES,
        batch=batch,
        rng=np.random.default_rng(_SEED),
    ).confidence_interval
    return Comparison(mean, float(interval.low), float(interval.high), float(test.pvalue), wins, losses, ties)
