"""What there is on this machine that decides how models run: facts for ``rerank doctor``."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rerank_core.inference.cpus import available_cpus
from rerank_core.models.digests import cache_folder
from rerank_core.optional import optional

_PACKAGE = "rerank-plugins"
_LIBRARIES = ("onnxruntime", "tokenizers", "openvino", "torch", "transformers", "sentence-transformers")
# What makes the arithmetic of models faster, as Linux names it on x86 and on ARM.
_X86 = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_ARM = ("asimddp", "i8mm", "bf16")


def facts() -> dict[str, Any]:
    """By name: versions, processor, threads, accelerator, extras, caches."""
    return {
        "rerank-plugins": metadata.version(_PACKAGE),
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processor features": _features(),
        "threads": available_cpus(),
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
        "onnx runtime providers": _providers(),
        "accelerator": _accelerator(),
        "extras installed": [extra for extra in _extras() if _is_installed(extra)],
        "caches": {name: _size(folder) for name, folder in _caches()},
    }


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _features() -> list[str]:
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [name for name in (*_X86, *_ARM) if name in flags]


def _cpuinfo(field: str) -> str:
    """The first value of a field that Linux has about the processor; "" on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == field), "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def _accelerator() -> str:
    if find_spec("torch") is None:
        return "unknown: torch is not installed"
    with optional("rerank doctor", extra="torch"):
        import torch

    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "mps" if torch.backends.mps.is_available() else "none"


def _extras() -> list[str]:
    return metadata.metadata(_PACKAGE).get_all("Provides-Extra") or []


def _is_installed(extra: str) -> bool:
    """Whether everything that an extra brings is there."""
    ending = f"extra == '{extra}'"
    lines = [line.replace('"', "'") for line in metadata.requires(_PACKAGE) or ()]
    names = [line.split(">")[0].split("[")[0].split(";")[0].strip() for line in lines if line.endswith(ending)]
    return all(_version(name) for name in names)


def _caches() -> Iterator[tuple[str, Path]]:
    from huggingface_hub.constants import HF_HUB_CACHE

    yield "models from the Hub", Path(HF_HUB_CACHE)
    if (ours := cache_folder()) is not None:
        yield "measurements and digests", ours


def _size(folder: Path) -> str:
    """The folder, and how much is in it; links are not followed."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name)
            if not file.is_symlink():
                total += file.stat().st_size if file.exists() else 0
    return f"{folder} ({total / 1e6:.1f} MB)"
