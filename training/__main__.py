"""The whole recipe: ``python -m training --data ../shared/data --out DIR``.

The long stages leave their results in ``--out`` and are skipped when these are already there, so an interrupted run
goes on with the stage it was in: mining (lists), training (state dicts), choice on development data. Calibration and
export to ONNX (fp32) and int8 follow, and, given ``--evaluate``, the figures of the model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from rerank_core.conversion.quantize import quantize_int8

from . import card, development, mining
from .bodies import Body, load_base, minilm
from .calibration import calibrate
from .data import TRAINING_SETS, passages, read_set, split_by_topic
from .export import check_export, export_onnx, write_checksums
from .lexical import continuation_pieces, inverse_document_frequency
from .model import RerankMini
from .overview import start_from
from .quantization import sample_inputs
from .selection import Choice, best_of, choose, interpolate, read_choices, set_mix, tokenize_lists, write_choices
from .train import PLANS, TRAINED, TrainingPlan, train

logger = logging.getLogger("training")

CLOSED = -30.0  # the bias between query and document at which neither sees the other
EXACT_QUERIES = 225
UNTRAINED, FINISHED = "untrained.pt", "finished.pt"

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Base:
    """What all models start from: a bi-encoder, and the counts over the training texts."""

    body: Body
    idf: npt.NDArray[np.float32]

    @classmethod
    def open(cls, data: Path) -> Base:
        """The idf table is counted over all training texts (no labels are used)."""
        body = minilm()
        texts = [text for name in TRAINING_SETS for text in passages(read_set(data, name))]
        return cls(body, inverse_document_frequency(body.tokenizer, texts, body.shape.vocab_size))

    @property
    def tokenizer(self) -> Tokenizer:
        """The bi-encoder's, for pairs."""
        return self.body.tokenizer

    def untrained(self, plan: TrainingPlan) -> RerankMini:
        """A cross-encoder with the bi-encoder's weights, its two sides slightly open to each other."""
        torch.manual_seed(plan.seed)
        shape = replace(self.body.shape, focus=plan.focus)
        model = RerankMini(self.idf, continuation_pieces(self.tokenizer, shape.vocab_size), gate=plan.gate, shape=shape)
        load_base(model, self.body.state)
        return model.eval()

    def bi_encoder(self) -> RerankMini:
        """The same with its two sides closed to each other, which computes what the bi-encoder does."""
        return self.untrained(TrainingPlan(gate=CLOSED))


@dataclass(frozen=True)
class Lists:
    """Lists to train on, to choose on and to calibrate on."""

    training: list[mining.CandidateList]
    graded: list[mining.GradedList]
    held_out: list[mining.CandidateList]


def mined_lists(data: Path, out: Path, base: Base) -> Lists:
    """Build the lists, or read them from ``out``."""
    training, graded, held_out = (out / f"{name}.jsonl" for name in ("train", "graded", "held_out"))
    if not all(file.exists() for file in (training, graded, held_out)):
        model, tokenizer = base.bi_encoder(), base.tokenizer
        examples = {name: split_by_topic(read_set(data, name), mining.PLAN[name].held_out) for name in TRAINING_SETS}
        for file, lists in zip((training, held_out), mining.build_lists(examples, model, tokenizer), strict=True):
            mining.write_lists(file, lists)
        mining.write_lists(graded, development.build_graded_lists(examples, model, tokenizer))
    return Lists(
        mining.read_lists(training, mining.CandidateList),
        mining.read_lists(graded, mining.GradedList),
        mining.read_lists(held_out, mining.CandidateList),
    )


def set_chosen_weights(model: RerankMini, states: tuple[State, State], choices: Sequence[Choice]) -> None:
    """Give ``model`` the interpolation share that was best on the development lists, and its feature weights."""
    best = best_of(choices)
    logger.info("chosen: share %.2f, weights %s", best.share, dict(zip(RerankMini.FEATURES, best.mix, strict=True)))
    model.load_state_dict(interpolate(*states, best.share))
    set_mix(model, best.mix)


def export(model: RerankMini, tokenizer: Tokenizer, lists: Sequence[mining.CandidateList], out: Path) -> Path:
    """Write ``OUT/fp32`` and, for the wheel, ``OUT/int8``, fitted to ``lists``; returns the latter."""
    exact = export_onnx(model, tokenizer, out / "fp32")
    logger.info("largest |torch - onnx| logit: %.1e", check_export(model, exact))
    final = out / "int8"
    final.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "config.json"):
        (final / name).write_bytes((out / "fp32" / name).read_bytes())
    quantize_int8(exact, final / "model.onnx", sample_inputs(lists, tokenizer))
    write_checksums(final)
    return final


@dataclass(frozen=True)
class Run:
    """Where models are made: ``out/NAME`` gets what belongs to one of them."""

    base: Base
    lists: Lists
    out: Path
    max_minutes: float | None

    def states(self, name: str) -> Path:
        """The folder of a model's state dicts."""
        return self.out / name / "states"

    def teacher(self, plan: TrainingPlan) -> RerankMini:
        """Who holds the plan's model: one that was made before, or the bi-encoder."""
        if plan.teacher is None:
            return self.base.bi_encoder()
        model = self.base.untrained(PLANS[plan.teacher])
        model.load_state_dict(torch.load(self.states(plan.teacher) / FINISHED, weights_only=True))
        return model


