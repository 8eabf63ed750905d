"""A training set out of documentation: what people ask is what headings, questions and glossaries say.

A row has the passages of one section as positives and other passages of the page as negatives, which are on the topic
and no wrong answers: a teacher says what is between. Django's documentation and PostgreSQL's are left out whole; the
latter is what choices are made on (``training.retrieved``), the former stays unseen for a last look.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .data import Example
from .documentation import PACKAGES, Passage, passages_of, read_package

logger = logging.getLogger("training.technical")

HELD_OUT = ("postgresql-doc-15", "python-django-doc")
PAGES = 400
ROWS = 1000
"""At most so many pages and rows of a package, so that no package is all of the set."""

NEARBY = 6
WORDED = re.compile(r"[\w'\u2019,/.+#*-]+(?: [\w'\u2019,/.+#*()-]+){2,}\??")
"""At least three words without signs of code between them."""
GENERIC = re.compile(
    r"source code for|license|copyright|release notes|changelog|what.s new|^(version|changes) \d", re.IGNORECASE
)


def query_of(titles: Sequence[str]) -> str | None:
    """What a reader of the section might have typed: its heading, under the page's where it says little by itself."""
    if not titles or any(GENERIC.search(title) for title in titles):
        return None
    last = titles[-1]
    if WORDED.fullmatch(last):
        return last
    joined = f"{titles[0]} {last}"
    if len(titles) > 1 and WORDED.fullmatch(joined) and last.lower() not in titles[0].lower():
        return joined
    return None


def rows_of(found: Sequence[Passage]) -> Iterator[Example]:
    """The rows of one package, in the order of its pages."""
    pages: dict[str, list[Passage]] = {}
    for passage in found:
        pages.setdefault(passage.page, []).append(passage)
    for on_page in pages.values():
        sections: dict[tuple[str, ...], list[Passage]] = {}
        for passage in on_page:
            sections.setdefault(passage.titles, []).append(passage)
        for titles, parts in sections.items():
            if query := query_of(titles):
                answers = tuple(part.text for part in parts)
                others = tuple(other.headed for other in on_page if other.titles != titles)
                yield Example(query, answers, others[:NEARBY])


def build(docs: Path, seed: int = 11) -> dict[str, list[Example]]:
    """Rows of each package that is not held out."""
    generator = random.Random(seed)
    rows: dict[str, list[Example]] = {}
    for name in PACKAGES:
        if name in HELD_OUT:
            continue
        found = list(rows_of(passages_of(list(read_package(docs / name, PAGES)))))
        kept = set(generator.sample(range(len(found)), min(ROWS, len(found))))
        rows[name] = [row for number, row in enumerate(found) if number in kept]
        logger.info("%s: %d of %d rows", name, len(rows[name]), len(found))
    return rows


def write_set(path: Path, rows: Sequence[Example]) -> None:
    """In the format of the other training sets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with gzip.open(part, "wt", encoding="utf-8") as lines:
        for row in rows:
            content = {"query": row.query, "positive": row.positives, "negative": row.negatives}
            lines.write(json.dumps(content) + "\n")
    part.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.technical", description="A training set out of docs.")
    parser.add_argument("--docs", type=Path, required=True, help="folder of unpacked documentation packages")
    parser.add_argument("--out", type=Path, required=True, help="OUT/train/PACKAGE/train.jsonl.gz are written")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name, rows in build(options.docs).items():
        write_set(options.out / "train" / name / "train.jsonl.gz", rows)


if __name__ == "__main__":
    main()
