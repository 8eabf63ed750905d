"""PyTorch, through ``sentence_transformers.CrossEncoder``: every family that library knows."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, InvalidRequestError, ModelLoadError, missing_dependency
from rerank_core.inference.backends.onnx import relevance_logits
from rerank_core.inference.encoding import (
    Block,
    EncodedRequest,
    Encoder,
    ModelInput,
    PairEncoder,
    pad_block,
    share_tokens,
)
from rerank_core.inference.windows import character_span, window_ranges
from rerank_core.inference.workers import Workers
from rerank_core.results import Span

_CPU_BATCH_TOKENS = 2_048  # torch's own threads want more than one short pair to chew on
_GPU_BATCH_TOKENS = 32_768
_COMMIT = re.compile(r"[0-9a-f]{40}")


class TorchBackend:
    """A ``CrossEncoder`` run block by block.

    Args:
        model: the loaded cross-encoder.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device = str(model.device)
        self.batch_tokens = _CPU_BATCH_TOKENS if self.device == "cpu" else _GPU_BATCH_TOKENS
        # Torch spreads one batch over all cores (or fills the GPU) by itself: one in flight is enough.
        self.workers = Workers(1, "rerank-torch")
        self._transformer = model[0]
        self._generative = self._transformer.transformer_task == "text-generation"
        self._modality = "message" if "message" in self._transformer.modality_config else "text"
        self._takes_types = "token_type_ids" in self._transformer.tokenizer.model_input_names

    def encoder(self) -> Encoder:
        """The encoder that builds this model's inputs."""
        tokenizer = self._transformer.tokenizer
        if self._generative:
            return ChatEncoder(self._model)
        if not tokenizer.is_fast:
            raise ModelLoadError(
                "this model has no fast tokenizer (tokenizer.json), which character spans and batching need. "
                "Convert it once with transformers' AutoTokenizer and save it beside the weights."
            )
        # A copy: CrossEncoder's own tokenizer keeps the truncation it was set up with.
        backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        return PairEncoder(backend, pad_id=tokenizer.pad_token_id or 0)

    def graph_inputs(self) -> tuple[str, ...]:
        """The names of the arrays the model reads, in the order :meth:`graph_module` takes them."""
        return tuple(Block.__dataclass_fields__)[: 3 if self._takes_types else 2]

    def graph_module(self) -> Any:
        """The model as a plain module from tensors to logits, for export."""
        import torch

        model, names = self._model, self.graph_inputs()

        class Graph(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, *arrays: torch.Tensor) -> Any:
                return self.model(dict(zip(names, arrays, strict=True)))["scores"]

        return Graph().eval()

    def tokenizer_file(self, path: Path) -> None:
        """Write the model's fast tokenizer as a ``tokenizer.json`` without truncation, with its padding token."""
        tokenizer = self._transformer.tokenizer
        backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.enable_padding(pad_id=tokenizer.pad_token_id or 0, pad_token=tokenizer.pad_token or "[PAD]")
        backend.save(str(path))

    def run(self, block: Block) -> NDArray[np.float32]:
        """The logits of a block, shape [batch]; computed in the model's dtype, returned in float32."""
        import torch

        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(block.input_ids).to(self.device),
            "attention_mask": torch.from_numpy(block.attention_mask).to(self.device),
        }
        if self._generative:
            features |= {"modality": self._modality, "logits_to_keep": 1}
        elif self._takes_types:
            features["token_type_ids"] = torch.from_numpy(block.token_type_ids).to(self.device)
        try:
            with torch.inference_mode():
                scores = self._model(features)["scores"].float().cpu().numpy()
        except Exception as error:
            raise InferenceError(f"the model failed on a batch of shape {block.input_ids.shape}.") from error
        return relevance_logits(scores)

    def close(self) -> None:
        """Stop the worker; the weights go when the last reference does."""
        self.workers.close()


class ChatEncoder:
    """Encodes pairs for generative rerankers, through the model's own chat template.

    sentence-transformers renders the template, and restores its ending, where the answer is read, after
    truncation.

    Args:
        model: the loaded cross-encoder.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tokenizer = model[0].tokenizer
        self._pad_id = int(self._tokenizer.pad_token_id)
        try:
            self._render("a", "a", None, limit=None)
        except Exception as error:  # sentence-transformers' own words say what the template lacks
            raise ModelLoadError(f"the chat template does not take a query and a document: {error}") from error

    def encode(
        self, query: str, texts: Sequence[str], *, max_tokens: int, windows: bool, prompt: str | None = None
    ) -> EncodedRequest:
        """Model inputs for every text, at least one each, in order; ``prompt`` becomes the instruction.

        Raises:
            InvalidRequestError: when ``max_tokens`` leaves no room beside the template.
        """
        frame = len(self._render("a", "a", prompt, limit=None))
        budget = max_tokens - frame
        if budget < 2:  # noqa: PLR2004  (one token each)
            raise InvalidRequestError(
                f"max_tokens={max_tokens} leaves no room for text: the template and instruction take {frame}.",
                param="max_tokens",
            )
        query_offsets = self._offsets(query)
        inputs: list[ModelInput] = []
        query_truncated = False
        for position, text in enumerate(texts):
            offsets = self._offsets(text)
            kept_query, kept_text = share_tokens(len(query_offsets), len(offsets), budget)
            cut = kept_query < len(query_offsets)
            query_truncated |= cut
            short = query[: character_span(query_offsets, 0, kept_query).end] if cut else query
            if not windows:
                inputs.append(self._whole(position, short, text, prompt, max_tokens, cut=cut))
                continue
            for start, stop in window_ranges(len(offsets), max(1, kept_text)):
                span = character_span(offsets, start, stop)
                ids = self._render(short, text[span.start : span.end], prompt, limit=max_tokens)
                inputs.append(_model_input(position, ids, truncated=cut, window=span))
        return EncodedRequest(inputs, query_truncated)

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs, filled up on the left: the answer is read at the last position."""
        return pad_block(inputs, pad_id=self._pad_id, left=True)

    def _whole(self, position: int, query: str, text: str, prompt: str | None, limit: int, *, cut: bool) -> ModelInput:
        """The pair in one piece, its document shortened if it must be."""
        ids = self._render(query, text, prompt, limit=limit)
        if not cut and len(ids) >= limit:
            cut = len(self._render(query, text, prompt, limit=None)) > limit
        return _model_input(position, ids, truncated=cut)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        """The character offsets of the text's tokens."""
        encoding = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.offsets)

    def _render(self, query: str, document: str, prompt: str | None, *, limit: int | None) -> list[int]:
        text: dict[str, Any] = {"truncation": False} if limit is None else {"max_length": limit}
        features = self._model.preprocess([(query, document)], prompt=prompt, processing_kwargs={"text": text})
        ids: list[int] = features["input_ids"][0].tolist()
        return ids


