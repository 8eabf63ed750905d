"""The ``RERANK_*`` environment variables that are no settings of the server."""

AUTOTUNE = "RERANK_AUTOTUNE"
"""``0`` turns off the search for the fastest runtime (``inference/autotune.py``)."""

OTHERS = frozenset({AUTOTUNE})
