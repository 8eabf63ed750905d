"""The sha256 of files, computed once per machine until a file changes.

Digests are looked up by device, inode, size and the times of the last change of content and of status. On POSIX the
last cannot be set by hand, so a copy with the old file's name, size and time counts as another file. Windows has no
such time: there a change in place that restores size and time is not noticed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from rerank_core import forks

_Key = tuple[int, int, int, int, int]

# A change this soon after another may have the same times: clocks of file systems are coarse.
_SETTLED_NS = 2_000_000_000
_WORTH_KEEPING = 1 << 20  # bytes; smaller files are read as fast as their record
_MOST_BYTES = 1 << 20
_MOST_ENTRIES = 10_000
_NUMBER = r"(\d{1,20})"  # 64 bits, in decimal digits; Python refuses to read very long numbers
_LINE = re.compile(rf"({' '.join([_NUMBER] * 5)} ([0-9a-f]{{64}})) ([0-9a-f]{{16}})", re.ASCII)

_known: dict[_Key, str] = {}
_read: set[Path] = set()
_hashing = forks.SlowLock()


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits.

    Raises:
        OSError: when it cannot be read.
    """
    key = _key(path.stat())
    known = _known.get(key)
    if known is None and key[2] >= _WORTH_KEEPING:
        _read_kept()
        known = _known.get(key)
    if known is not None:
        return known
    with _hashing:  # several threads at once read gigabytes only once
        return _known.get(key) or _computed(path)


def cache_folder() -> Path | None:
    """The user's cache folder, by the platform's convention; None for a user without a home."""
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            named = Path(os.environ.get("XDG_CACHE_HOME", ""))
            base = named if named.is_absolute() else Path.home() / ".cache"  # relative ones are to be ignored
    except RuntimeError:  # no home
        return None
    return base / "rerank-plugins" if base.is_absolute() else None


def _computed(path: Path) -> str:
    started = time.time_ns()
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    key = _key(before)
    if key == _key(after) and started - _last_change(before) > _SETTLED_NS:
        if len(_known) >= _MOST_ENTRIES:
            _known.clear()
        _known[key] = digest
        if before.st_size >= _WORTH_KEEPING:
            _keep(key, digest)
    return digest


def _key(status: os.stat_result) -> _Key:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _last_change(status: os.stat_result) -> int:
    return status.st_mtime_ns if sys.platform == "win32" else status.st_ctime_ns


def _file() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "sha256-2.txt"


def _read_kept() -> None:
    """Read what other processes have computed. Only whole lines with a right checksum count."""
    file = _file()
    if file is None or file in _read:
        return
    _read.add(file)
    with suppress(OSError):
        if not file.is_file():  # a pipe would wait for a writer
            return
        with file.open("rb") as opened:
            lines = opened.read(_MOST_BYTES).decode("ascii", "replace").splitlines()
        for line in lines:
            match = _LINE.fullmatch(line)
            if match is not None and match[8] == _seal(match[1]):
                device, inode, size, changed, status = map(int, match.groups()[1:6])
                _known.setdefault((device, inode, size, changed, status), match[7])


def _keep(key: _Key, digest: str) -> None:
    """Add a line for other processes; where nothing can be written, only memory is used."""
    file = _file()
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and not file.is_file():
            return
        if file.exists() and file.stat().st_size > _MOST_BYTES:
            file.unlink()
        line = f"{' '.join(map(str, key))} {digest}"
        with file.open("a", encoding="ascii") as lines:  # one write, so that lines of several processes do not mix
            lines.write(f"\n{line} {_seal(line)}\n")


def _seal(line: str) -> str:
    """A checksum of a line: a damaged one would make one file pass for another."""
    return hashlib.blake2b(line.encode("ascii"), digest_size=8).hexdigest()
