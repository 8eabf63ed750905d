"""Markdown, reStructuredText and plain text: fences whole, list items apart, headings carried along."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rerank_core.highlights import sentences
from rerank_core.reading.passages import Passage

PATH = " > "
_LONGEST_INTRODUCTION = 300
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*?)(?:[ \t]+#+)?[ \t]*")
_ITEM = re.compile(r" ?(?:[-*+•]|\d{1,9}[.)])[ \t]+\S")
_RULE = re.compile(r"\s*([=\-~^\"'*+#_.:])(?:[ \t]*\1)*\s*")
_MARKDOWN_UNDERLINES = "=-"


def passages(text: str, *, restructured: bool = False) -> Iterator[Passage]:
    """The paragraphs, list items and fenced blocks of a text, each with the headings above it as its context.

    A short sentence that ends with a colon introduces the list or the block below it: it is their context too. A
    paragraph of only that is no passage of its own, and a heading is one only where nothing stands below it.

    Args:
        text: the text, with line feeds between lines.
        restructured: whether lines of any punctuation underline headings; otherwise only ``===`` and ``---`` do.
    """
    outline = Outline()
    blocks = list(_Blocks(text.split("\n"), restructured))
    introduction = ""
    for position, block in enumerate(blocks):
        if block.level:
            introduction = ""
            yield from outline.enter(block.level, block.text, block.line)
            continue
        if not block.introducible:
            introduction = _introduction(block, blocks[position + 1 :][:1])
        if block.text != introduction:
            above = (outline.path, introduction if block.introducible else "")
            outline.used()
            yield Passage(block.line, block.text, "\n".join(filter(None, above)))
    yield from outline.enter(0, "", 0)


class Outline:
    """The headings above the place that a reader has come to."""

    def __init__(self) -> None:
        self._above: list[tuple[int, str]] = []
        self._waiting: tuple[int, int] | None = None  # line and level of a heading with nothing below it yet

    @property
    def path(self) -> str:
        """The headings, outermost first."""
        return PATH.join(title for _, title in self._above)

    def used(self) -> None:
        """Something stands below the last heading."""
        self._waiting = None

    def enter(self, level: int, title: str, line: int) -> Iterator[Passage]:
        """Come to a heading; level 0 is the end. Gives the last heading as a passage if nothing stood below it."""
        if self._waiting is not None and level <= self._waiting[1]:
            *above, (_, last) = self._above
            yield Passage(self._waiting[0], last, PATH.join(title for _, title in above))
        self._above = [each for each in self._above if each[0] < level]
        if level:
            self._above.append((level, title))
            self._waiting = (line, level)


class _Block:
    """Lines that belong together. ``level`` is that of a heading, else 0."""

    def __init__(self, line: int, lines: Sequence[str], *, level: int = 0, introducible: bool = False) -> None:
        self.line = line
        self.text = "\n".join(lines).strip() if not introducible else "\n".join(lines).rstrip().lstrip("\n")
        self.level = level
        self.introducible = introducible


def _introduction(block: _Block, following: Sequence[_Block]) -> str:
    """The last sentence of a paragraph, if it introduces what follows."""
    if not block.text.endswith(":") or not any(each.introducible for each in following):
        return ""
    starts = [span.start for span in sentences(block.text)]
    last = block.text[starts[-1] :] if starts else ""
    return last if len(last) <= _LONGEST_INTRODUCTION else ""


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The blocks of a text.

    Args:
        lines: the text's.
        restructured: whether it is reStructuredText, which has no fences, and headings underlined with anything.
    """

    lines: Sequence[str]
    restructured: bool

    def __iter__(self) -> Iterator[_Block]:
        position = _front_matter(self.lines)
        if position:
            yield _Block(2, self.lines[1 : position - 1])
        levels = list[str]() if self.restructured else list(_MARKDOWN_UNDERLINES)
        while position < len(self.lines):
            line = self.lines[position]
            end = position + 1
            if heading := self._heading(line):
                yield _Block(end, [heading[2]], level=len(heading[1]))
            elif fence := self._fence(line):
                end = self._fence_end(position, fence[1])
                yield _Block(position + 1, self.lines[position:end], introducible=True)
            elif _ITEM.match(line):
                end = self._item_end(position)
                yield _Block(position + 1, self.lines[position:end], introducible=True)
            elif line.strip():
                end = self._paragraph_end(position)
                yield from self._paragraph(position, end, levels)
            position = end

    def _paragraph(self, start: int, end: int, levels: list[str]) -> Iterator[_Block]:
        """A paragraph, or the heading that its second line underlines. Lines of marks alone are nothing."""
        first = next((i for i in range(start, end) if not _RULE.fullmatch(self.lines[i])), end)
        if first == end:
            return
        title, under = self.lines[first], self.lines[first + 1] if first + 1 < end else ""
        if _RULE.fullmatch(under) and self._underlines(title, under.strip(), levels):
            yield _Block(first + 1, [title], level=levels.index(under.strip()[0]) + 1)
            yield from self._paragraph(first + 2, end, levels)
        else:
            yield _Block(first + 1, self.lines[first:end])

    def _underlines(self, title: str, marks: str, levels: list[str]) -> bool:
        if self.restructured and len(marks) >= len(title.strip()):
            levels.extend({marks[0]}.difference(levels))
            return True
        return not self.restructured and marks[0] in levels

    def _heading(self, line: str) -> re.Match[str] | None:
        return None if self.restructured else _HEADING.fullmatch(line)

    def _fence(self, line: str) -> re.Match[str] | None:
        return None if self.restructured else _FENCE.match(line)

    def _fence_end(self, start: int, fence: str) -> int:
        closing = re.compile(rf"\s*{re.escape(fence[0])}{{{len(fence)},}}\s*")
        after = range(start + 1, len(self.lines))
        return next((i + 1 for i in after if closing.fullmatch(self.lines[i])), len(self.lines))

    def _item_end(self, start: int) -> int:
        """After an item: what is indented belongs to it, and so does a paragraph's next line."""
        position = start + 1
        while position < len(self.lines):
            line = self.lines[position]
            indented = line.startswith(("  ", "\t"))
            if line.strip() and not indented and (not self.lines[position - 1].strip() or self._starts_block(line)):
                return position
            fence = self._fence(line.strip()) if indented else None
            position = self._fence_end(position, fence[1]) if fence else position + 1
        return position

    def _paragraph_end(self, start: int) -> int:
        position = start + 1
        while position < len(self.lines) and self.lines[position].strip():
            if self._starts_block(self.lines[position]):
                break
            position += 1
        return position

    def _starts_block(self, line: str) -> bool:
        return bool(self._heading(line) or self._fence(line) or _ITEM.match(line))


def _front_matter(lines: Sequence[str]) -> int:
    """How many lines at the top are data about the file."""
    if lines[0].rstrip() != "---" or not "".join(lines[1:2]).strip(" -"):
        return 0
    return next((i + 1 for i, line in enumerate(lines[1:50], 1) if line.rstrip() == "---"), 0)
