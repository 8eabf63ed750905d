"""llama.cpp's server with a checkpoint of :mod:`compat.checkpoint`. Runs in the environment that has xllamacpp.

``python llamacpp_server.py FOLDER NAME PORT KEY`` writes FOLDER/NAME.gguf and serves it until it is stopped.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import xllamacpp

_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_REST = {
    "bert.embeddings.word_embeddings": "token_embd",
    "bert.embeddings.position_embeddings": "position_embd",
    "bert.embeddings.token_type_embeddings": "token_types",
    "bert.embeddings.LayerNorm": "token_embd_norm",
    "bert.pooler.dense": "cls",
    "classifier": "cls.output",
}


def write_gguf(folder: Path, target: Path, name: str) -> None:
    """A BERT cross-encoder as GGUF with 32-bit weights; pairs are joined as BERT does it."""
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(value=False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_vocabulary(writer, (folder / "vocab.txt").read_text().splitlines())
    for tensor, values in _read_safetensors(folder / "model.safetensors").items():
        if (known := _gguf_name(tensor)) is not None:
            writer.add_tensor(known, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    """llama.cpp marks beginnings of words, WordPiece what does not begin one."""
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    kinds[tokens.index("[UNK]")] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("jina-v1-en")
    writer.add_token_list(
        [token if token in special else token[2:] if token.startswith("##") else "\u2581" + token for token in tokens]
    )
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    writer.add_bos_token_id(tokens.index("[CLS]"))
    writer.add_eos_token_id(tokens.index("[SEP]"))
    writer.add_sep_token_id(tokens.index("[SEP]"))
    writer.add_unk_token_id(tokens.index("[UNK]"))
    writer.add_pad_token_id(tokens.index("[PAD]"))
    writer.add_mask_token_id(tokens.index("[MASK]"))
    writer.add_add_bos_token(value=True)
    writer.add_add_eos_token(value=True)
    writer.add_add_sep_token(value=False)  # or the texts of a pair are separated twice


def _gguf_name(tensor: str) -> str | None:
    """llama.cpp's name of a tensor; None where it has none."""
    stem, _, kind = tensor.rpartition(".")
    if stem.startswith("bert.encoder.layer."):
        number, _, part = stem.removeprefix("bert.encoder.layer.").partition(".")
        return f"blk.{number}.{_LAYER[part]}.{kind}"
    known = _REST.get(stem)
    return None if known is None else f"{known}.{kind}"


def _read_safetensors(file: Path) -> dict[str, Any]:
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    start = 8 + size
    return {
        name: np.frombuffer(data[start + details["data_offsets"][0] : start + details["data_offsets"][1]], np.float32)
        .reshape(details["shape"])
        .copy()
        for name, details in header.items()
        if name != "__metadata__" and details["dtype"] == "F32"
    }


def main(folder: str, name: str, port: str, key: str) -> None:
    """Serve until somebody says stop."""
    target = Path(folder) / f"{name}.gguf"
    write_gguf(Path(folder), target, name)
    params = xllamacpp.CommonParams()
    params.model.path = str(target)
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.api_keys = [key]
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    params.n_ctx = params.n_batch = params.n_ubatch = 128
    params.warmup = False
    server = xllamacpp.Server(params)
    print(f"serving on {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main(*sys.argv[1:])
