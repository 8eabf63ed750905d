"""What it saves to compute once what all candidates of a query begin with, for language models that rerank.

    python benchmarks/prefix.py

A checkpoint with Qwen3-Reranker-0.6B's configuration and template, its first layers only, random weights and a
vocabulary made of the licence. Both ways take turns with the same texts, in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measure import LENGTHS, QUERY, ROOT, Result, arguments, documents, medians, turns

from rerank_core import Reranker
from rerank_core.inference.backends.prefix import SharedPrefix
from rerank_core.inference.backends.torch import TorchBackend
from rerank_core.inference.loading import LoadOptions, load_model
from rerank_core.models import REGISTRY

MODEL = REGISTRY["Qwen3-Reranker-0.6B"]
ALL_LAYERS = 28
VOCABULARY = 5_000
CONFIG: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
"""As its repository states it, layers and vocabulary apart."""
ONCE, PLAIN = "once", "plain"


def main() -> None:
    """Rank the same documents both ways."""
    given = arguments(__doc__, rounds=3, documents=20, layers=2)
    rows, data = [], {}
    with tempfile.TemporaryDirectory() as folder:
        model = checkpoint(Path(folder), given.layers)
        reranker = Reranker(model, backend="torch", device="cpu")
        ways = both_ways(reranker, model)
        for kind, (shortest, longest) in LENGTHS.items():
            texts = documents(given.documents, kind)
            found = {way: run(texts) for way, run in ways.items()}
            apart = max(abs(found[ONCE][i] - found[PLAIN][i]) for i in range(len(texts)))
            seconds = medians(turns({way: partial(run, texts) for way, run in ways.items()}, given.rounds))
            tokens = reranker.rerank(QUERY, texts).usage.total_tokens / len(texts)
            gain = seconds[PLAIN] / seconds[ONCE]
            data[kind] = {"seconds": seconds, "gain": gain, "tokens": tokens, "apart": apart}
            figures = [f"{tokens:.0f}", *(f"{1000 * seconds[way]:,.0f}" for way in (PLAIN, ONCE)), f"{gain:.2f}"]
            rows.append([f"{shortest} to {longest} words", *figures, f"{apart:.0e}"])
    made = f"{MODEL.name}'s configuration and template, {given.layers} of its {ALL_LAYERS} layers"
    note = f"Medians of {given.rounds} rounds. {made}, random weights, and a tokenizer made of the licence's text."
    Result(
        "prefix",
        "The beginning that a query's candidates share, computed once (a language model on torch)",
        [f"{given.documents} documents", "tokens of a pair", "plain, ms", "once, ms", "times", "logits apart"],
        rows,
        [note],
        data,
    ).keep(given.out)


def both_ways(reranker: Reranker, folder: Path) -> dict[str, Callable[[list[str]], dict[int, float]]]:
    """Each way of running the model: the logits of texts, by their position."""
    reranker.warm_up()
    backend = load_model(LoadOptions(folder, backend="torch", device="cpu")).backend  # the reranker's own
    if not isinstance(backend, TorchBackend) or backend.shared_prefix is None:
        raise SystemExit("this model does not allow a shared beginning")
    shared = backend.shared_prefix

    def run(texts: list[str], *, prefix: SharedPrefix | None) -> dict[int, float]:
        backend.shared_prefix = prefix
        return {found.index: found.logit or 0.0 for found in reranker.rerank(QUERY, texts)}

    return {ONCE: partial(run, prefix=shared), PLAIN: partial(run, prefix=None)}


def checkpoint(folder: Path, layers: int) -> Path:
    """The checkpoint, as sentence-transformers saves one that states its answers."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    bare, saved = folder / "bare", folder / "saved"
    size = tokenizer(bare)
    Qwen3ForCausalLM(Qwen3Config(vocab_size=size, num_hidden_layers=layers, **CONFIG)).save_pretrained(bare)
    transformer = Transformer(str(bare), transformer_task="text-generation")
    answers = [transformer.tokenizer.convert_tokens_to_ids(answer) for answer in MODEL.answers]
    CrossEncoder(modules=[transformer, LogitScore(*answers)], device="cpu").save_pretrained(str(saved))
    return saved


def tokenizer(folder: Path) -> int:
    """Write a tokenizer of the model's kind, made of the licence, and say how many tokens it knows."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *MODEL.answers]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet)
    made.train_from_iterator([(ROOT / "LICENSE").read_text()], trainer)
    fast: Any = PreTrainedTokenizerFast  # untyped
    fast(
        tokenizer_object=made,
        **dict(zip(("pad_token", "eos_token"), special[::2], strict=False)),
        padding_side="left",
        model_max_length=MODEL.max_tokens,
        chat_template=MODEL.template,
    ).save_pretrained(folder)
    return len(made.get_vocab())


if __name__ == "__main__":
    main()
