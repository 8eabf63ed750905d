"""``rerank pull`` and ``rerank cache``: models of the Hub on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_core.cli.app import app, import_heavy_libraries
from rerank_core.cli.commands import interruptible
from rerank_core.cli.completions import model_names
from rerank_core.cli.engine_options import takes
from rerank_core.cli.terminal import say, say_json
from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing
from rerank_core.options import of_scorer

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo

    from rerank_core import Reranker

_LOADING = "Loading"


@app.command()
@takes(of_scorer("local"), {"local": _LOADING, "both": _LOADING})
def pull(
    model: Annotated[str, typer.Argument(help="A model of `rerank models` or a Hub id.", autocompletion=model_names)],
    to: Annotated[
        Path | None, typer.Option(help="Copy its files to this new folder, for machines without a network.")
    ] = None,
    **options: Any,
) -> None:
    """Download what a model needs, load it and run it once: afterwards it works offline.

    Give the options (--backend, --dtype, --revision) that it will be used with: they decide which files it needs. From
    a folder of --to, give Reranker that folder and the same options; it then needs neither network nor cache.
    """
    import_heavy_libraries()
    from rerank_core import Reranker
    from rerank_core.scoring.making import model_names as models_of

    if to is not None and to.exists():
        raise InvalidRequestError(f"--to {to} is there already; name a new folder.", param="to")
    names = models_of(model)
    if to is not None and len(names) > 1:
        raise InvalidRequestError(
            f"--to is a folder of one model, and {model!r} is a cascade of {len(names)}: pull each of them, into a "
            "folder of its own.",
            param="to",
        )
    with interruptible(), Reranker(model, **options):  # what does not go together is found before anything is loaded
        for name in names:
            with Reranker(name, **options) as reranker:
                _pull(name, reranker, to)


def _pull(name: str | Path, reranker: Reranker, to: Path | None) -> None:
    """Load a model, which gets its files, and copy them where that is wanted."""
    reranker.warm_up()
    loaded = reranker.loaded
    if loaded is None:  # warm_up() has loaded it
        return
    say(f"{name} runs on {loaded.backend}, {loaded.dtype}, from {loaded.folder}")
    if to is not None:
        with accessing(to, "write"):
            shutil.copytree(loaded.folder, to)  # links of the Hub's cache become files
        size = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
        say(f"{to}: {size / 1e6:.1f} MB")


@app.command()
def cache(
    remove: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Delete this model's files.", autocompletion=model_names),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the models that were downloaded from the Hub, with their sizes, or delete one.

    The cache is huggingface_hub's, which other programs use as well: HF_HOME says where it is. Bundled models are no
    part of it.
    """
    with interruptible():
        found = _repositories()
        if remove is not None:
            _remove(found, remove)
            return
        rows = [
            {
                "model": name,
                "revisions": sorted(revision.commit_hash for revision in repository.revisions),
                "megabytes": round(repository.size_on_disk / 1e6, 1),
                "folder": str(repository.repo_path),
            }
            for name, repository in sorted(found.items())
        ]
    if as_json:
        say_json(rows)
        return
    for row in rows:
        say(f"{row['model']}  {row['megabytes']} MB  {row['folder']}")
    total = sum(repository.size_on_disk for repository in found.values())
    say(f"{len(rows)} downloaded models, {total / 1e6:.1f} MB")


def _repositories() -> dict[str, CachedRepoInfo]:
    """The models in the Hub's cache, by Hub id; none where there is no cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return {}
    return {each.repo_id: each for each in repositories if each.repo_type == "model"}


def _remove(found: dict[str, CachedRepoInfo], model: str) -> None:
    from huggingface_hub import scan_cache_dir

    from rerank_core.models.registry import known

    spec = known(model)
    name = model if spec is None else spec.repository
    if name is None:
        raise InvalidRequestError(f"{model} is bundled with the package; there is nothing to delete.")
    if name not in found:
        raise InvalidRequestError(f"{model} is not in the cache; `rerank cache` lists what is.")
    revisions = [revision.commit_hash for revision in found[name].revisions]
    deleted = scan_cache_dir().delete_revisions(*revisions)
    deleted.execute()
    say(f"{name}: {deleted.expected_freed_size / 1e6:.1f} MB deleted")
