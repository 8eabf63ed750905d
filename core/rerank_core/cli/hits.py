"""What ``rerank query`` found: for a person on a terminal, or a line per hit for a program."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from rerank_core.cli.terminal import Terminal, say_line
from rerank_core.documents import one_line
from rerank_core.reading.corpus import CODE, STDIN, Corpus
from rerank_core.reading.passages import context_length
from rerank_core.results import Document, RerankResponse, RerankResult, Span

_BAR = 10
_INDENT = 2
_ROWS = 6
"""Rows of a terminal that the text of a hit takes at most, if not all of it is asked for."""
_WEAK = 0.1
_LIKELY = 0.5
_OWN_LINES = re.compile(r"^(?:\s*(?:```|~~~|\|)|\s+(?:[-*+]|\d+\.) )", re.MULTILINE)
_LINE_BREAK = re.compile(r"[ \t]*\n[ \t]*")
_EVERYTHING = 10**9


@dataclass(frozen=True, slots=True)
class View:
    """How hits are shown.

    Args:
        before: lines of the file shown before each hit.
        after: lines of the file shown after it.
        full: whether long texts are shown whole.
    """

    before: int = 0
    after: int = 0
    full: bool = False


def score_bar(score: float, width: int = _BAR) -> str:
    """A bar of ``width`` characters, filled in proportion to a score of 0..1."""
    filled = round(score * width)
    return "█" * filled + "░" * (width - filled)


def print_hits(response: RerankResponse, corpus: Corpus, view: View = View(), *, query: str | None = None) -> None:
    """Print the hits on a terminal for a person; elsewhere one ``path:line:score:text`` each.

    Args:
        response: what was found.
        corpus: what its documents were read from.
        view: how much of each is shown.
        query: printed above the hits, or before each line, where there are several queries.
    """
    console = Terminal()
    if not console.is_terminal:
        for line in _lines(response, corpus, view):
            say_line(line if query is None else f"{one_line(query, _EVERYTHING)}\t{line}")
        return
    if query is not None:
        console.print(Text(one_line(query, _EVERYTHING), "bold underline"))
    for result in response:
        _print_hit(console, result, corpus, view)


def only_guesses(response: RerankResponse) -> str | None:
    """The remark on results that are all improbable."""
    if len(response) and response[0].fused is None and response[0].relevance_score < _WEAK:
        return f"nothing above {_WEAK}; these are the best guesses"
    return None


def _lines(response: RerankResponse, corpus: Corpus, view: View) -> Iterator[str]:
    """Hits as grep prints them: context lines with ``-`` for ``:``, and ``--`` between hits that have any."""
    for position, result in enumerate(response):
        before, after = _around(result.document, corpus, view)
        if (view.before or view.after) and position:
            yield "--"
        path = result.document.metadata.get("file")
        yield from (f"{path}-{number}-{line}" for number, line in before)
        place = "" if path is None else f"{path}:{_line(result, corpus)}:"
        yield f"{place}{result.relevance_score:.3f}:{one_line(_body(result)[0], _EVERYTHING)}"
        yield from (f"{path}-{number}-{line}" for number, line in after)


def _print_hit(console: Terminal, result: RerankResult, corpus: Corpus, view: View) -> None:
    head = Text().append(f"{result.relevance_score:.3f} ", "bold")
    head.append(score_bar(result.relevance_score), "green" if result.relevance_score >= _LIKELY else "yellow")
    if "file" in result.document.metadata:
        head.append(" ").append_text(_place(result, corpus))
    # Folding is left to the terminal, which keeps a path whole when it is copied.
    console.print(head, soft_wrap=True)
    before, after = _around(result.document, corpus, view)
    if context := result.document.metadata.get("context"):
        console.print(Padding(Text(one_line(context, _EVERYTHING), "dim italic"), (0, 0, 0, _INDENT)))
    for lines, text in ((before, _shown(result, view, console.width - _INDENT)), (after, None)):
        if lines:
            console.print(Padding(Text("\n".join(line for _, line in lines), "dim"), (0, 0, 0, _INDENT)))
        if text is not None:
            console.print(Padding(text, (0, 0, 0, _INDENT)))
    console.print()


def _shown(result: RerankResult, view: View, width: int) -> Text:
    """The passage with its best sentences in bold, cut around the best of them where it is long."""
    body, start = _body(result)
    text = Text(body)
    best = [Span(found.start - start, found.end - start) for found in result.highlights if found.start >= start]
    for sentence in best if sum(map(len, (found.text for found in result.highlights))) < len(body) else ():
        text.stylize("bold", sentence.start, sentence.end)
    focus = best[0].start if best else 0
    keeps_lines = view.before or view.after or _OWN_LINES.search(body) or _suffix(result.document) in CODE
    if not keeps_lines:
        text, focus = _reflowed(text, focus)
    if view.full or view.before or view.after:
        return text
    return _cut(text, focus, width)


def _reflowed(text: Text, focus: int) -> tuple[Text, int]:
    """The text without its file's line breaks, and where the character ``focus`` is in it."""
    flowing, end, moved = Text(), 0, focus
    for found in _LINE_BREAK.finditer(text.plain):
        flowing.append_text(text[end : found.start()]).append(" ")
        moved -= len(found[0]) - 1 if found.end() <= focus else 0
        end = found.end()
    return flowing.append_text(text[end:]), moved


