"""The prompt that a checkpoint has of its own, as sentence-transformers saves it."""

from __future__ import annotations

from rerank_core.errors import ModelLoadError
from rerank_core.models.source import ModelFiles

_CONFIG, _MODULES = "config_sentence_transformers.json", "modules.json"
PROMPT_FILES = (_CONFIG, _MODULES)
"""The files that decide :func:`default_prompt`: a copy of a checkpoint needs them to have the same prompt."""


def default_prompt(files: ModelFiles) -> str:
    """The prompt that ``sentence_transformers.CrossEncoder`` puts before a query when none is given; else ``""``.

    It is ``prompts[default_prompt_name]`` of ``config_sentence_transformers.json``. That file counts only beside a
    ``modules.json`` and where its ``model_type`` is a cross-encoder's: the prompts of an embedding model are not ours.

    Raises:
        ModelLoadError: when the name is none of the prompts, or the prompt is no text.
    """
    if not (files.folder / _MODULES).is_file():
        return ""
    config = files.read_json(_CONFIG)
    name = config.get("default_prompt_name")
    if config.get("model_type") != "CrossEncoder" or name is None:
        return ""
    prompts = config.get("prompts")
    if not isinstance(prompts, dict) or not isinstance(name, str) or name not in prompts:
        known = ", ".join(map(repr, prompts)) if isinstance(prompts, dict) and prompts else "none"
        raise ModelLoadError(
            f"{_CONFIG} of model {files.name!r} names the default prompt {name!r}; it has: {known}. "
            "Correct default_prompt_name, or remove it."
        )
    prompt = prompts[name]
    if not isinstance(prompt, str | None):
        raise ModelLoadError(
            f"the default prompt {name!r} of model {files.name!r} is no text; got {type(prompt).__name__} in {_CONFIG}."
        )
    return prompt or ""
