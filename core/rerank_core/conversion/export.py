"""From a torch checkpoint to local ONNX files, float32 and int8, with their scores checked before success."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.conversion.quantize import quantize_int8
from rerank_core.errors import InvalidRequestError, ModelLoadError, missing_dependency
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.inference.backends.onnx import OnnxBackend
from rerank_core.inference.backends.torch import TorchBackend
from rerank_core.inference.encoding import Block, ModelInput, PairEncoder
from rerank_core.inference.loading import LoadOptions, load_model
from rerank_core.inference.plan import Portion
from rerank_core.inference.prompts import PROMPT_FILES
from rerank_core.inference.quiet import quiet_loggers
from rerank_core.ranking import sigmoid

FLOAT32_TOLERANCE = 1e-4
INT8_TOLERANCE = 0.1
_OPSET = 20  # the first with Gelu as one operator, which ONNX Runtime fuses
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
        on_step: told the name of each step as it starts.

    Raises:
        InvalidRequestError: when the target is not empty.
        ModelLoadError: when the model cannot be loaded or exported, or the scores differ by more than 1e-4 in
            a logit (float32) or 0.1 in a probability (int8).
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
    if not isinstance(loaded.backend, TorchBackend) or not isinstance(loaded.encoder, PairEncoder):
        raise ModelLoadError(
            f"{loaded.info.model!r} is a generative reranker; only models with a relevance head can be exported."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as name:
        folder = Path(name) / target.name
        folder.mkdir()
        samples = _samples(loaded.encoder, loaded.info)
        expected = _run(loaded.backend, loaded.encoder, samples)
        on_step("writing the float32 graph")
        _write_graph(loaded.backend, loaded.encoder.pad(samples), folder / "model.onnx")
        _copy_files(loaded.backend, loaded.info.folder, folder)
        on_step("comparing float32 with torch")
        float32 = _float32_difference(folder / "model.onnx", loaded.encoder, samples, expected)
        difference = None
        if int8:
            on_step("writing the int8 graph")
            quantize_int8(folder / "model.onnx", folder / "model_int8.onnx")
            on_step("comparing int8 with torch")
            difference = _int8_difference(folder / "model_int8.onnx", loaded.encoder, samples, expected)
        if target.exists():
            target.rmdir()
        folder.rename(target)
    return ExportReport(target, tuple(sorted(target.glob("*.onnx"))), float32, difference)


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


def _write_graph(backend: TorchBackend, block: Block, path: Path) -> None:
    import torch

    network = backend.graph_module()
    names = backend.graph_inputs()
    arguments = tuple(torch.from_numpy(getattr(block, name)) for name in names)
    batch, sequence = torch.export.Dim("batch", min=1), torch.export.Dim("sequence", min=2)
    try:
        with warnings.catch_warnings(), quiet_loggers("torch.onnx", "onnxscript"):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                network,
                arguments,
                dynamo=True,
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes=(tuple({0: batch, 1: sequence} for _ in names),),  # one *arrays argument
                opset_version=_OPSET,
                verbose=False,
            )
            program.save(str(path))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelLoadError(f"torch cannot express this model as an ONNX graph: {reason}") from error


def _copy_files(backend: TorchBackend, source: Path, target: Path) -> None:
    backend.tokenizer_file(target / "tokenizer.json")
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _float32_difference(
    path: Path, encoder: PairEncoder, samples: list[ModelInput], expected: NDArray[np.float32]
) -> float:
    seen = _run(OnnxBackend(path), encoder, samples)
    difference = float(np.abs(seen - expected).max())
    if not difference <= FLOAT32_TOLERANCE:
        raise ModelLoadError(
            f"the exported graph does not score like torch: a logit differs by {difference:.2g}, at most "
            f"{FLOAT32_TOLERANCE:.0e} is allowed. Nothing was written; keep using backend='torch'.",
            code="export_mismatch",
        )
    return difference


def _int8_difference(
    path: Path, encoder: PairEncoder, samples: list[ModelInput], expected: NDArray[np.float32]
) -> float:
    seen = _run(OnnxBackend(path), encoder, samples)
    pairs = zip(seen.tolist(), expected.tolist(), strict=True)
    difference = max(abs(sigmoid(a) - sigmoid(b)) for a, b in pairs)
    if not difference <= INT8_TOLERANCE:
        raise ModelLoadError(
            f"int8 changes this model's scores too much: a probability differs by {difference:.2f}, at most "
            f"{INT8_TOLERANCE} is allowed. Nothing was written; export without int8 (--no-int8).",
            code="export_mismatch",
        )
    return difference
