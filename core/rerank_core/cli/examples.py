"""Examples of every command, at the end of its help and in the manual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "query": (
        'rerank query "how do I reset it" manual.md docs',
        'rerank query "where are requests retried" src --glob "*.py" -n 3 -C 2',
        'cat notes.txt | rerank query "opening hours"',
        "rerank query --queries questions.txt docs --json -o answers.json",
    ),
    "bulk": (
        "rerank bulk pairs.jsonl -o scored",
        "rerank bulk logs -o scored --rows-per-part 500 --max-rejects 100",
        "rerank bulk pairs.jsonl --dry-run",
        "rerank bulk first.trec --queries queries.tsv --texts corpus.jsonl -o scored --format trec",
    ),
    "models": ("rerank models", "rerank models --json -o models.json"),
    "export": ("rerank export cross-encoder/ms-marco-MiniLM-L6-v2 my-model",),
    "evaluate": (
        "rerank evaluate questions.jsonl",
        "rerank evaluate questions.jsonl -m rerank-tiny-en-v1 -m rerank-mini-en-v1 --html report.html -o report.json",
    ),
    "calibrate": ("rerank calibrate questions.jsonl -o calibration.json",),
    "serve": ("rerank serve", "rerank serve --model fast=rerank-tiny-en-v1 --port 9000"),
    "pull": ("rerank pull rerank-mini-en-v1 --to my-model",),
    "cache": ("rerank cache", "rerank cache --json"),
    "doctor": ("rerank doctor --model rerank-tiny-en-v1",),
    "mcp": ("rerank mcp --root docs",),
}
