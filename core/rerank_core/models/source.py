"""From a model's name to its files: a bundled folder, a local folder or file, or a Hub repository."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from rerank_core.errors import ModelLoadError, ModelNotFoundError
from rerank_core.models.content import CONFIG_FILES, checkpoint_files, content_digest, onnx_files
from rerank_core.models.registry import DEFAULT_MODEL, REGISTRY, ModelSpec, known
from rerank_core.spelling import did_you_mean

BUNDLED = {spec.name: Path(__file__).parent / spec.name for spec in REGISTRY.values() if spec.repository is None}
_WEIGHT_FILES = ("model.safetensors", "onnx/model.onnx", "pytorch_model.bin", "model-00001-of-00002.safetensors")
# In these patterns a star also matches slashes: the small files of sub-folders are included.
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files, on this machine or still on the Hub.

    Attributes:
        name: the name that the user gave.
        folder: the local folder that holds (at least) the small files.
        names: all files the model has, relative to the folder, downloaded or not.
        spec: the registry's entry, if there is one.
        repository: the Hub repository, or None for local files.
        revision: the Hub commit, or None for local files.
        onnx_file: the ONNX file the user pointed at, relative to the folder.
        offline: whether nothing may be downloaded.
    """

    name: str
    folder: Path
    names: frozenset[str]
    spec: ModelSpec | None = None
    repository: str | None = None
    revision: str | None = None
    onnx_file: str | None = None
    offline: bool = False

    def fetch(self, patterns: Sequence[str]) -> Path:
        """Download the files that match ``patterns`` if needed; returns the folder.

        Raises:
            ModelLoadError: when they cannot be downloaded.
        """
        if self.repository is None:
            return self.folder
        return _snapshot(self.name, self.repository, self.revision, patterns, offline=self.offline)

    def verify(self) -> None:
        """Check what can be checked: a bundled model's files against their recorded sha256.

        Raises:
            ModelLoadError: when one is missing or differs.
        """
        if self.folder in BUNDLED.values():
            verify_bundled(self.folder)

    def match(self, *patterns: str) -> list[str]:
        """The names of all files that match one of the patterns, sorted."""
        return sorted(name for name in self.names if any(fnmatch(name, pattern) for pattern in patterns))

    def read_json(self, name: str) -> dict[str, Any]:
        """One of :data:`CONFIG_FILES`, or ``{}`` where it does not exist.

        Raises:
            ModelLoadError: when it is not JSON.
            ValueError: when it is another file: its content would be missing from :meth:`fingerprint`.
        """
        if name not in CONFIG_FILES:
            raise ValueError(f"{name} is not in CONFIG_FILES, so the model's fingerprint would not have it.")
        return read_json(self.folder / name, self.name)

    def fingerprint(self, graph: str | None = None) -> str:
        """A digest of the bytes that decide the model's scores: equal digests mean equal scores.

        Files from the Hub are read as well: its cache can be changed. The name, or repository and commit, precede the
        digest, for people.

        Args:
            graph: the ONNX file; None for a torch checkpoint.

        Raises:
            ModelLoadError: when a file cannot be read.
        """
        try:
            names = checkpoint_files(self.folder) if graph is None else onnx_files(self.folder, graph)
            digest = content_digest(self.folder, names)
        except OSError as error:
            file = Path(error.filename or self.folder).name
            reason = error.strerror or type(error).__name__
            raise ModelLoadError(f"{file} of model {self.name!r} cannot be read: {reason}.") from error
        if self.repository is not None:
            return f"{self.repository}@{self.revision}:{digest}"
        return f"{self.name if self.folder in BUNDLED.values() else 'local'}:{digest}"