def _cut(text: Text, focus: int, width: int) -> Text:
    """At most ``_ROWS`` rows of ``width`` characters, those around the character ``focus``."""
    lines = text.plain.split("\n")
    rows = [max(1, -(-len(line) // width)) for line in lines]
    if sum(rows) <= _ROWS:
        return text
    start = max(0, focus - width)
    end = start
    for _ in range(_ROWS):  # a row ends with the line, or with the width
        newline = text.plain.find("\n", end, end + width)
        end = min(len(text), newline + 1 if newline >= 0 else end + width)
    if start:
        start = max(text.plain.rfind(" ", 0, start), text.plain.rfind("\n", 0, start)) + 1
    if end < len(text):
        end = max(text.plain.rfind(" ", start, end), text.plain.rfind("\n", start, end), start + 1)
    part = text[start:end]
    part.rstrip()
    return Text.assemble("… " if start else "", part, " …" if end < len(text) else "")


def _body(result: RerankResult) -> tuple[str, int]:
    """The passage that got the score, without its context, and where it begins in the document."""
    start = context_length(result.document)
    if result.window is None:
        return result.text[start:], start
    start = min(max(start, result.window.start), result.window.end)
    return result.text[start : result.window.end], start


def _line(result: RerankResult, corpus: Corpus) -> int:
    """Where the best sentence stands; else the best window, or the document."""
    position = _body(result)[1]
    if result.highlights:
        position = max(position, result.highlights[0].start)
    return corpus.line(result.document, position)


def _place(result: RerankResult, corpus: Corpus) -> Text:
    metadata = result.document.metadata
    file, line = metadata["file"], _line(result, corpus)
    link = "" if file == STDIN else Path(file).absolute().as_uri()
    shown = "standard input" if file == STDIN else str(file).replace("\n", "\\n")
    shown += f", page {metadata['page']}" if "page" in metadata else f":{line}"
    return Text(shown, Style(color="cyan", link=link or None))


def _around(document: Document, corpus: Corpus, view: View) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The lines of the file before and after a passage, with their numbers."""
    lines: Sequence[str] = corpus.lines.get(document.metadata.get("file", ""), ())
    if not lines:
        return [], []
    first = corpus.line(document, 0)
    last = corpus.line(document, len(document.text))
    numbered = list(enumerate(lines, 1))
    return numbered[max(0, first - 1 - view.before) : first - 1], numbered[last : last + view.after]


def _suffix(document: Document) -> str:
    return Path(document.metadata.get("file", "")).suffix.lower()
