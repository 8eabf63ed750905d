"""A model's identity: the bytes of the files that decide its scores. Folder names and file times do not matter."""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

from rerank_core.models.digests import file_digest

CONFIG_FILES = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
)
"""The configuration files that are read, whatever the backend. ``ModelFiles.read_json`` takes no other name."""

_TOKENIZER = "tokenizer.json"
# Not part of a torch checkpoint: documentation, other programs' weights, traces of training. The libraries that load it
# may read any other file.
_NOT_OF_A_CHECKPOINT = (
    ".*", "*.md", "LICENSE*", "*.log", "*.png", "*.jpg", "*.pdf", "*.onnx", "*.onnx_data", "*.onnx.data", "*.gguf",
    "*.h5", "*.msgpack", "*.ot", "openvino_*", "optimizer.*", "scheduler.*", "rng_state*", "trainer_state.json",
    "training_args.bin", "events.out.*", "sha256.json",
)  # fmt: skip
# A protobuf field 1 that holds "location", followed by field 2: how a tensor of an ONNX graph says that its data are
# in another file (onnx.proto, TensorProto.external_data: a list of StringStringEntryProto).
_LOCATION = b"\x0a\x08location\x12"


def content_digest(folder: Path, names: Iterable[str]) -> str:
    """A digest of names and contents, 32 hexadecimal digits.

    Raises:
        OSError: when a file cannot be read.
    """
    digest = hashlib.sha256()
    for name in sorted(set(names)):
        encoded = name.encode("utf-8", "surrogateescape")
        digest.update(len(encoded).to_bytes(8, "little") + encoded + bytes.fromhex(file_digest(folder / name)))
    return digest.hexdigest()[:32]


def onnx_files(folder: Path, graph: str) -> list[str]:
    """The files that decide the scores of an ONNX graph: the graph, its tensors' files, tokenizer and configuration.

    Only these: the folder may hold other things.

    Raises:
        OSError: when the graph cannot be read.
    """
    if not (folder / graph).is_file():  # loading reports it
        return []
    beside = Path(graph).parent
    tensors = [(beside / name).as_posix() for name in _external_data(folder / graph, file_digest(folder / graph))]
    return [name for name in (graph, *tensors, _TOKENIZER, *CONFIG_FILES) if (folder / name).is_file()]


def checkpoint_files(folder: Path) -> list[str]:
    """The files that decide the scores of a torch checkpoint: its own and those of its modules, code and templates."""
    found = [path for path in folder.iterdir() if path.is_file()]
    for name in ("additional_chat_templates", *_module_folders(folder)):
        found += [path for path in (folder / name).rglob("*") if path.is_file()]
    found += folder.glob("*/*.py")
    names = {path.relative_to(folder).as_posix() for path in found}
    return [name for name in names if not any(fnmatch(Path(name).name, pattern) for pattern in _NOT_OF_A_CHECKPOINT)]


@lru_cache(maxsize=256)
def _external_data(graph: Path, _digest: str) -> tuple[str, ...]:
    """The files that a graph names as holding its tensors, relative to its folder."""
    try:
        with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = {_text_at(content, start + len(_LOCATION)) for start in _occurrences(content, _LOCATION)}
    except (OSError, ValueError):  # it cannot be read or is empty: loading reports it
        return ()
    return tuple(sorted(name for name in found if name))


def _occurrences(content: mmap.mmap, what: bytes) -> Iterator[int]:
    start = content.find(what)
    while start >= 0:
        yield start
        start = content.find(what, start + 1)


def _text_at(content: mmap.mmap, position: int) -> str:
    """A protobuf string: its length in groups of seven bits, then that many bytes."""
    length = shift = 0
    for byte in content[position : position + 4]:
        position += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004  (the last group)
            break
    data = content[position : position + length] if length < 4096 else b""  # noqa: PLR2004  (no path is longer)
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def _module_folders(folder: Path) -> Iterator[str]:
    """The folders of sentence-transformers' modules."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        paths = [str(module["path"]) for module in modules]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # no modules, or loading reports what is wrong
        return
    inside = folder.resolve()
    yield from (path for path in paths if path and (folder / path).resolve().is_relative_to(inside))
