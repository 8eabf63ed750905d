"""The backend protocol and what a loaded model consists of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rerank_core.inference.encoding import Block, Encoder
from rerank_core.inference.memory import FittingRunner
from rerank_core.inference.scheduler import Scheduler
from rerank_core.inference.workers import Workers


class Backend(Protocol):
    """Runs a model, block by block: texts, order and batching are decided elsewhere."""

    @property
    def workers(self) -> Workers:
        """The threads that may call :meth:`run`; their number is how many batches may be in flight."""
        ...

    @property
    def batch_tokens(self) -> int:
        """The token budget of a batch that suits this backend and device; 0 means one input per batch."""
        ...

    def run(self, block: Block) -> NDArray[np.float32]:
        """The logits of a block, shape [batch].

        Raises:
            InferenceError: when the model fails; with the code ``out_of_memory`` where a smaller block may fit.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModelInfo:
    """What was loaded, and why this way.

    Attributes:
        model: the name the user gave.
        repository: the Hub repository, or None for local files.
        revision: the Hub commit, or None for local files.
        file: the weights file, or None where the backend decides.
        backend: ``onnx`` (ONNX Runtime), ``openvino`` or ``torch``.
        dtype: the precision of the weights, or ``bfloat16`` where float32 ones are multiplied in that.
        device: where it runs.
        max_tokens: the limit of a pair, special tokens included: the model's default unless another is given.
        token_limit: the most the architecture can take, where that is known.
        reason: why this backend was chosen.
        folder: where the files are on this machine.
        fingerprint: changes whenever scores may change.
        default_prompt: the checkpoint's own prompt, used unless another is given; empty where it has none.
        batch_tokens: token budget of a batch unless another is given; 0 where inputs run one at a time.
        workers: how many threads tokenise and run batches.
        temperature: what the head's score was divided by to become the logit.
        probability: ``sigmoid`` where the sigmoid of the logit is a probability, ``uncalibrated`` where it only keeps
            the order until a calibration is fitted.
        language_codes: ISO 639-1 codes of what the model was trained for; empty where that is not known.
        takes_instruction: whether an instruction can be given: a known model was trained with them, another one has a
            place for one.
        long_documents: what happens to a document that is longer than the limit: ``truncate``, ``windows`` or
            ``likely_windows``.
    """

    model: str
    repository: str | None
    revision: str | None
    file: str | None
    backend: str
    dtype: str
    device: str
    max_tokens: int
    token_limit: int | None
    reason: str
    folder: Path
    fingerprint: str
    default_prompt: str = ""
    batch_tokens: int = 0
    workers: int = 1
    temperature: float = 1.0
    probability: str = "sigmoid"
    takes_instruction: bool = True
    language_codes: tuple[str, ...] = ()
    long_documents: str = "truncate"


@dataclass(eq=False, slots=True, weakref_slot=True)
class SharedModel:
    """A model in this process, shared by every scorer that asks for the same weights in the same place.

    ``log_odds`` is False where the head gives the logit of one answer, whose sigmoid means nothing by itself.
    """

    encoder: Encoder
    backend: Backend
    dtype: str
    device: str
    fingerprint: str
    log_odds: bool = True
    warned_of_truncation: bool = False
    warned_of_script: bool = False
    runner: FittingRunner = field(init=False)
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        backend = self.backend
        self.runner = FittingRunner(self.encoder, backend, self.device)
        self.scheduler = Scheduler(lambda: backend.workers, self.runner)


@dataclass(frozen=True, eq=False, slots=True)
class LoadedModel:
    """A shared model, as one scorer has loaded it.

    Attributes:
        info: what was loaded and why, with the scorer's settings.
        shared: the model itself.
        seconds: how long loading took, or None when the model was there already.
    """

    info: LoadedModelInfo
    shared: SharedModel
    seconds: float | None

    @property
    def encoder(self) -> Encoder:
        """The shared encoder."""
        return self.shared.encoder

    @property
    def backend(self) -> Backend:
        """The shared backend."""
        return self.shared.backend

    @property
    def scheduler(self) -> Scheduler:
        """The shared queue."""
        return self.shared.scheduler


def relevance_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """One logit per row, from a head with one label, or with two ("not relevant", "relevant").

    The difference of two softmax logits is the log-odds of the second, so its sigmoid is the probability.
    """
    if logits.ndim == 1:
        return logits
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
