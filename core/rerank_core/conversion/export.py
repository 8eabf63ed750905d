"""From a torch checkpoint to local ONNX files, float32 and int8, with their scores checked before success."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_core.conversion.checkpoint_attention import attention_as_one_operator
from rerank_core.conversion.graph import check_float32, check_int8, write_graph
from rerank_core.conversion.quantize import quantize_int8
from rerank_core.errors import InvalidRequestError, ModelLoadError, missing_dependency
from rerank_core.inference.backends.base import LoadedModel, LoadedModelInfo
from rerank_core.inference.backends.onnx import OnnxBackend
from rerank_core.inference.backends.torch import TorchBackend
from rerank_core.inference.encoding import ModelInput, PairEncoder
from rerank_core.inference.loading import LoadOptions, load_model
from rerank_core.inference.plan import Portion
from rerank_core.inference.prompts import PROMPT_FILES

_COPIED = (
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    *PROMPT_FILES,
)
_QUERY = "How does a reranker improve search?"
_DOCUMENTS = (
    "",
    "No.",
    "A reranker reads the query and a document together and says how well they fit.",
    "Bananas are rich in potassium and easy to peel.",
    "Search engines first collect candidates with a fast index. A second, slower model then reads each candidate "
    "beside the query and puts the best ones on top. " * 3,
    "The committee met on Tuesday and adjourned without a decision. " * 12,
    "Zürich, 東京 and Αθήνα are cities; naïve café résumés are words. 🙂",
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written, and how far its scores are from torch's.

    Attributes:
        folder: where the files are.
        files: the ONNX files written.
        float32_difference: largest difference of a logit, float32 ONNX against torch.
        int8_difference: largest difference of a probability, int8 against torch; None without int8.
    """

    folder: Path
    files: tuple[Path, ...]
    float32_difference: float
    int8_difference: float | None


def export_onnx(
    model: str | Path,
    target: Path,
    *,
    int8: bool = True,
    revision: str | None = None,
    local_files_only: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> ExportReport:
    """Write ``model.onnx`` (and ``model_int8.onnx``) with tokenizer and configuration to ``target``.

    ``Reranker(target)`` then runs the float32 graph, ``Reranker(target, dtype="int8")`` the int8 one. The folder
    appears only after the scores were compared with torch's: a failed export leaves nothing behind.

    Args:
        model: a local checkpoint folder, registry name or Hub id.
        target: a folder that does not exist yet, or is empty.
        int8: whether to write the int8 graph too.
        revision: a Hub commit, branch or tag.
        local_files_only: whether downloading is forbidden.
        on_step: called with the name of each step as it starts.

    Raises:
        InvalidRequestError: when the target is not empty.
        ModelLoadError: when the model cannot be loaded or exported, or the scores differ from torch's by more than
            :mod:`~rerank_core.conversion.graph` allows.
        MissingDependencyError: when torch, onnx or onnxscript is not installed.
    """
    target = target.resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidRequestError(f"{target} exists and is not an empty folder; name a new one.", code="target_exists")
    for library in ("onnx", "onnxscript"):
        _require(library)
    on_step = on_step or _ignore
    on_step("loading the checkpoint")
    loaded = load_model(LoadOptions(model, "torch", "cpu", revision=revision, local_files_only=local_files_only))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        folder = Path(name) / target.name
        folder.mkdir()
        float32, difference = _export(loaded, folder, on_step, int8=int8)
        if target.exists():
            target.rmdir()
        folder.rename(target)
    return ExportReport(target, tuple(sorted(target.glob("*.onnx"))), float32, difference)


def _export(
    loaded: LoadedModel, folder: Path, on_step: Callable[[str], None], *, int8: bool
) -> tuple[float, float | None]:
    """Write all files of a loaded checkpoint; returns the differences from torch, float32's and int8's."""
    backend, encoder = loaded.backend, loaded.encoder
    if not isinstance(backend, TorchBackend) or not isinstance(encoder, PairEncoder):
        raise ModelLoadError(
            f"{loaded.info.model!r} is a generative reranker; only models with a relevance head can be exported."
        )
    samples = _samples(encoder, loaded.info)
    torchs = _run(backend, encoder, samples)
    exact, rounded = folder / "model.onnx", folder / "model_int8.onnx"
    on_step("writing the float32 graph")
    _write_float32(backend, encoder, samples, torchs, exact)
    _copy_files(backend, loaded.info.folder, folder)
    on_step("comparing float32 with torch")
    float32 = check_float32(_run(OnnxBackend(exact), encoder, samples), torchs)
    if not int8:
        return float32, None
    on_step("writing the int8 graph")
    quantize_int8(exact, rounded)
    on_step("comparing int8 with torch")
    return float32, check_int8(_run(OnnxBackend(rounded), encoder, samples), torchs)


def _write_float32(
    backend: TorchBackend,
    encoder: PairEncoder,
    samples: list[ModelInput],
    torchs: NDArray[np.float32],
    path: Path,
) -> None:
    """Write the float32 graph: with attention as one operator where that gives torch's logits, else as torch has it."""
    module, example, inputs = backend.graph_module(), encoder.pad(samples), backend.graph_inputs()
    try:
        with attention_as_one_operator(backend.transformer):
            write_graph(module, example, path, inputs=inputs)
        check_float32(_run(OnnxBackend(path), encoder, samples), torchs)
    except ModelLoadError:
        write_graph(module, example, path, inputs=inputs)


def _ignore(_step: str) -> None:
    pass


def _require(library: str) -> None:
    from importlib.util import find_spec

    if find_spec(library) is None:
        raise missing_dependency(library, extra="torch", what="exporting a model")


def _samples(encoder: PairEncoder, info: LoadedModelInfo) -> list[ModelInput]:
    encode = encoder.start(_QUERY, max_tokens=min(info.max_tokens, 512), windows=False, prompt=info.default_prompt)
    portion = Portion(encode, _DOCUMENTS, range(len(_DOCUMENTS)))
    while not portion.done:
        portion.turn()
    return portion.inputs


def _run(backend: TorchBackend | OnnxBackend, encoder: PairEncoder, samples: list[ModelInput]) -> NDArray[np.float32]:
    """The logits, once in one padded block and once singly, so that a graph that leaks padding shows."""
    together = backend.run(encoder.pad(samples))
    alone = [backend.run(encoder.pad([item])) for item in samples]
    return np.concatenate([together, *alone])


def _copy_files(backend: TorchBackend, source: Path, target: Path) -> None:
    backend.tokenizer_file(target / "tokenizer.json")
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