def check_plan(file: Path, plan: TrainingPlan) -> None:
    """Write the plan beside what is made by it; what another plan made is not taken for it.

    Raises:
        ValueError: when the file has another plan.
    """
    text = json.dumps(asdict(plan), indent=1)
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ValueError(f"{file.parent} was made by another plan; give another --out, or remove the folder.")
    file.write_text(text, encoding="utf-8")


def make(run: Run, name: str) -> Path:
    """Train, choose, calibrate and export one model; returns the folder for the wheel."""
    plan, lists, tokenizer = PLANS[name], run.lists, run.base.tokenizer
    folder, states = run.out / name, run.states(name)
    states.mkdir(parents=True, exist_ok=True)
    check_plan(folder / "plan.json", plan)
    model = run.base.untrained(plan)
    if not (states / TRAINED).exists():
        teacher = run.teacher(plan)
        if plan.focus is not None:
            start_from(model, teacher, lists.training, tokenizer)
        torch.save(model.state_dict(), states / UNTRAINED)
        set_mix(model, teacher.mix.tolist())
        train(model, tokenizer, lists.training, states, plan=plan, teacher=teacher, max_minutes=run.max_minutes)
    untrained, trained = (torch.load(states / file, weights_only=True) for file in (UNTRAINED, TRAINED))

    choices = folder / "choices.json"
    if not choices.exists():
        tried = choose(model, untrained, trained, plan.shares, tokenize_lists(lists.graded, tokenizer))
        write_choices(choices, tried)
    set_chosen_weights(model, (untrained, trained), read_choices(choices))
    calibration = calibrate(model, lists.held_out, tokenizer)
    logger.info("calibration: %s", calibration)
    (folder / "calibration.json").write_text(json.dumps(calibration, indent=1), encoding="utf-8")
    torch.save(model.state_dict(), states / FINISHED)
    return export(model, tokenizer, lists.training, folder)


def evaluate(data: Path, out: Path, queries: int | None) -> None:
    """Measure both models and the baselines on the five sets, and on a sample the first one in float32 as well."""
    models = [str(out / name / "int8") for name in PLANS]
    exact = ["--model", models[0], "--fp32", str(out / next(iter(PLANS)) / "fp32"), "--queries", str(EXACT_QUERIES)]
    sampled = [] if queries is None else ["--queries", str(queries)]
    for folder, arguments in (("quality", ["--model", *models, *sampled]), ("quality_fp32", exact)):
        script = Path(__file__).parent.parent / "benchmarks" / "quality.py"
        command = [sys.executable, str(script), "--data", str(data / "eval"), "--out", str(out / folder)]
        subprocess.run([*command, *arguments], check=True)  # noqa: S603 (our own script)


def problems(options: argparse.Namespace) -> Iterator[str]:
    """What is wrong with the options, before anything has taken hours."""
    chosen, out = options.model, options.out
    for part in ("train", "eval")[: 1 + options.evaluate]:
        if not (options.data / part).is_dir():
            yield f"--data {options.data} has no folder {part}/"
    if options.threads < 1:
        yield "--threads must be at least 1"
    if options.max_minutes is not None and not options.max_minutes > 0:
        yield "--max-minutes must be more than 0"
    if options.queries is not None and (options.queries < 1 or not options.evaluate):
        yield "--queries takes a number of at least 1, and --evaluate"
    made = {*chosen, *(name for name in PLANS if (out / name / "states" / FINISHED).exists())}
    for name in chosen:
        if (teacher := PLANS[name].teacher) is not None and teacher not in made:
            yield f"--model: {teacher} teaches {name}; name it too, or make it in {out} first"
    if options.evaluate and (absent := [name for name in PLANS if name not in made]):
        yield f"--evaluate compares all models; name {absent[0]} too, or make it in {out} first"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Make the bundled models.")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ (and eval/ for --evaluate)")
    parser.add_argument("--out", type=Path, required=True, help="working folder; a model ends up in OUT/NAME/int8")
    names = " and ".join(PLANS)
    parser.add_argument("--model", nargs="+", choices=PLANS, default=list(PLANS), metavar="NAME", help=f"of {names}")
    parser.add_argument("--threads", type=int, default=2, help="of the processor (default: 2)")
    parser.add_argument("--max-minutes", type=float, help="end each training schedule by the clock")
    parser.add_argument("--evaluate", action="store_true", help="measure on the five sets and write the cards")
    parser.add_argument("--queries", type=int, help="for --evaluate: a sample of so many queries where BM25 retrieves")
    options = parser.parse_args()
    for problem in problems(options):
        parser.error(problem)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logger.setLevel(logging.INFO)
    torch.set_num_threads(options.threads)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)

    base = Base.open(options.data)
    lists = mined_lists(options.data, out, base)
    sizes = len(lists.training), len(lists.graded), len(lists.held_out)
    logger.info("lists: %d training, %d graded, %d held out", *sizes)
    run = Run(base, lists, out, options.max_minutes)
    for name in PLANS:  # a teacher before its student
        if name in options.model:
            logger.info("made: %s", make(run, name))
    if options.evaluate:
        evaluate(options.data, out, options.queries)
        for name in PLANS:
            card.write(out / name / "int8" / "README.md", name, out)


if __name__ == "__main__":
    main()
