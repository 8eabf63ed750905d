"""Which files of a folder are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from pathspec import GitIgnoreSpec

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing

_IGNORE_FILE = ".gitignore"
_MADE_BY_TOOLS = frozenset({"node_modules", "__pycache__"})
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"


@dataclass(frozen=True, slots=True)
class Selection:
    """What to leave out of folders. Files that are named themselves are always read.

    Args:
        glob: patterns as in a ``.gitignore``, relative to the folder; if there are any, only what they match is read.
        exclude: such patterns of what is left out.
        ignored: whether files are read that a ``.gitignore`` leaves out.
    """

    glob: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignored: bool = False

    def files(self, folder: Path, known: Callable[[Path], bool], unreadable: list[InvalidRequestError]) -> list[Path]:
        """The files below a folder, sorted; hidden ones, environments and what tools make are left out.

        Args:
            folder: where to look. Links to folders are not followed.
            known: whether a file is of a kind that can be read.
            unreadable: takes what is wrong with each folder below that cannot be read.

        Raises:
            InvalidRequestError: when a pattern is none, or the folder cannot be read.
        """
        wanted = _patterns(self.glob, "glob") if self.glob else None
        unwanted = _patterns(self.exclude, "exclude")
        found = []
        for file, relative in self._walk(folder, unreadable):
            if wanted is not None and not wanted.match_file(relative):
                continue
            if not unwanted.match_file(relative) and known(file) and file.is_file():
                found.append(file)
        return sorted(found)

    def _walk(self, folder: Path, unreadable: list[InvalidRequestError]) -> Iterator[tuple[Path, str]]:
        """Every file that is not ignored, with its path relative to ``folder``."""
        ignores = [] if self.ignored else _above(folder)
        pending = [(folder, ignores)]
        while pending:
            place, ignores = pending.pop()
            if not self.ignored:
                ignores = [*ignores, *_read_ignores(place)]
            try:
                with accessing(place):
                    entries = list(os.scandir(place))
            except InvalidRequestError as problem:
                if place == folder:
                    raise
                unreadable.append(problem)
                continue
            for entry in entries:
                path = place / entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                if entry.name.startswith(".") or _ignored(path, ignores, is_folder=is_folder):
                    continue
                if not is_folder:
                    yield path, path.relative_to(folder).as_posix()
                elif entry.name not in _MADE_BY_TOOLS and not _is_there(path / _VIRTUAL_ENVIRONMENT):
                    pending.append((path, ignores))


_Ignore = tuple[str, GitIgnoreSpec]
"""The folder of a .gitignore, absolute, and what it says."""


def _is_there(path: Path) -> bool:
    """Whether a path exists, as far as may be seen."""
    return os.path.exists(path)  # noqa: PTH110  (Path.exists raises where that may not be seen)


def _above(folder: Path) -> list[_Ignore]:
    """The .gitignore files that hold for a folder from above it: those of its repository, outermost first."""
    place = Path(os.path.abspath(folder))  # noqa: PTH100  (without following links)
    above = [place, *place.parents]
    root = next((i for i, each in enumerate(above) if _is_there(each / ".git")), 0)
    return [ignore for each in reversed(above[1 : root + 1]) for ignore in _read_ignores(each)]


def _read_ignores(folder: Path) -> list[_Ignore]:
    try:
        lines = (folder / _IGNORE_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
        return [(os.path.abspath(folder), GitIgnoreSpec.from_lines(lines))]  # noqa: PTH100
    except (OSError, ValueError):  # none, or none that git would understand
        return []


def _ignored(path: Path, ignores: Sequence[_Ignore], *, is_folder: bool) -> bool:
    """What the innermost file says that says something."""
    if not ignores:
        return False
    absolute = os.path.abspath(path)  # noqa: PTH100
    for folder, spec in reversed(ignores):
        relative = PurePath(absolute).relative_to(folder).as_posix() + "/" * is_folder
        said = spec.check_file(relative).include
        if said is not None:
            return said
    return False


def _patterns(patterns: Sequence[str], param: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines(patterns)
    except ValueError as error:
        raise InvalidRequestError(
            f"--{param} takes patterns as in a .gitignore, such as '*.md' or 'docs/**'; one given is not: {error}.",
            param=param,
        ) from error
