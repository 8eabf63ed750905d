"""The recipe of the bundled model ``rerank-mini-en-v1``: ``python -m training --data DIR --out DIR``."""
