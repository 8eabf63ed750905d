"""Files, folders and streams become documents that know where they stand."""

from rerank_core.reading.corpus import STDIN, Corpus, read
from rerank_core.reading.selection import Selection

__all__ = ["STDIN", "Corpus", "Selection", "read"]
