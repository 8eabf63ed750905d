"""Where rows are read from: files of this machine, and URLs of pyarrow's file systems."""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.optional import optional

KINDS = (".jsonl", ".csv", ".parquet", ".trec", ".run")
"""What files may end with; ``.gz`` may follow, but for Parquet, which is compressed by itself."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, repr=False)
class Input:
    """A file to read.

    Attributes:
        location: a path, or a URL that ``pyarrow.fs.FileSystem.from_uri`` knows (``s3://``, ``gs://``, ``hdfs://``).
    """

    location: str

    def __repr__(self) -> str:
        return f"Input({self.name!r})"  # a URL may hold keys

    @property
    def name(self) -> str:
        """Its last part, without what a URL has behind a question mark."""
        return PurePosixPath(_bare(self.location)).name

    @property
    def kind(self) -> str:
        """One of :data:`KINDS`; what else it ends with, where it is none."""
        path = PurePosixPath(self.name)
        inner = PurePosixPath(path.stem).suffix if path.suffix == ".gz" else path.suffix
        return path.suffix if inner == ".parquet" and path.suffix == ".gz" else inner

    def resolved(self) -> Input:
        """The same file, whatever the working folder is."""
        return self if _is_url(self.location) else Input(str(Path(self.location).resolve()))

    def size(self) -> int:
        """In bytes, as it is stored.

        Raises:
            InvalidRequestError: when there is no such file.
        """
        with self.access():
            if not _is_url(self.location):
                return Path(self.location).stat().st_size
            return int(_info(self.location).size or 0)

    def fingerprint(self) -> str:
        """What another content would change: a digest of it; of a URL its size and when it was written.

        Raises:
            InvalidRequestError: when it cannot be read.
        """
        with self.access():
            if _is_url(self.location):
                info = _info(self.location)
                return f"{info.size} bytes, {info.mtime_ns}"
            with self.open(raw=True) as content:
                return hashlib.file_digest(cast("io.BufferedReader", content), "sha256").hexdigest()

    def open(self, *, raw: bool = False) -> IO[bytes]:
        """Its content; of a file with ``.gz`` what is in it, unless ``raw``.

        Raises:
            MissingDependencyError: for a URL without pyarrow.
            OSError, ValueError: when it cannot be opened; for :meth:`access`.
        """
        packed = self.name.endswith(".gz") and not raw
        if not _is_url(self.location):
            return cast("IO[bytes]", (gzip.open if packed else open)(self.location, "rb"))
        system, path = _file_system(self.location)
        file = cast("IO[bytes]", io.BufferedReader(system.open_input_file(path)))
        return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file

    @contextmanager
    def access(self) -> Iterator[None]:
        """Around all that reads it.

        Raises:
            InvalidRequestError: instead of what its file system raises, which may hold a URL's keys.
        """
        try:
            if not _is_url(self.location):
                with accessing(self.location):
                    yield
            else:
                with _reading_url(self):
                    yield
        except (EOFError, zlib.error) as error:
            raise InvalidRequestError(
                f"cannot read {self.name}: its compressed content is cut off or damaged."
            ) from error


@contextmanager
def _reading_url(file: Input) -> Iterator[None]:
    try:
        yield
    except UnicodeError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:  # the last: pyarrow was built without it
        raise InvalidRequestError(
            f"cannot read {file.name} of {_scheme(file.location)}: {type(error).__name__}. Is the URL right, and "
            "may it be read from here?",
            param="files",
        ) from None


def find_files(names: Sequence[str | Path]) -> list[Input]:
    """The files that ``names`` mean, each once: files, folders (what they hold of a known kind, sorted) and patterns.

    Args:
        names: paths, or URLs of pyarrow's file systems.

    Raises:
        InvalidRequestError: when a name means none, a file is of no known kind, or a URL cannot be read.
        MissingDependencyError: for a URL without pyarrow.
    """
    found: dict[Input, None] = {}
    for name in names:
        inside = [Input(each) for each in (_of_url(str(name)) if _is_url(str(name)) else _of_path(Path(name)))]
        if not inside:
            raise InvalidRequestError(
                f"{_bare(str(name))}: there is no such file, and no file of {named_kinds()} in it.", param="files"
            )
        found |= dict.fromkeys(inside)
    for file in found:
        if file.kind not in KINDS:
            raise InvalidRequestError(f"{file.name}: expected a file of {named_kinds()}.", param="files")
    return list(found)


def _of_path(path: Path) -> list[str]:
    if path.is_dir():
        return sorted(str(each) for each in path.rglob("*") if Input(each.name).kind in KINDS and each.is_file())
    if path.exists():
        return [str(path)]
    return sorted(each for each in glob.glob(str(path), recursive=True) if Path(each).is_file())  # noqa: PTH207


def _of_url(url: str) -> list[str]:
    """URLs of the files; those of a folder have the folder's scheme and options."""
    # A question mark begins a URL's options, so patterns have stars and brackets only.
    head, mark, options = url.partition("?")
    with Input(url).access():
        system, path = _file_system(url)
        from pyarrow.fs import FileSelector, FileType

        parts = _PATTERN.split(path, maxsplit=1)
        if len(parts) == 1 and system.get_file_info(path).type == FileType.File:
            return [url]
        folder = path if len(parts) == 1 else parts[0].rpartition("/")[0]
        inside = system.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
        paths = sorted(each.path for each in inside if each.type == FileType.File and Input(each.path).kind in KINDS)
        if len(parts) > 1:
            paths = [each for each in paths if fnmatchcase(each, path)]
    return [head.removesuffix(path) + each + mark + options for each in paths]


def _info(url: str) -> Any:
    system, path = _file_system(url)
    return system.get_file_info(path)


def _file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    with optional("URLs of files", extra="parquet"):
        from pyarrow import fs
    system, path = fs.FileSystem.from_uri(url)
    return system, str(path)


def _is_url(location: str) -> bool:
    return _URL.match(location) is not None


def _scheme(url: str) -> str:
    return url.partition("://")[0] + "://"


def _bare(location: str) -> str:
    """A path as it is, a URL without user, key and options."""
    if not _is_url(location):
        return location
    scheme, _, rest = location.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def named_kinds() -> str:
    """:data:`KINDS` for a message."""
    return ", ".join(kind.removeprefix(".") for kind in KINDS)
