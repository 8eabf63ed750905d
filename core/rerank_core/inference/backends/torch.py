"""PyTorch, through ``sentence_transformers.CrossEncoder``: every family that library knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_core.errors import InferenceError, ModelLoadError
from rerank_core.inference.backends.base import relevance_logits
from rerank_core.inference.backends.prefix import SharedPrefix
from rerank_core.inference.chat import ChatEncoder
from rerank_core.inference.encoding import Block, Encoder, PairEncoder, copy_tokenizer
from rerank_core.inference.workers import Workers

_CPU_BATCH_TOKENS = 2_048  # torch's own threads need more than one short pair at a time
_GPU_BATCH_TOKENS = 32_768


def answers_of(model: Any) -> Any:
    """The module that turns a language model's next token into a score; None where the checkpoint has another."""
    from sentence_transformers.cross_encoder.modules import LogitScore

    return next((module for module in model if isinstance(module, LogitScore)), None)


class TorchBackend:
    """A ``CrossEncoder``, run block by block.

    Args:
        model: the loaded cross-encoder.

    Attributes:
        shared_prefix: runs blocks whose rows begin alike; None for the plain way, where a model does not allow another.
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
        self._answers = answers_of(model) if self._generative else None
        self.shared_prefix = self._sharing()

    def _sharing(self) -> SharedPrefix | None:
        """For a language model with nothing between its logits and its answers, of a kind that is known to allow it."""
        bare = self._answers is not None and list(self._model) == [self._transformer, self._answers]
        return SharedPrefix(self.transformer, self.device) if bare and SharedPrefix.suits(self.transformer) else None

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
        return PairEncoder(copy_tokenizer(tokenizer.backend_tokenizer), pad_id=tokenizer.pad_token_id or 0)

    @property
    def log_odds(self) -> bool:
        """Whether the score is one of two answers' log-odds, or a classifier's logit: not one answer's logit alone."""
        return self._answers is None or self._answers.false_token_id is not None

    @property
    def transformer(self) -> Any:
        """The transformers model."""
        return self._transformer.model

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
        backend = copy_tokenizer(tokenizer.backend_tokenizer)
        backend.enable_padding(pad_id=tokenizer.pad_token_id or 0, pad_token=tokenizer.pad_token or "[PAD]")
        backend.save(str(path))

    def run(self, block: Block) -> NDArray[np.float32]:
        """The logits of a block, shape [batch]; computed in the model's dtype, returned in float32."""
        import torch

        try:
            with torch.inference_mode():
                scores = self._scores(block).float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise InferenceError(
                f"a batch of shape {block.input_ids.shape} does not fit into the memory of {self.device}: give a lower "
                "max_tokens=, a smaller model, or free memory there.",
                code="out_of_memory",
            ) from error
        except Exception as error:
            raise InferenceError(f"the model failed on a batch of shape {block.input_ids.shape}.") from error
        return relevance_logits(scores)

    def _scores(self, block: Block) -> Any:
        """The head's scores; of answers in float32, since their difference loses digits in half precision."""
        if self._answers is None:
            return self._model(self._features(block))["scores"]
        logits = None if self.shared_prefix is None else self.shared_prefix.logits(block)
        if logits is None:
            logits = self._last_logits(self._features(block), self._answers)
        relevant = logits[:, self._answers.true_token_id].float()
        if self._answers.false_token_id is None:
            return relevant
        return relevant - logits[:, self._answers.false_token_id].float()

    def _features(self, block: Block) -> dict[str, Any]:
        """What the modules read."""
        import torch

        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(block.input_ids).to(self.device),
            "attention_mask": torch.from_numpy(block.attention_mask).to(self.device),
        }
        if self._generative:
            features |= {"modality": self._modality, "logits_to_keep": 1}
        elif self._takes_types:
            features["token_type_ids"] = torch.from_numpy(block.token_type_ids).to(self.device)
        return features

    def _last_logits(self, features: dict[str, Any], answers: Any) -> Any:
        """The logits after the last token of every row, through all modules before the answers."""
        for module in self._model:
            if module is answers:
                break
            features = module(features)
        return features[answers.module_input_name][:, -1]

    def close(self) -> None:
        """Stop the worker; the weights go when the last reference does."""
        self.workers.close()
