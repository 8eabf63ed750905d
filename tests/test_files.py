from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerank_core import InvalidRequestError, RerankError
from rerank_core.evaluation.report import Evaluation
from rerank_core.files import accessing, resolved
from rerank_core.scoring import Calibration


@pytest.fixture
def broken(tmp_path):
    """Paths that cannot be read, by what is wrong with them, and the words for it."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("not a folder")
    return {
        "missing": (tmp_path / "missing", "No such file or directory"),
        "folder": (tmp_path, "Is a directory"),
        "loop": (tmp_path / "loop", "Too many levels of symbolic links"),
        "below a file": (tmp_path / "file" / "x", "Not a directory"),
        "too long": (tmp_path / ("x" * 300), "File name too long"),
        "NUL": (tmp_path / "a\0b", "embedded null byte"),
    }


KINDS = ["missing", "folder", "loop", "below a file", "too long", "NUL"]


@pytest.mark.parametrize("read", [Calibration.load, Evaluation.load])
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_read_is_not_taken_for_one_with_mistakes(broken, kind, read):
    path, words = broken[kind]
    with pytest.raises(InvalidRequestError, match=words) as caught:
        read(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert caught.value.__cause__ is not None


def test_a_loop_of_links_has_no_place(broken):
    with pytest.raises(InvalidRequestError, match=r"cannot read .*loop: (its symbolic links|Too many levels)"):
        resolved(broken["loop"][0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that cannot be written")
def test_a_full_disk_is_no_mistake_of_the_call():
    with pytest.raises(RerankError, match="cannot write /dev/full: No space left on device") as caught:
        Calibration("m", "logistic", (1.0, 0.0)).save(Path("/dev/full"))
    assert not isinstance(caught.value, InvalidRequestError)
    assert caught.value.code == "storage_failed"
    assert isinstance(caught.value.__cause__, OSError)


def test_what_does_not_fit_in_memory():
    with pytest.raises(InvalidRequestError, match="cannot read a: it does not fit in memory"), accessing("a"):
        raise MemoryError


def test_a_home_that_nobody_has():
    with pytest.raises(InvalidRequestError, match="home"), accessing("~nobody-has-this-name/x"):
        Path("~nobody-has-this-name/x").expanduser()


def test_a_mistake_of_ours_stays_what_it_is():
    with pytest.raises(KeyError), accessing("a"):
        raise KeyError("x")
    with pytest.raises(UnicodeDecodeError), accessing("a"):
        b"\xff".decode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "secret").write_text("")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(InvalidRequestError, match="Permission denied"), accessing("secret"):
        (tmp_path / "secret").read_text()
