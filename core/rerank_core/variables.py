"""Environment variables: the ``RERANK_*`` ones that are no settings of the server, and what is set for Ray."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

AUTOTUNE = "RERANK_AUTOTUNE"
"""``0`` turns off the search for the fastest runtime (``inference/autotune.py``)."""

OTHERS = frozenset({AUTOTUNE})

RAY: Mapping[str, str] = MappingProxyType(
    {
        "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
        # Ray's default, 15, is for jobs in the background: on a busy machine its workers would hardly run at all.
        "RAY_worker_niceness": "0",
    }
)
"""What a Ray that is started here begins with, unless the environment says otherwise."""
