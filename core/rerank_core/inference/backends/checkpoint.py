"""Loading a torch checkpoint safely: no foreign code, no missing weights, no missing head."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rerank_core.errors import ModelLoadError
from rerank_core.inference.backends.answering import answering_model
from rerank_core.inference.backends.torch import TorchBackend
from rerank_core.inference.quiet import quiet_loggers
from rerank_core.models.source import read_json
from rerank_core.models.spec import ModelSpec
from rerank_core.optional import optional

_COMMIT = re.compile(r"[0-9a-f]{40}")


def load_checkpoint(
    folder: Path,
    *,
    device: str | None,
    dtype: str,
    device_map: str | None,
    trust_remote_code: bool,
    revision: str | None,
    prefer_safetensors: bool,
    spec: ModelSpec | None = None,
) -> TorchBackend:
    """Load a checkpoint folder with sentence-transformers.

    A language model's answers and template are those of its own modules, else those of its record ``spec``.

    Raises:
        MissingDependencyError: when torch or sentence-transformers is not installed.
        ModelLoadError: when the checkpoint needs remote code that was not allowed, lacks weights, has more than
            two labels, is a language model whose answers nothing states, or cannot be read.
    """
    with optional("the torch backend", extra="torch"):
        import torch
    check_remote_code(folder, trust_remote_code=trust_remote_code, revision=revision)
    model_kwargs: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if prefer_safetensors:
        model_kwargs["use_safetensors"] = True
    if device_map is not None:
        model_kwargs["device_map"] = device_map
    recorded = _recorded_answers(folder, spec)
    try:
        with _quiet():
            if recorded is None:
                model = _cross_encoder(folder, device, model_kwargs, trust_remote_code=trust_remote_code)
            else:
                model = answering_model(folder, recorded, device, model_kwargs, trust_remote_code=trust_remote_code)
            model.eval()
            missing = _missing_weights(model)
    except ModelLoadError:
        raise
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


def default_device() -> str:
    """The device that sentence-transformers uses by default.

    Raises:
        MissingDependencyError: when it is not installed.
    """
    with optional("the torch backend", extra="torch"):
        from sentence_transformers.util import get_device_name
    name: str = get_device_name()
    return name


def check_remote_code(folder: Path, *, trust_remote_code: bool, revision: str | None) -> None:
    """Refuse checkpoints that bring their own code unless the caller vouches for one exact version of it.

    Without the check, some of them load as a known architecture with random weights and score garbage.

    Raises:
        ModelLoadError: when code is allowed without a full commit hash, when the configuration has an
            ``auto_map`` and code was not allowed, when the code stands in another repository, or when the
            configuration is damaged.
    """
    if trust_remote_code and (revision is None or not _COMMIT.fullmatch(revision)):
        raise ModelLoadError(
            "trust_remote_code=True needs revision='<40-digit commit>', the one whose code you have read: a branch "
            "or tag can change under you. For a local folder give the commit it was copied from.",
            code="revision_required",
        )
    auto_map = read_json(folder / "config.json", folder.name).get("auto_map")
    if not auto_map:
        return
    if not trust_remote_code:
        raise ModelLoadError(
            f"{folder.name!r} brings its own code (auto_map in config.json), which is not run. If you have read it, "
            "pass trust_remote_code=True and revision='<the 40-digit commit you read>'. If the repository has an "
            "ONNX file, backend='onnx' needs no such code.",
            code="remote_code_refused",
        )
    if "--" in str(auto_map):
        raise ModelLoadError(
            f"the code of {folder.name!r} stands in another repository, which revision= does not pin. Copy it into a "
            "local folder beside the weights.",
            code="remote_code_refused",
        )


def _cross_encoder(folder: Path, device: str | None, model_kwargs: dict[str, Any], *, trust_remote_code: bool) -> Any:
    """The checkpoint as its own files configure it."""
    from sentence_transformers import CrossEncoder

    return CrossEncoder(
        str(folder),
        device=device,
        trust_remote_code=trust_remote_code,
        local_files_only=True,
        model_kwargs=model_kwargs,
    )


def _recorded_answers(folder: Path, spec: ModelSpec | None) -> ModelSpec | None:
    """The record that states a language model's answers, where its own files do not.

    Raises:
        ModelLoadError: when neither states them: sentence-transformers would guess "yes" and "no".
    """
    architectures = read_json(folder / "config.json", folder.name).get("architectures") or [""]
    if not str(architectures[0]).endswith("ForCausalLM") or (folder / "modules.json").is_file():
        return None
    if spec is None or not spec.answers:
        raise ModelLoadError(
            f"{folder.name!r} is a language model, and nothing states which answers mean relevant and not relevant: it "
            "has no modules.json, and it is no model of `rerank models`. Name it as listed there, or save it once with "
            "sentence-transformers as CrossEncoder(modules=[Transformer(...), LogitScore(...)]).",
            code="no_answer_tokens",
        )
    return spec


def _scores_without_template(model: Any, folder: Path) -> bool:
    """Whether a causal model would get pairs without a template although ``modules.json`` does not configure that."""
    transformer = model[0]
    generative = transformer.transformer_task == "text-generation"
    return generative and "message" not in transformer.modality_config and not (folder / "modules.json").is_file()


def _missing_weights(model: Any) -> set[str]:
    """Names of parameters the checkpoint does not hold, from a second, weightless load of the same class."""
    transformer = model[0].model
    _, info = type(transformer).from_pretrained(
        transformer.name_or_path,  # where it was just loaded from, also when that is a module's own folder
        config=transformer.config,
        device_map="meta",
        output_loading_info=True,
        local_files_only=True,
    )
    return {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}


@contextmanager
def _quiet() -> Iterator[None]:
    """No logs and progress bars from the libraries while they load."""
    from transformers.utils import logging as transformers_logging

    bars: Any = transformers_logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        with quiet_loggers("transformers", "sentence_transformers"):
            yield
    finally:
        if shown:
            bars.enable_progress_bar()
