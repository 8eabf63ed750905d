"""An evaluation as one self-contained HTML page: no script, no network, light and dark, narrow and wide."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.table import (
    UNKNOWN,
    UNKNOWN_MEANS,
    cost_cells,
    pair_cells,
    plain,
    quality_cells,
    size,
    verdict_lines,
)
from rerank_core.files import accessing
from rerank_core.optional import optional

# A colour that nobody uses, so that it can be replaced by the page's own.
_INK = "#010203"
_COLOURS = ("#2a78d6", "#e07b39", "#2e9e6b", "#b0507e", "#7a6fd0", "#8a8a2d")

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6470; --line: #d8dde3; --card: #f6f8fa; --page: #fff;
  --good: #1a7f37; --bad: #c1372d; --even: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #333b46; --card: #161b22;
  --page: #0d1117; --good: #4cc26a; --bad: #ff7b72; --even: #d9a441; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p.about, figcaption, .soft { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--soft); }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem; }
.card b { display: block; overflow-wrap: anywhere; } .verdict { font-size: 1.25rem; font-weight: 700; margin: .3rem 0; }
.helps { color: var(--good); } .hurts { color: var(--bad); } .even, .caution { color: var(--even); }
.caution { font-weight: 600; }
figure { margin: 1rem 0; } svg { width: 100%; min-width: 32rem; height: auto; color: var(--ink); }
.loss { border-left: 3px solid var(--line); padding-left: .8rem; margin: 1rem 0; overflow-wrap: anywhere; }
details { color: var(--soft); margin-top: 2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
"""


def write_page(found: Evaluation, file: str | Path) -> None:
    """Write the page.

    Args:
        found: the evaluation.
        file: where to.

    Raises:
        MissingDependencyError: when the extra ``eval`` is not installed.
        InvalidRequestError: when the file cannot be written.
    """
    date = _text(found.environment.get("date", ""))
    parts = [
        f"<h1>Does reranking help on {_text(found.data)}?</h1>",
        f'<p class="about">{_text(size(found))}: {_text(found.first_stage)}. {date}</p>',
        *(f'<p class="caution">{_text(note)}</p>' for note in found.left_out),
        *_verdicts(found),
        *_pairs(found),
        *_quality(found),
        *_pictures(found),
        *_costs(found),
        *_thresholds(found),
        *_losses(found),
        *_provenance(found),
    ]
    title = f"Reranking on {_text(found.data)}"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join(parts)
    page = f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{body}</body></html>\n'
    with accessing(file, "write"):
        Path(file).write_text(page, encoding="utf-8")


def _verdicts(found: Evaluation) -> Iterator[str]:
    yield '<div class="cards">'
    for name, verdict, reason in verdict_lines(found):
        kind = {"helps": "helps", "hurts": "hurts"}.get(verdict, "even")
        yield f'<div class="card"><b>{_text(name)}</b><div class="verdict {kind}">{verdict}</div>{_text(reason)}</div>'
    yield "</div>"
    for system in found.rerankers[:1]:
        if system.comparison and system.comparison.caution:
            yield f'<p class="caution">{_text(system.comparison.caution)}</p>'


def _pairs(found: Evaluation) -> Iterator[str]:
    head, *rows = pair_cells(found)
    if rows:
        yield "<h2>Against each other</h2>"
        yield _table(head, rows)


def _quality(found: Evaluation) -> Iterator[str]:
    head, *rows = quality_cells(found)
    yield "<h2>Quality</h2>"
    yield _table(head, rows)


def _costs(found: Evaluation) -> Iterator[str]:
    if not found.rerankers:
        return
    head, *rows = cost_cells(found, lambda seconds: f"{1000 * seconds:,.0f} ms")
    yield "<h2>Cost</h2>"
    yield _table(head, rows)
    if any(UNKNOWN in row for row in rows):
        yield f'<p class="soft">{UNKNOWN_MEANS}</p>'


def _thresholds(found: Evaluation) -> Iterator[str]:
    rows = [
        [s.name, s.threshold.shown, f"{s.threshold.precision:.2f}", f"{s.threshold.recall:.2f}",
         f"{s.threshold.kept:.0%}"]
        for s in found.rerankers
        if s.threshold is not None
    ]  # fmt: skip
    if rows:
        yield "<h2>Where to cut</h2>"
        yield (
            '<p class="soft">The score_threshold with the best F1; what it buys among the candidates of queries it was '
            "not chosen on, where what nobody judged counts as not relevant.</p>"
        )
        yield _table(["", "score_threshold", "precision", "recall", "kept"], rows)


