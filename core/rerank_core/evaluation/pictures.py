"""The pictures of a report, as SVG in the page's own ink; and one of them for whoever draws with matplotlib."""

from __future__ import annotations

import html
import io
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

from rerank_core.evaluation.cells import plain
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.optional import optional

# A colour that nobody uses, so that it can be replaced by the page's own.
_INK = "#010203"
_COLOURS = ("#2a78d6", "#d0672a", "#2e9e6b", "#b0507e", "#7a6fd0", "#8a8a2d")
_GAP = 0.075  # between labels, as a share of the axis
_MOVED = 40
_QUERY = 48

Curve = tuple[str, Sequence[float], Sequence[float], Sequence[tuple[float, float]] | None]
"""Name, x, y, and the band around y."""


def draw_rank_changes(axes: Any, ranks: Mapping[str, tuple[int, int]], *, ink: str = "#364152") -> None:
    """One line for each query: from the rank before, an open circle, to the rank after, a full one.

    Args:
        axes: of matplotlib.
        ranks: by label, the lowest line first: the rank of the best relevant document before and after, from 1.
        ink: the colour of the open circles.
    """
    for row, (before, after) in enumerate(ranks.values()):
        axes.plot([before, after], [row, row], color="#9aa5b1", zorder=1)
        axes.scatter(before, row, s=45, facecolor=axes.get_facecolor(), edgecolor=ink, zorder=2)
        axes.scatter(after, row, s=45, color="#0b7285" if after < before else "#c92a2a", zorder=3)
    axes.set_yticks(range(len(ranks)), list(ranks))
    axes.set_xlabel("rank of the best relevant document (1 is best)")
    axes.spines[["top", "right"]].set_visible(False)


def depth_picture(found: Evaluation) -> str:
    """nDCG@10 by how many candidates are reranked; "" where no system has two depths."""
    systems = [(each, sorted((each.by_depth or {}).items())) for each in found.rerankers]
    if all(len(points) < 2 for _, points in systems):  # noqa: PLR2004  (one point is no curve)
        return ""
    curves = [
        (each.name, [x for x, _ in points], [y for _, y in points], _bands(found, each, [x for x, _ in points]))
        for each, points in systems
    ]
    return _figure(
        lambda axes: _draw_curves(axes, found, curves, "candidates reranked"),
        f"{MAIN} by how many candidates are reranked; bands: the 95 % interval of the change against the first stage.",
    )


def latency_picture(found: Evaluation) -> str:
    """nDCG@10 against time; "" where fewer than two points are known."""
    curves: list[Curve] = []
    for each in found.rerankers:
        times, values = each.seconds_by_depth or {}, each.by_depth or {}
        depths = sorted(times)
        points = [1000 * times[depth] for depth in depths], [values[depth] for depth in depths]
        if depths:
            curves.append((each.name, *points, _bands(found, each, depths)))
    if sum(len(curve[1]) for curve in curves) < 2:  # noqa: PLR2004
        return ""
    return _figure(
        lambda axes: _draw_curves(axes, found, curves, "milliseconds per query"),
        f"{MAIN} against the median time of a query, fewer candidates in proportion; a single point is what was "
        "measured of a model to which that does not apply.",
    )


def cut_picture(system: SystemReport) -> str:
    """Precision and recall against the threshold; "" where there are fewer than two thresholds."""
    if len(system.cuts) < 2:  # noqa: PLR2004
        return ""
    return _figure(
        lambda axes: _draw_cuts(axes, system),
        f"Precision and recall of {system.name} among the candidates against score_threshold; what nobody judged "
        "counts as not relevant.",
    )


def reliability_picture(found: Evaluation) -> str:
    """Share of relevant candidates against the score; "" where no system has two tenths of the range."""
    # A fused system has its model's scores.
    different = {each.reliability: each.name for each in reversed(found.rerankers) if len(each.reliability) > 1}
    curves: list[Curve] = [
        (name, [tenth.score for tenth in tenths], [tenth.relevant for tenth in tenths], None)
        for tenths, name in reversed(different.items())
    ]
    if not curves:
        return ""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1.2)
        axes.set(xlim=(0, 1.02), ylim=(-0.02, 1.02), xlabel="relevance score", ylabel="share that is relevant")
        _draw_lines(axes, curves)

    return _figure(
        draw,
        "How far scores are probabilities: of the candidates with a score, the share that is relevant. On the dotted "
        "line both are equal; rerank calibrate moves a model there.",
    )


