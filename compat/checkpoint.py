"""One tiny cross-encoder that every server here can load, as safetensors and as GGUF.

Its numbers are chosen for the servers: vLLM's attention on CPUs wants heads of 32 dimensions, and llama.cpp knows no
second token type, so both types have one embedding. Weights are random, and the tokenizer's training breaks ties
anyhow, so scores differ from one build to the next: they are compared on the same files only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MODEL = "tiny-ce"
MAX_TOKENS = 128
QUERY = "what is machine learning"
DOCUMENTS = [
    "Cats are popular pets worldwide.",
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks with many layers to learn from data.",
]


def build(folder: Path) -> Path:
    """Write the checkpoint to ``folder``, unless it is there."""
    if (folder / "model.safetensors").exists():
        return folder
    import torch
    import transformers

    sys.path.insert(0, str(ROOT / "tests"))
    import checkpoints

    torch.manual_seed(20)
    tokenizer_class: Any = transformers.PreTrainedTokenizerFast
    tokenizer = tokenizer_class(
        tokenizer_object=checkpoints.wordpiece(),
        model_max_length=MAX_TOKENS,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    tokenizer.save_pretrained(folder)
    config: Any = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=MAX_TOKENS,
    )
    config.num_labels = 1
    model: Any = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:  # noqa: PLR2004  (matrices)
                parameter.mul_(8)  # fresh heads are nearly zero: texts would hardly differ
        types = model.bert.embeddings.token_type_embeddings.weight
        types[1] = types[0]
    model.save_pretrained(folder)
    _for_older_libraries(folder)
    return folder


def _for_older_libraries(folder: Path) -> None:
    """The class of the tokenizer by the name that transformers 4 knows as well."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config |= {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": True,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    path.write_text(json.dumps(config, indent=2))
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__)))
