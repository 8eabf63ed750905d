"""The main job on real text, offline: rank the API specification's example and this project's documentation."""

import os
from pathlib import Path

from rich.console import Console

from rerank_core import Reranker
from rerank_core.cli.hits import print_hits
from rerank_core.reading import Corpus, read

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE_QUERY = "What is machine learning?"
EXAMPLE_DOCUMENTS = [
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks.",
    "Cats are popular pets worldwide.",
]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
QUESTIONS = ("What happens to documents that are too long?", "Why are scores the same in every batch?")


def main() -> None:
    """Print three rankings."""
    console = Console()
    with Reranker(highlights=1, long_documents="windows") as reranker:
        console.print(f"\n[bold]{EXAMPLE_QUERY}[/bold]")
        print_hits(reranker.rerank(EXAMPLE_QUERY, EXAMPLE_DOCUMENTS), Corpus())
        pages = [os.path.relpath(ROOT / page) for page in PAGES]
        corpus = read(pages)
        for question in QUESTIONS:
            console.print(f"\n[bold]{question}[/bold]")
            print_hits(reranker.rerank(question, corpus.documents, top_n=3), corpus)
        console.print(f"\n{reranker!r}", style="dim", highlight=False)


if __name__ == "__main__":
    main()