def rank_picture(found: Evaluation, system: SystemReport) -> str:
    """The ranks that changed most, up to 40; "" where none did."""
    moved = {}
    for query, outcome in system.outcomes.items():
        before, after = best_rank(found.baseline.outcomes[query].ranks), best_rank(outcome.ranks)
        if before is not None and after is not None and before != after:
            moved[query] = before, after
    most = sorted(moved, key=lambda query: -abs(moved[query][0] - moved[query][1]))[:_MOVED]
    if not most:
        return ""
    labels: dict[str, tuple[int, int]] = {}
    for query in sorted(most, key=lambda query: moved[query]):
        text = plain(found.cases[query].query)
        short = text if len(text) <= _QUERY else f"{text[:_QUERY]}…"
        labels[short if short not in labels else f"{short} ({query})"] = moved[query]
    return _figure(
        lambda axes: draw_rank_changes(axes, labels, ink=_INK),
        f"Rank of the best relevant document in the first stage (open) and with {system.name} (full); {len(most)} of "
        f"{len(moved)} queries in which it changed.",
        height=1 + 0.24 * len(labels),
    )


def best_rank(ranks: Iterable[int | None]) -> int | None:
    """The best of the ranks that there are."""
    return min((rank for rank in ranks if rank is not None), default=None)


def _bands(found: Evaluation, system: SystemReport, depths: Sequence[int]) -> list[tuple[float, float]] | None:
    """The interval of nDCG@10 at each depth: the first stage's mean, which is known, and the change's interval."""
    first, bands = found.baseline.mean(), system.bands or {}
    if any(depth not in bands or bands[depth] == (-1, 1) for depth in depths):
        return None
    return [(first + bands[depth][0], first + bands[depth][1]) for depth in depths]


def _draw_curves(axes: Any, found: Evaluation, curves: Sequence[Curve], label: str) -> None:
    first = found.baseline.mean()
    axes.axhline(first, color=_INK, linestyle=":", linewidth=1.2)
    _draw_lines(axes, curves, extra=[("first stage", first, _INK)])
    axes.set_xlabel(label)
    axes.set_ylabel(MAIN)


def _draw_lines(axes: Any, curves: Sequence[Curve], extra: Sequence[tuple[str, float, str]] = ()) -> None:
    """Lines with their bands, each labelled at its right end."""
    ends = list(extra)
    for colour, (name, x, y, band) in zip(cycle(_COLOURS), curves, strict=False):
        axes.plot(x, y, marker="o", markersize=4, color=colour)
        if band is not None and len(x) > 1:
            axes.fill_between(x, [low for low, _ in band], [high for _, high in band], color=colour, alpha=0.12, lw=0)
        ends.append((plain(name), y[-1], colour))
    _label(axes, ends)


def _label(axes: Any, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names at the right side, as near to the ends of their lines as there is room."""
    low, high = axes.get_ylim()
    room = (high - low) or 1.0
    ordered = sorted(ends, key=lambda each: each[1])
    for place, (name, _, colour) in zip(_spread([(end - low) / room for _, end, _ in ordered]), ordered, strict=True):
        where = {"xy": (1, place), "xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        axes.annotate("●", xytext=(4, 0), color=colour, annotation_clip=False, **where)
        axes.annotate(name, xytext=(16, 0), color=_INK, annotation_clip=False, **where)


def _spread(places: Sequence[float]) -> list[float]:
    """Ascending ``places``, moved so that they are a label apart and, as long as there is room, none is above 1."""
    spread: list[float] = []
    for place in places:
        spread.append(max(place, spread[-1] + _GAP) if spread else place)
    for position in reversed(range(len(spread))):
        ceiling = 1.0 - _GAP * (len(spread) - 1 - position)
        spread[position] = min(spread[position], ceiling)
    return spread


def _draw_cuts(axes: Any, system: SystemReport) -> None:
    x = [cut.threshold for cut in system.cuts]
    for name, values, colour in (
        ("precision", [cut.precision for cut in system.cuts], _COLOURS[0]),
        ("recall", [cut.recall for cut in system.cuts], _COLOURS[1]),
    ):
        axes.plot(x, values, color=colour)
        axes.annotate(name, (x[0], values[0]), xytext=(6, -3), textcoords="offset points", color=_INK)
    if system.threshold is not None:
        axes.axvline(system.threshold.value, color=_INK, linestyle=":", linewidth=1.2)
        axes.annotate(f" {system.threshold.shown}", (system.threshold.value, 0.02), color=_INK, annotation_clip=False)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="score_threshold", ylabel="share")


def _figure(draw: Callable[[Any], None], caption: str, *, height: float = 3.4) -> str:
    """A picture as SVG in the page's own ink, with a caption that says what it shows."""
    with optional("the HTML report", extra="eval"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    style: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    style |= {"svg.hashsalt": "rerank", "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    style["text.parse_math"] = False  # names may have dollar signs
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # the reader's fonts draw the text
        figure = Figure(figsize=(8, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg[svg.index("<svg") :], count=2).replace(_INK, "currentColor")
    shown = html.escape(plain(caption))
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{shown}"', 1)
    svg = _own_ids(svg)
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="picture">{svg}</div>'
        f"<figcaption>{shown}</figcaption></figure>"
    )


def _own_ids(svg: str) -> str:
    """The picture with ids that no other picture of the page has."""
    own = f"p{zlib.crc32(svg.encode('utf-8', 'surrogatepass')):x}-"
    return re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{own}", svg)