def read_json(path: Path, model: str) -> dict[str, Any]:
    """A small JSON file of ``model``, or ``{}`` where it does not exist.

    Raises:
        ModelLoadError: when it is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path.name} of model {model!r} is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise ModelLoadError(f"{path.name} of model {model!r} is no JSON object.")
    return data


def locate(model: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> ModelFiles:
    """Find a model by registry name, local folder, local ``.onnx`` file or Hub id.

    A registry model comes from the commit that its record pins, unless ``revision`` names another.

    Raises:
        ModelNotFoundError: when nothing has this name.
        ModelLoadError: when it is known but its small files cannot be downloaded.
    """
    name = str(model)
    spec = known(name)
    if spec is not None and spec.repository is not None:
        return _on_hub(name, spec.repository, spec, revision or spec.revision, offline=local_files_only)
    if spec is not None:
        return _local(BUNDLED[spec.name], name, spec)
    path = local_path(model)
    if path is not None and path.is_dir():
        return _local(path, name)
    if path is not None and path.is_file() and path.suffix == ".onnx":
        folder = path.parent.parent if path.parent.name == "onnx" else path.parent
        return replace(_local(folder, name), onnx_file=path.relative_to(folder).as_posix())
    if isinstance(model, Path) or not _is_hub_id(name):
        raise ModelNotFoundError(
            f"no model named {name!r}: it is not in the registry ({', '.join(REGISTRY)}), not a folder or "
            f".onnx file on this machine, and not a Hub id of the form 'owner/name'.{did_you_mean(name, REGISTRY)}"
        )
    return _on_hub(name, name, None, revision, offline=local_files_only)


def local_path(model: str | Path) -> Path | None:
    """The file or folder of this name on this machine; None where there is none, whatever the name.

    Symbolic links keep their name: the Hub's cache links ``model.onnx`` to a file without the suffix.
    """
    # Unlike pathlib's, these raise for no name, not even for one that no file system takes or for a missing home.
    path = Path(os.path.expanduser(model))  # noqa: PTH111
    if not str(model) or not os.path.exists(path):  # noqa: PTH110
        return None
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def verify_bundled(folder: Path) -> None:
    """Check a bundled model's files against their recorded sha256.

    Raises:
        ModelLoadError: when one is missing or differs: a damaged model must not score.
    """
    try:
        recorded = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        for name, expected in recorded.items():
            with (folder / name).open("rb") as file:
                seen = hashlib.file_digest(file, "sha256").hexdigest()
            if seen != expected:
                raise ModelLoadError(
                    f"the bundled file {folder.name}/{name} is damaged: its sha256 is {seen[:12]}..., "
                    f"expected {expected[:12]}... Reinstall rerank-plugins."
                )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(
            f"the bundled model {folder.name} is incomplete ({error.__class__.__name__}). Reinstall rerank-plugins."
        ) from error


def is_cached(spec: ModelSpec) -> bool:
    """Whether a registry model can be loaded without a network as far as the Hub cache shows."""
    if spec.repository is None:
        return True
    from huggingface_hub import try_to_load_from_cache

    places = (try_to_load_from_cache(spec.repository, name, revision=spec.revision) for name in _WEIGHT_FILES)
    return any(isinstance(place, str) for place in places)


def _is_hub_id(name: str) -> bool:
    owner, _, rest = name.partition("/")
    return bool(owner and rest) and "/" not in rest and not name.startswith((".", "~", "/")) and "\\" not in name


def _local(folder: Path, name: str, spec: ModelSpec | None = None) -> ModelFiles:
    names = frozenset(
        path.relative_to(folder).as_posix()
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
    )
    return ModelFiles(name, folder, names, spec)


def _on_hub(name: str, repository: str, spec: ModelSpec | None, revision: str | None, *, offline: bool) -> ModelFiles:
    folder = _snapshot(name, repository, revision, _SMALL_FILES, offline=offline)
    files = _local(folder, name, spec)
    commit = folder.name
    names = files.names if offline else files.names | _names_on_hub(repository, commit)
    return replace(files, names=names, repository=repository, revision=commit, offline=offline)


def _names_on_hub(repository: str, commit: str) -> frozenset[str]:
    """All files of the repository; empty when the Hub cannot be asked (the cache then says what there is)."""
    from huggingface_hub import HfApi

    try:
        return frozenset(HfApi().list_repo_files(repository, revision=commit))
    except Exception:  # noqa: BLE001  (offline, down, refused: each hub version has its own errors for it)
        return frozenset()


def _snapshot(name: str, repository: str, revision: str | None, patterns: Sequence[str], *, offline: bool) -> Path:
    import httpx
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), local_files_only=offline
        )
    except RevisionNotFoundError as error:
        raise ModelLoadError(
            f"model {name!r} ({repository}) has no revision {revision!r} on the Hub.",
            code="revision_not_found",
        ) from error
    except GatedRepoError as error:
        raise ModelLoadError(
            f"model {name!r} ({repository}) is gated: accept its terms on the Hub and set HF_TOKEN."
        ) from error
    except HFValidationError as error:
        raise ModelNotFoundError(
            f"no model named {name!r}: there is no such folder here, and no Hub id is spelled like this. "
            f"Models known by name: {', '.join(REGISTRY)}.{_meant(name)}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"no model named {name!r}: the Hub has no repository {repository!r} (or it is private and HF_TOKEN "
            f"is not set). Models known by name: {', '.join(REGISTRY)}.{_meant(name)}"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError, httpx.InvalidURL, httpx.HTTPError) as error:
        if _is_invalid_address(error):
            raise ModelLoadError(
                f"cannot get model {name!r} ({repository}): HF_ENDPOINT is not the address of a Hub; "
                "correct or unset it.",
                code="invalid_hub_address",
            ) from error
        raise _unavailable(name, repository, offline=offline) from error
    return Path(folder)


def _meant(name: str) -> str:
    return did_you_mean(name, [*REGISTRY, *(spec.repository for spec in REGISTRY.values() if spec.repository)])


def _is_invalid_address(error: Exception) -> bool:
    import httpx

    # Before its version 1 huggingface-hub asks with requests, which may not be installed.
    of_requests = type(error).__module__ == "requests.exceptions"
    return isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol) or (
        of_requests and type(error).__name__ in {"InvalidSchema", "InvalidURL", "MissingSchema"}
    )


def _unavailable(name: str, repository: str, *, offline: bool) -> ModelLoadError:
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}
    why = "downloads are switched off and it is not in the local cache" if offline else "the Hub did not answer"
    if name == repository:
        why = f"there is no such folder here; taken for a Hub id, {why}"
    return ModelLoadError(
        f"cannot get model {name!r} ({repository}): {why}. Three ways out: "
        "download it once on a machine with network access (`hf download "
        f"{repository}`) and unset HF_HUB_OFFLINE and local_files_only there; "
        "pass the path of a local folder that holds the model; "
        f"or use the bundled model, Reranker({DEFAULT_MODEL!r}), which needs no download.",
        code="model_unavailable",
        transient=not offline,
    )
