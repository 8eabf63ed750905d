"""How many CPUs this process may use: the lower of its scheduler affinity and its cgroup's quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_CGROUP_OF_PROCESS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """The number of CPUs this process may use, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(_CGROUP_ROOT, _CGROUP_OF_PROCESS)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path, membership: Path) -> float | None:
    """The CPU quota in CPUs, or None when there is none.

    Source: Linux kernel documentation, cgroup-v2 ``cpu.max`` ("$MAX $PERIOD" in microseconds, the tightest
    ancestor counts) and cgroup-v1 ``cpu.cfs_quota_us``.
    """
    quotas = [quota for folder in _cgroup_folders(root, membership) if (quota := _quota_of(folder))]
    return min(quotas, default=None)


def _cgroup_folders(root: Path, membership: Path) -> Iterator[Path]:
    yield root
    yield root / "cpu"
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root / "cpu" if "cpu" in controllers.split(",") else root
        folder = base / path.lstrip("/")
        while folder != base and folder.is_relative_to(base):
            yield folder
            folder = folder.parent


def _quota_of(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return None if limit in ("max", "-1") else int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
