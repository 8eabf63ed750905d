"""Which runtime runs an ONNX file fastest on this machine: measured once, and kept.

ONNX Runtime is the reference. Another candidate is taken where it is at least a tenth faster and keeps the scores: no
logit differs by more than 0.02, alone or beside others in a batch. The choice is kept in the user's cache folder, by
model, machine and versions of the libraries. ``RERANK_AUTOTUNE=0`` turns the search off.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rerank_core import forks
from rerank_core.errors import InferenceError, ModelLoadError
from rerank_core.inference.backends.base import LoadedModel
from rerank_core.inference.backends.openvino import precisions
from rerank_core.inference.cpus import available_cpus
from rerank_core.inference.encoding import ModelInput, ModelInputs
from rerank_core.models.digests import cache_folder
from rerank_core.variables import AUTOTUNE

_GAIN = 1.1  # less is not worth another runtime
_TOLERANCE = 0.02  # of a logit
_ROUNDS = 3
_MOST_SECONDS = 5.0
_OFF = frozenset({"0", "false", "no", "off"})
_BACKENDS = frozenset({"onnx", "openvino"})
_PRECISIONS = frozenset({"float32", "bfloat16"})

_QUERY = "how does a second model put the candidates of a search in a better order"
_TEXT = (
    "A retriever compares vectors that were computed before anybody asked, so it is fast and often nearly right. "
    "A cross-encoder reads the question and one candidate together, word by word, and gives the pair a score. "
    "It costs more for each candidate, which is why only the first hundred or so are read a second time. "
)
_BATCHES = ((40, 45, 48, 48), (100, 110), (240,))  # tokens of each input

_measuring = forks.SlowLock()

Load = Callable[[str, str], LoadedModel]
"""Loads the model on a backend, in a precision."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen.

    Attributes:
        backend: ``onnx`` or ``openvino``.
        dtype: ``float32`` or ``bfloat16``.
        speed: how many times as fast as ONNX Runtime in float32.
        difference: the largest difference of a logit from that.
    """

    backend: str = "onnx"
    dtype: str = "float32"
    speed: float = 1.0
    difference: float = 0.0

    def reason(self, otherwise: str) -> str:
        """Why, in words."""
        if self.backend == "onnx":
            return f"{otherwise}; OpenVINO was measured and is not faster here"
        return (
            f"measured here: {self.speed:.2f} times as fast as ONNX Runtime, logits within {self.difference:.3f} "
            f"({AUTOTUNE}=0 turns this off)"
        )


def enabled() -> bool:
    """Whether there is something to choose from, and the choice is not turned off."""
    return find_spec("openvino") is not None and os.environ.get(AUTOTUNE, "").strip().lower() not in _OFF


def choose(fingerprint: str, dtype: str | None, load: Load) -> Choice:
    """The kept choice for a model on this machine, or a measured one, which is then kept.

    Args:
        fingerprint: of the model's files.
        dtype: the precision to work in; None for any that keeps the scores.
        load: loads a candidate.

    Raises:
        RerankError: when the model cannot be loaded on ONNX Runtime.
    """
    file = _file(fingerprint, dtype)
    with _measuring:  # several threads at once would measure each other
        choice = _read(file)
        if choice is None:
            choice = _measured([each for each in precisions() if dtype in (None, each)], load)
            _keep(file, choice)
    return choice


def _measured(candidates: Sequence[str], load: Load) -> Choice:
    reference = load("onnx", "float32")
    batches = list(_batches(reference))
    expected = _alone(reference, batches)
    best = Choice()
    for dtype in candidates:
        try:
            candidate = load("openvino", dtype)
            difference = _difference(candidate, batches, expected)
        except (ModelLoadError, InferenceError):  # an operator that it does not know
            continue
        if difference <= _TOLERANCE:
            speed = _speed(candidate, reference, batches)
            if speed >= max(_GAIN, best.speed):
                best = Choice("openvino", dtype, speed, difference)
    return best


def _batches(model: LoadedModel) -> Iterator[list[ModelInput]]:
    """Inputs of the usual lengths, as far as the model takes them; different texts, cut at a number of tokens."""
    words = _TEXT.split()
    for batch in _BATCHES:
        inputs = []
        for position, tokens in enumerate(batch):
            limit = min(tokens, model.info.max_tokens)
            encode = model.encoder.start(_QUERY, max_tokens=limit, windows=False, prompt=model.info.default_prompt)
            text = " ".join(words[position:] + words * (tokens // len(words) + 1))
            inputs += _finished(encode(position, text))
        yield inputs


def _finished(work: ModelInputs) -> list[ModelInput]:
    try:
        while True:
            next(work)
    except StopIteration as done:
        inputs: list[ModelInput] = done.value
        return inputs


def _run(model: LoadedModel, batch: Sequence[ModelInput]) -> NDArray[np.float32]:
    return model.backend.run(model.encoder.pad(batch))


def _alone(model: LoadedModel, batches: Sequence[Sequence[ModelInput]]) -> NDArray[np.float32]:
    return np.concatenate([_run(model, [item]) for batch in batches for item in batch])


def _difference(model: LoadedModel, batches: Sequence[Sequence[ModelInput]], expected: NDArray[np.float32]) -> float:
    together = np.concatenate([_run(model, batch) for batch in batches])
    difference = max(float(np.abs(found - expected).max()) for found in (_alone(model, batches), together))
    return difference if math.isfinite(difference) else math.inf


def _speed(model: LoadedModel, reference: LoadedModel, batches: Sequence[Sequence[ModelInput]]) -> float:
    """How many times as fast, by the median of rounds in which they take turns."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    end = time.perf_counter() + _MOST_SECONDS
    for _ in range(_ROUNDS):
        for own, each in ((True, model), (False, reference)):
            started = time.perf_counter()
            for batch in batches:
                _run(each, batch)
            seconds[own].append(time.perf_counter() - started)
        if time.perf_counter() > end:
            break
    return statistics.median(seconds[False]) / statistics.median(seconds[True])


def _file(fingerprint: str, dtype: str | None) -> Path | None:
    """Where the choice is kept: one small file, named by everything that it depends on."""
    folder = cache_folder()
    if folder is None:
        return None
    key = (fingerprint, dtype, _processor(), available_cpus(), *map(_version, ("onnxruntime", "openvino")))
    return folder / "backends" / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.json"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "flags", "Features")):
                return line
    return f"{platform.machine()} {platform.processor()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # built from source, or under another name
        return ""


def _read(file: Path | None) -> Choice | None:
    """A kept choice; None where there is none, or the file is not what was written."""
    if file is None:
        return None
    try:
        choice = Choice(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    numbers = all(type(number) is float and math.isfinite(number) for number in (choice.speed, choice.difference))
    return choice if numbers and choice.backend in _BACKENDS and choice.dtype in _PRECISIONS else None


def _keep(file: Path | None, choice: Choice) -> None:
    """Where nothing can be written, the next process measures again."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as written:
            json.dump(asdict(choice), written)
        Path(written.name).replace(file)  # another process sees all of it or nothing
