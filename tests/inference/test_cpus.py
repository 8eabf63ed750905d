from __future__ import annotations

import os

import pytest

from rerank_core.inference.cpus import available_cpus, cgroup_quota


def test_there_is_at_least_one_cpu_and_affinity_is_respected():
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))


@pytest.fixture
def cgroup(tmp_path):
    def make(files: dict[str, str], membership: str):
        for name, content in files.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (tmp_path / "cgroup").write_text(membership)
        return cgroup_quota(tmp_path / "root", tmp_path / "cgroup")

    return make


def test_version_2_takes_the_tightest_ancestor(cgroup):
    files = {"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}
    assert cgroup(files, "0::/a/b\n") == 1.5


def test_version_2_inside_a_container(cgroup):
    assert cgroup({"cpu.max": "50000 100000\n"}, "0::/\n") == 0.5


def test_version_1(cgroup):
    files = {"cpu/job/cpu.cfs_quota_us": "200000\n", "cpu/job/cpu.cfs_period_us": "100000\n"}
    assert cgroup(files, "3:memory:/x\n4:cpu,cpuacct:/job\n") == 2.0


@pytest.mark.parametrize(
    "files",
    [{}, {"cpu.max": "max 100000\n"}, {"cpu.max": "nonsense"}, {"cpu/cpu.cfs_quota_us": "-1\n"}],
)
def test_no_quota_is_none(cgroup, files):
    assert cgroup(files, "0::/\n") is None


def test_an_unreadable_membership_is_no_quota(tmp_path):
    assert cgroup_quota(tmp_path, tmp_path / "missing") is None