def _losses(found: Evaluation) -> Iterator[str]:
    for system in found.rerankers:
        if system.losses:
            yield f"<h2>Queries that got worse with {_text(system.name)}</h2>"
        for loss in system.losses:
            yield (
                f'<div class="loss"><b>{_text(loss.query)}</b> '
                f'<span class="soft">{MAIN} {loss.before:.2f} → {loss.after:.2f}</span><br>'
                f'<span class="helps">wanted</span> {_text(loss.wanted)}<br>'
                f'<span class="hurts">got</span> {_text(loss.preferred)}</div>'
            )


def _provenance(found: Evaluation) -> Iterator[str]:
    origin = {"data": found.checksum, **found.settings, **found.environment}
    origin |= {f"identity of {system.name}": system.identity for system in found.rerankers}
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(str(value))}</dd>" for name, value in origin.items())
    yield f"<details><summary>What is needed to repeat this</summary><dl>{rows}</dl></details>"


def _pictures(found: Evaluation) -> Iterator[str]:
    if not found.rerankers:
        return
    yield "<h2>How much reranking is enough</h2>"
    yield _figure(lambda axes: _draw_depth(axes, found), f"{MAIN} by how many candidates are reranked.")
    if any(system.seconds_by_depth for system in found.rerankers):
        yield _figure(
            lambda axes: _draw_latency(axes, found),
            f"{MAIN} against the median time of a query, fewer candidates in proportion; a single point is what was "
            "measured of a model to which that does not apply.",
        )
    yield "<h2>Query by query</h2>"
    yield _figure(
        lambda axes: _draw_differences(axes, found),
        f"Change of {MAIN} of each query, best first: what lies below zero got worse.",
    )


def _draw_depth(axes: Any, found: Evaluation) -> None:
    depths = sorted({depth for system in found.rerankers for depth in system.by_depth or {}})
    axes.axhline(found.baseline.mean(), color=_INK, linestyle=":", linewidth=1.2, label="first stage")
    for colour, system in zip(_cycle(), found.rerankers, strict=False):
        points = sorted((system.by_depth or {}).items())
        axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=_label(system.name))
    axes.set_xticks(depths)
    axes.set_xlabel("candidates reranked")
    axes.set_ylabel(MAIN)


def _draw_latency(axes: Any, found: Evaluation) -> None:
    axes.axhline(found.baseline.mean(), color=_INK, linestyle=":", linewidth=1.2, label="first stage")
    for colour, system in zip(_cycle(), found.rerankers, strict=False):
        times, values = system.seconds_by_depth, system.by_depth
        if times is not None and values is not None:
            points = sorted((1000 * times[depth], values[depth]) for depth in times)
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=_label(system.name))
    axes.set_xlabel("milliseconds per query")
    axes.set_ylabel(MAIN)


def _draw_differences(axes: Any, found: Evaluation) -> None:
    before = found.baseline.measures[MAIN]
    axes.axhline(0, color=_INK, linewidth=0.8)
    for colour, system in zip(_cycle(), found.rerankers, strict=False):
        changes = sorted((value - before[query] for query, value in system.measures[MAIN].items()), reverse=True)
        axes.step(range(1, len(changes) + 1), changes, where="mid", color=colour, label=_label(system.name))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("query")
    axes.set_ylabel(f"change of {MAIN}")


def _label(name: str) -> str:
    """A model's name in a legend, which leaves out what begins with an underscore."""
    return f" {plain(name)}" if name.startswith("_") else plain(name)


def _figure(draw: Callable[[Any], None], caption: str) -> str:
    """A picture as SVG in the page's own ink, with a caption that says what it shows."""
    with optional("the HTML report", extra="eval"):
        import matplotlib as mpl
        from matplotlib.figure import Figure
    style: Any = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)
    style |= {"svg.hashsalt": "rerank", "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    style["text.parse_math"] = False  # names may have dollar signs
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # the reader's fonts draw the text
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)  # where it covers no line
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    svg = drawn.getvalue()
    svg = re.sub(r'\s(width|height)="[\d.]+pt"', "", svg[svg.index("<svg") :], count=2).replace(_INK, "currentColor")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{_text(caption)}"', 1)
    return f'<figure><div class="scroll">{svg}</div><figcaption>{_text(caption)}</figcaption></figure>'


def _cycle() -> Iterator[str]:
    while True:
        yield from _COLOURS


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{_text(name)}</th>" for name in head)
    lines = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def _text(value: str) -> str:
    return html.escape(plain(value))
