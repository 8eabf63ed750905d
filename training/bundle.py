"""The last step of making a model: from a finished run into the package.

    python -m training.bundle --out build/training [NAME ...]

``OUT/NAME/int8`` becomes ``core/rerank_core/models/NAME``, once it has been found complete and sound: all files there,
the checksums those of the files, the graph an int8 one that the engine can run, the card this model's, and the notes
in ``cards/NAME.toml`` about these weights. Nothing is written otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rerank_core.errors import RerankError
from rerank_core.models.source import BUNDLED
from rerank_core.scoring import LocalOptions, LocalScorer

from .export import CHECKSUMS, HASHED, checksums
from .notes import Notes, NotesError

CARD = "README.md"
FILES = (*HASHED, CHECKSUMS, CARD)
CARDS = Path(__file__).parent / "cards"
MODELS = next(iter(BUNDLED.values())).parent
INT8_OPERATOR = b"MatMulIntegerToFloat"


class BundleError(ValueError):
    """What would be bundled is incomplete, or its parts do not belong together; the message says which."""


def bundle(name: str, out: Path, *, cards: Path = CARDS, models: Path = MODELS) -> list[str]:
    """Take a model of a finished run into the package.

    Args:
        name: the model's name.
        out: the run's folder, with ``NAME/int8`` in it.
        cards: where the notes are.
        models: the folder that gets ``NAME``.

    Returns:
        The names of the files that changed.

    Raises:
        BundleError: when something is missing, or does not belong to the rest. Nothing has changed then.
    """
    if name not in BUNDLED:
        raise BundleError(f"{name} is no bundled model: enter it in core/rerank_core/models/registry.py first")
    source = out / name / "int8"
    check_files(source)
    check_graph(source)
    card = completed_card(name, source, cards / f"{name}.toml")
    return replace_files(source, models / name, card)


def check_files(source: Path) -> None:
    """Whether all files are there and are those whose checksums were recorded.

    Raises:
        BundleError: when not.
    """
    missing = [file for file in FILES if not (source / file).is_file()]
    if missing:
        hint = "; the card is written by `python -m training ... --evaluate`" if missing == [CARD] else ""
        raise BundleError(f"{source} has no {', '.join(missing)}: finish the run (`make train`){hint}")
    try:
        recorded = json.loads((source / CHECKSUMS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise BundleError(f"{source / CHECKSUMS} is no JSON: {error}") from None
    if recorded != (seen := checksums(source)):
        wrong = [file for file in HASHED if not isinstance(recorded, dict) or recorded.get(file) != seen[file]]
        raise BundleError(
            f"{source / CHECKSUMS} does not record the files beside it ({', '.join(wrong) or 'it names others'}): they "
            "are of different exports, or damaged; export the model again"
        )


def check_graph(source: Path) -> None:
    """Whether the engine can score with the files.

    Raises:
        BundleError: when not.
    """
    if INT8_OPERATOR not in (source / "model.onnx").read_bytes():
        raise BundleError(f"{source / 'model.onnx'} is not an int8 graph")
    scorer = LocalScorer(source, LocalOptions(backend="onnx"))
    try:
        scorer.score("which planet is red", ["Mars is red.", ""])
    except RerankError as error:
        raise BundleError(f"{source} cannot score: {error}") from error
    finally:
        scorer.close()


def completed_card(name: str, source: Path, notes_file: Path) -> str:
    """The model card with what was noted about these weights.

    Raises:
        BundleError: when the card is another model's, or the notes are about other weights.
    """
    card = (source / CARD).read_text(encoding="utf-8")
    title = card.partition("\n")[0]
    if title != f"# {name}":
        raise BundleError(f"{source / CARD} is not the card of {name}: its first line is {title!r}")
    weights = checksums(source)["model.onnx"]
    try:
        notes = Notes.read(notes_file)
        if notes.weights != weights:
            raise BundleError(
                f"{notes_file} is about other weights ({notes.weights[:12]}...): note what holds for these, and set "
                f'weights = "{weights}"'
            )
        return notes.complete(card)
    except NotesError as error:
        raise BundleError(str(error)) from None


def replace_files(source: Path, target: Path, card: str) -> list[str]:
    """Write the files, each of them whole or not at all; returns the names of those that changed."""
    target.mkdir(parents=True, exist_ok=True)
    changed = []
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundling-") as temporary:
        folder = Path(temporary)
        for name in FILES:
            if name == CARD:
                (folder / name).write_text(card, encoding="utf-8", newline="\n")
            else:
                shutil.copyfile(source / name, folder / name)
            old = target / name
            if not old.exists() or old.read_bytes() != (folder / name).read_bytes():
                changed.append(name)
        for name in changed:
            (folder / name).replace(target / name)
    return changed


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.bundle", description="Take models into the package.")
    names = " and ".join(BUNDLED)
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {names} (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the run: OUT/NAME/int8 is taken")
    parser.add_argument("--into", type=Path, default=MODELS, help="the folder that gets NAME (default: the package's)")
    options = parser.parse_args()
    for name in options.name or BUNDLED:
        try:
            changed = bundle(name, options.out, models=options.into)
        except BundleError as error:
            sys.exit(f"{error}.")
        print(f"{options.into / name}: {', '.join(changed) or 'nothing'} changed")


if __name__ == "__main__":
    main()
