"""Small checkpoints of every architecture, built on the spot: real code, random but fixed weights."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "What is machine learning? Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm, tomorrow it may rain in the north.",
    "Deep learning uses neural networks with many layers to learn from data.",
    "Cats are popular pets worldwide; dogs need a walk twice a day.",
    "Paris is the capital of France, Berlin of Germany, 東京 of Japan, Αθήνα of Greece.",
    "A reranker reads query and document together. Naïve café résumé coöperate 🙂 👩‍👩‍👧.",
    "yes no relevant query document instruct judge whether the meets requirements system user assistant",
] * 3

QUERY = "what is machine learning"
TEXTS = [
    "Machine learning is a subset of artificial intelligence.",
    "The weather today is sunny and warm.",
    "Deep learning uses neural networks. " * 5,
    "",
    "Cats are popular pets worldwide.",
    "東京 is the capital of Japan 🙂 naïve café",
    "The document reads the query. " * 40,  # longer than any of these models reads
]

MAX_TOKENS = 64
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}


def build(architecture: str, folder: Path, *, labels: int = 1) -> Path:
    """Write a checkpoint of ``architecture`` to ``folder`` and return it."""
    import torch

    torch.manual_seed(20)
    folder.mkdir(parents=True, exist_ok=True)
    _BUILDERS[architecture](folder, labels)
    return folder


def _save(tokenizer: Tokenizer, folder: Path, **special: str) -> int:
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, **special)
    fast.save_pretrained(folder)
    return len(fast)


def _sharpen(model) -> None:
    """Fresh heads are nearly zero; larger weights make differences between texts visible."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and "embed" not in name:
                parameter.mul_(8)


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def _bert(folder: Path, labels: int) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    size = _save(wordpiece(), folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    model = BertForSequenceClassification(
        BertConfig(vocab_size=size, max_position_embeddings=MAX_TOKENS, num_labels=labels, **_SIZES)
    )
    _sharpen(model)
    model.save_pretrained(folder)
    _declare_types(folder, types=True)


def _declare_types(folder: Path, *, types: bool) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    names = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    path.write_text(json.dumps(config | {"model_input_names": names}))


def _xlm_roberta(folder: Path, labels: int) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    size = _save(
        tokenizer,
        folder,
        bos_token="<s>",
        cls_token="<s>",
        sep_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    model = XLMRobertaForSequenceClassification(
        XLMRobertaConfig(
            vocab_size=size,
            max_position_embeddings=MAX_TOKENS + 2,
            num_labels=labels,
            pad_token_id=1,
            type_vocab_size=1,
            **_SIZES,
        )
    )
    _sharpen(model)
    model.save_pretrained(folder)
    _declare_types(folder, types=False)


def bytelevel(special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=500, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    return tokenizer


def _modernbert(folder: Path, labels: int) -> None:
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    tokenizer = bytelevel(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    size = _save(tokenizer, folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    model = ModernBertForSequenceClassification(
        ModernBertConfig(
            vocab_size=size,
            max_position_embeddings=MAX_TOKENS,
            num_labels=labels,
            pad_token_id=3,
            cls_token_id=1,
            sep_token_id=2,
            bos_token_id=1,
            eos_token_id=2,
            local_attention=16,
            **_SIZES,
        )
    )
    _sharpen(model)
    model.save_pretrained(folder)
    _declare_types(folder, types=False)


def _deberta(folder: Path, labels: int) -> None:
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    size = _save(wordpiece(), folder, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    model = DebertaV2ForSequenceClassification(
        DebertaV2Config(
            vocab_size=size,
            max_position_embeddings=MAX_TOKENS,
            num_labels=labels,
            relative_attention=True,
            position_buckets=16,
            pos_att_type=["p2c", "c2p"],
            type_vocab_size=0,
            pooler_hidden_size=32,
            position_biased_input=False,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            **_SIZES,
        )
    )
    _sharpen(model)
    model.save_pretrained(folder)
    _declare_types(folder, types=True)


_CHAT_TEMPLATE = (
    "<|im_start|>system\n{{ messages | selectattr('role', 'eq', 'system') | map(attribute='content') | first "
    "| default('judge whether the document meets the query') }}<|im_end|>\n<|im_start|>user\n"
    "query: {{ messages | selectattr('role', 'eq', 'query') | map(attribute='content') | first }}\n"
    "document: {{ messages | selectattr('role', 'eq', 'document') | map(attribute='content') | first }}"
    "<|im_end|>\n<|im_start|>assistant\n"
)


def _qwen3(folder: Path, _labels: int) -> None:
    language_model(folder, answers=("yes", "no"), template=_CHAT_TEMPLATE, max_tokens=3 * MAX_TOKENS)
    answering(folder, ("yes", "no"))


_LINEAR = {2: ("num_key_heads", "num_value_heads"), 8: ("key_head_dim", "value_head_dim")}  # of Qwen3.5's layers


def language_model(
    folder: Path, *, answers: tuple[str, ...], template: str | None, max_tokens: int, family: str = "Qwen3"
) -> Path:
    """A bare language model of the family ``Qwen2``, ``Qwen3`` or ``Qwen3_5``: nothing says its answers are scores."""
    import torch
    import transformers

    torch.manual_seed(20)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = bytelevel(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *answers])
    chat = {} if template is None else {"chat_template": template}
    size = _save(tokenizer, folder, pad_token="<|endoftext|>", eos_token="<|im_end|>", padding_side="left", **chat)
    linear = {f"linear_{name}": number for number in (2, 8) for name in _LINEAR[number]}
    own = {"Qwen2": {}, "Qwen3": {"head_dim": 8}, "Qwen3_5": {"head_dim": 8, "num_hidden_layers": 4, **linear}}[family]
    config = "Qwen3_5Text" if family == "Qwen3_5" else family
    model = getattr(transformers, f"{family}ForCausalLM")(
        getattr(transformers, f"{config}Config")(
            vocab_size=size,
            max_position_embeddings=max_tokens + MAX_TOKENS,
            num_key_value_heads=2,
            tie_word_embeddings=False,
            pad_token_id=0,
            eos_token_id=2,
            bos_token_id=None,
            **_SIZES | own,
        )
    )
    _sharpen(model)
    model.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": max_tokens}))
    return folder


NO_ORDER = "I cannot say."


def order_writer(folder: Path, answers: dict[str, str], ends: tuple[str, ...]) -> Path:
    """A language model that writes the answer of the word that stands most often in its prompt, or ``NO_ORDER``.

    One layer: attention to all tokens alike counts the words, and the output layer chooses. After an answer it ends.

    Args:
        folder: where to write the checkpoint.
        answers: the answer to each word.
        ends: how its prompts may end; there it begins to write.
    """
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytelevel(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
    )
    tokenizer.add_tokens([*answers, *dict.fromkeys(answers.values()), NO_ORDER])  # not special: they are decoded
    tokenizer.save_pretrained(folder)
    written = [*dict.fromkeys(answers.values()), NO_ORDER]
    known = [*answers, *written, *dict.fromkeys(tokenizer.encode(end)[-1] for end in ends)]
    ids = [each if isinstance(each, int) else tokenizer.convert_tokens_to_ids(each) for each in known]
    size = len(ids)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=size,
        head_dim=size + size % 2,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        intermediate_size=4,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
    )
    model = Qwen3ForCausalLM(config)
    dimension = {token: number for number, token in enumerate(ids)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        attention, embedding = model.model.layers[0].self_attn, model.model.embed_tokens.weight
        for token, number in dimension.items():
            embedding[token, number] = 1
        attention.v_proj.weight[:size] = torch.eye(size)
        attention.o_proj.weight[:, :size] = torch.eye(size)
        head = model.lm_head.weight
        for word, answer in answers.items():
            head[tokenizer.convert_tokens_to_ids(answer), dimension[tokenizer.convert_tokens_to_ids(word)]] = 1
        for end in ends:
            head[tokenizer.convert_tokens_to_ids(NO_ORDER), dimension[tokenizer.encode(end)[-1]]] = 1e-4
        for answer in written:
            head[config.eos_token_id, dimension[tokenizer.convert_tokens_to_ids(answer)]] = 1
    model.save_pretrained(folder)
    return folder


def answering(folder: Path, answers: tuple[str, ...]) -> Path:
    """Say in a bare language model's folder, as sentence-transformers does, that these answers are its scores."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    transformer = Transformer(str(folder), transformer_task="text-generation")
    ids = [transformer.tokenizer.convert_tokens_to_ids(answer) for answer in answers]
    CrossEncoder(modules=[transformer, LogitScore(*ids)], device="cpu").save_pretrained(str(folder))
    return folder


def _ettin(folder: Path, _labels: int) -> None:
    """A modular cross-encoder, as the ettin rerankers are: encoder, [CLS] pooling, dense, layer norm, dense."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
    from torch import nn

    body = folder.parent / f"{folder.name}-body"
    body.mkdir()
    _modernbert(body, 1)
    transformer = Transformer(str(body), transformer_task="feature-extraction")
    modules = [
        transformer,
        Pooling(_SIZES["hidden_size"], pooling_mode="cls"),
        Dense(_SIZES["hidden_size"], 16, activation_function=nn.GELU()),
        LayerNorm(16),
        Dense(16, 1, activation_function=nn.Identity(), module_output_name="scores"),
    ]
    model = CrossEncoder(modules=modules, device="cpu")
    for head in (model[2], model[4]):
        _sharpen(head)
    model.save_pretrained(str(folder))


_BUILDERS = {
    "bert": _bert,
    "xlm-roberta": _xlm_roberta,
    "modernbert": _modernbert,
    "deberta-v2": _deberta,
    "qwen3": _qwen3,
    "ettin": _ettin,
}
ENCODERS = ("bert", "xlm-roberta", "modernbert", "deberta-v2", "ettin")
ARCHITECTURES = tuple(_BUILDERS)