def _model_input(position: int, ids: list[int], *, truncated: bool, window: Span | None = None) -> ModelInput:
    return ModelInput(position, np.array(ids, np.int32), np.zeros(len(ids), np.int8), truncated, window)


def load_torch(
    folder: Path,
    *,
    device: str | None,
    dtype: str | None,
    device_map: str | None,
    trust_remote_code: bool,
    revision: str | None,
    prefer_safetensors: bool,
) -> TorchBackend:
    """Load a checkpoint folder with sentence-transformers.

    Raises:
        MissingDependencyError: when torch or sentence-transformers is not installed.
        ModelLoadError: when the checkpoint needs remote code that was not allowed, lacks weights, has more than
            two labels, or cannot be read.
    """
    try:
        import torch
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise missing_dependency("sentence-transformers", extra="torch", what="the torch backend") from error
    check_remote_code(folder, trust_remote_code=trust_remote_code, revision=revision)
    model_kwargs: dict[str, Any] = {"dtype": getattr(torch, dtype or "float32")}
    if prefer_safetensors:
        model_kwargs["use_safetensors"] = True
    if device_map is not None:
        model_kwargs["device_map"] = device_map
    try:
        with _quiet():
            model = CrossEncoder(
                str(folder),
                device=device,
                trust_remote_code=trust_remote_code,
                local_files_only=True,
                model_kwargs=model_kwargs,
            )
            model.eval()
            missing = _missing_weights(model, folder)
    except Exception as error:
        raise ModelLoadError(f"sentence-transformers cannot load {folder.name!r}: {error}") from error
    if missing:
        raise ModelLoadError(
            f"the checkpoint {folder.name!r} lacks {len(missing)} weights ({', '.join(sorted(missing)[:3])}, ...), "
            "which would be random numbers, and so would its scores. It is probably a bare encoder without a "
            "relevance head, or made for other code. Use a cross-encoder checkpoint.",
            code="weights_missing",
        )
    if _scores_without_template(model, folder):
        raise ModelLoadError(
            f"{folder.name!r} is a language model without a chat template for a query and a document; what it answers "
            "to a bare pair is not a relevance score. Add the template its authors give, or use another model.",
            code="no_pair_template",
        )
    if model.num_labels > 2:  # noqa: PLR2004  (one label, or "not relevant" and "relevant")
        raise ModelLoadError(
            f"{folder.name!r} has {model.num_labels} labels; a reranker has one, or two (not relevant, relevant)."
        )
    return TorchBackend(model)


def check_remote_code(folder: Path, *, trust_remote_code: bool, revision: str | None) -> None:
    """Refuse checkpoints that bring their own code unless the caller vouches for one exact version of it.

    Without the check, some of them load as a known architecture with random weights and score garbage.

    Raises:
        ModelLoadError: when the configuration has an ``auto_map`` and the code was not allowed, or code from
            the Hub was allowed without a full commit hash.
    """
    path = folder / "config.json"
    auto_map = json.loads(path.read_text(encoding="utf-8")).get("auto_map") if path.is_file() else None
    if not auto_map:
        return
    if not trust_remote_code:
        raise ModelLoadError(
            f"{folder.name!r} brings its own code (auto_map in config.json), which is not run. If you have read it, "
            "pass trust_remote_code=True and revision='<the 40-digit commit you read>'. If the repository has an "
            "ONNX file, backend='onnx' needs no such code.",
            code="remote_code_refused",
        )
    if revision is None or not _COMMIT.fullmatch(revision):
        raise ModelLoadError(
            "trust_remote_code=True needs revision='<40-digit commit>': a branch or tag can change under you.",
            code="revision_required",
        )


def _scores_without_template(model: Any, folder: Path) -> bool:
    """Whether a causal model would be fed bare pairs although nobody configured it so (``modules.json``)."""
    transformer = model[0]
    generative = transformer.transformer_task == "text-generation"
    return generative and "message" not in transformer.modality_config and not (folder / "modules.json").is_file()


def _missing_weights(model: Any, folder: Path) -> set[str]:
    """Names of parameters the checkpoint does not hold, from a second, weightless load of the same class."""
    transformer = model[0].model
    subfolder = folder / "transformer" if (folder / "transformer" / "config.json").is_file() else folder
    _, info = type(transformer).from_pretrained(
        str(subfolder),
        config=transformer.config,
        device_map="meta",
        output_loading_info=True,
        local_files_only=True,
    )
    return {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}


@contextmanager
def _quiet() -> Iterator[None]:
    """No logs and progress bars from the libraries while they load; what matters comes back as our error."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging

    loggers = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    levels = [logger.level for logger in loggers]
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
