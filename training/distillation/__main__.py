"""The recipe of the second version: ``python -m training.distillation``.

The stages leave their results in ``--out`` and are skipped when these are already there: the pieces of e5's vocabulary
(``e5_pieces.json``), the lists with the teacher's scores (``lists.pt``), and per model the state dicts before and after
training (``NAME/states``). The choice of the share, the calibration and the export follow; ``result.json`` has the
figures. One H100 takes about eight minutes for all of it, the int8 rounding aside, which is the CPU's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from training.corpus import read_corpus
from training.train import TRAINED

from .candidates import Depths
from .choosing import by_source, shortened
from .finishing import FINISHED, UNTRAINED, before_and_after, calibrate, choose_mix, choose_share, export, sample_inputs
from .questions import number_through
from .run import Run, opened
from .scoring import Reader
from .students import PLANS, Plan, from_body, fuse, start_mix
from .taught import Taught, teach
from .training import Draw, Material, train

logger = logging.getLogger("training.distillation")

START_LISTS, START_CANDIDATES = 160, 16
"""What a student's first feature weights are fitted on."""


def material_of(run: Run, taught: Taught) -> Material:
    """What students learn from."""
    triples = torch.tensor(run.corpus.triples, device=run.device)
    return Material(
        taught.training,
        taught.once,
        Depths().answers,
        triples,
        run.corpus.kinds,
        taught.teacher,
        run.v1(),
        taught.means,
    )


def untrained(run: Run, plan: Plan, material: Material) -> Reader:
    """A student as its training begins."""
    if not plan.from_e5:
        return run.v1()
    model = from_body(run.english, run.idf(run.in_e5, run.english.tokenizer))
    student = run.reader(model, run.in_e5)
    torch.manual_seed(plan.seed)
    batch = Draw(material)(START_LISTS, START_CANDIDATES, 1)
    taught = material.teach(batch.queries, batch.candidates, batch.once, (64, 200))
    start_mix(student, batch.queries, batch.candidates, taught)
    return student


def make(run: Run, taught: Taught, name: str, plan: Plan, steps: int | None) -> dict[str, Any]:
    """Train, choose, calibrate and export one model; returns its figures."""
    folder, states = run.out / name, run.out / name / "states"
    states.mkdir(parents=True, exist_ok=True)
    material, lists = material_of(run, taught), shortened(taught.choosing)
    student = untrained(run, plan, material)
    figures: dict[str, Any] = {"plan": asdict(plan)}
    if not (states / TRAINED).exists():
        torch.save(student.model.state_dict(), states / UNTRAINED)
        train(student, material, plan, states, block_tokens=run.ability.training, steps=steps)
    figures["shares"] = choose_share(student, *before_and_after(states, run.device), plan.shares, lists)
    figures["mix"] = choose_mix(student, lists)
    figures["by_source"] = by_source(student.score_lists(lists), lists)
    collections = {part.name: part.rows for part in run.corpus.parts}
    figures["calibration"] = calibrate(student, taught.choosing, collections)
    torch.save(student.model.state_dict(), states / FINISHED)
    tokenizer = run.english.tokenizer if plan.from_e5 else run.bert
    finished = fuse(student.model, fused=False).cpu()
    logger.info(
        "made: %s", export(finished, tokenizer, folder, plan.base_model, sample_inputs(taught.training, student.texts))
    )
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.distillation", description="Make the second version.")
    parser.add_argument("--corpus", type=Path, required=True, help="what training.corpus wrote")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the bodies' wheels")
    parser.add_argument("--words", type=Path, required=True, help="a list of English words, one per line")
    parser.add_argument("--out", type=Path, required=True, help="working folder; a model ends up in OUT/NAME/int8")
    parser.add_argument("--model", nargs="+", choices=PLANS, default=list(PLANS), metavar="NAME", help="which to make")
    parser.add_argument("--steps", type=int, help="end each training schedule after so many steps at the latest")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.backends.cuda.matmul.allow_tf32 = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    run = opened(number_through(*read_corpus(options.corpus)), options.wheels, options.words, out, device)
    checksum = hashlib.sha256(options.corpus.read_bytes()).hexdigest()
    lists = out / "lists.pt"
    if not lists.exists():
        torch.manual_seed(5)
        teach(run, options.wheels).save(lists, checksum)
    taught = Taught.load(lists, checksum, device)
    result = out / "result.json"
    figures = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    figures["teacher"] = {"weights": taught.teacher.weights.tolist(), **taught.figures}
    for name in options.model:
        figures[name] = make(run, taught, name, PLANS[name], options.steps)
        result.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
