"""``rerank evaluate``."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rerank_core.cli.app import api_key_from, app
from rerank_core.cli.commands import EXIT_NOTHING, interruptible
from rerank_core.cli.completions import model_names, providers
from rerank_core.cli.terminal import Terminal, say, say_text
from rerank_core.errors import InvalidRequestError, ModelLoadError, RerankError
from rerank_core.files import accessing, resolved
from rerank_core.models.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from rerank_core.evaluation import FusionFit, Report
    from rerank_core.evaluation.scored import System
    from rerank_core.evaluation.systems import Stores

_CACHE_HELP = (
    "Keep scores in this file, to go on after Ctrl-C; delete it to be rid of them. Without it local models' scores go "
    "to a file of this machine, named after each run, and those of APIs are not kept: what stands there can change."
)
_STANDARD_OUTPUT = Path("-")
_DATA, _FIRST, _MODELS, _OUTPUT = "Data", "First stage", "Models", "Output"

# What both commands take.
_Data = Annotated[
    str | None,
    typer.Argument(metavar="DATA", help="A BEIR folder, a JSONL file or pipe, or ir_datasets:ID.", show_default=False),
]
_Queries = Annotated[Path | None, typer.Option(help="Queries: JSONL or id<TAB>text.", rich_help_panel=_DATA)]
_Texts = Annotated[Path | None, typer.Option(help="Documents: the same.", rich_help_panel=_DATA)]
_Qrels = Annotated[Path | None, typer.Option(help="Judgments, TREC's or BEIR's.", rich_help_panel=_DATA)]
_Name = Annotated[
    str | None,
    typer.Option(
        "--data-name",
        help="What DATA is called, where its own name does not say: of a public set (msmarco), the report says which "
        "models were trained on it.",
        rich_help_panel=_DATA,
    ),
]
_Grade = Annotated[int, typer.Option(help="Least grade that counts as relevant.", rich_help_panel=_DATA)]
_Sample = Annotated[int | None, typer.Option(help="Use a sample of so many queries.", rich_help_panel=_DATA)]
_Run = Annotated[Path | None, typer.Option(help="A TREC run.", rich_help_panel=_FIRST)]
_Runs = Annotated[list[Path] | None, typer.Option("--run", help="A TREC run; may be repeated.", rich_help_panel=_FIRST)]
_Retrievers = Annotated[
    list[str] | None,
    typer.Option(
        "--retriever",
        metavar="MODULE:FUNCTION",
        help="Your search: a query in; texts or (text, score), best first, out; may be repeated.",
        rich_help_panel=_FIRST,
    ),
]
_Given = Annotated[bool, typer.Option("--given", help="The data's own order beside these.", rich_help_panel=_FIRST)]
_Bm25 = Annotated[
    bool, typer.Option("--bm25", help="BM25, also where queries come with documents.", rich_help_panel=_FIRST)
]
_Retriever = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Your search: a query in; texts or (text, score), best first, out.",
        rich_help_panel=_FIRST,
    ),
]
_Depth = Annotated[int, typer.Option(help="How many candidates per query.", rich_help_panel=_FIRST)]
_Pool = Annotated[bool, typer.Option("--pool", help="Take every judged document.", rich_help_panel=_FIRST)]
_Language = Annotated[str, typer.Option(help="For BM25's stemmer.", rich_help_panel=_FIRST)]
_Provider = Annotated[
    str | None,
    typer.Option(
        help="Default provider for models without a PROVIDER: prefix.",
        autocompletion=providers,
        rich_help_panel=_MODELS,
    ),
]
_BaseUrl = Annotated[str | None, typer.Option(help="Address of a rerank server.", rich_help_panel=_MODELS)]
_KeyVariable = Annotated[
    str | None, typer.Option(help="Environment variable that holds the key.", rich_help_panel=_MODELS)
]
_Windows = Annotated[bool, typer.Option("--windows", help="Read long documents to the end.", rich_help_panel=_MODELS)]
_Cache = Annotated[Path | None, typer.Option(help=_CACHE_HELP, rich_help_panel=_OUTPUT)]


@app.command()
def evaluate(  # noqa: PLR0917  (typer reads them by name)
    data: _Data = None,
    queries: _Queries = None,
    texts: _Texts = None,
    qrels: _Qrels = None,
    data_name: _Name = None,
    relevant_grade: _Grade = 1,
    max_queries: _Sample = None,
    depth: _Depth = 100,
    run: _Runs = None,
    pool: _Pool = False,
    bm25: _Bm25 = False,
    retriever: _Retrievers = None,
    given: _Given = False,
    language: _Language = "english",
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            help="What to compare; may be repeated. PROVIDER:NAME says where it runs (cohere:rerank-v3.5, local:NAME), "
            'NAME+windows reads long documents to the end, "CHEAP>EXPENSIVE", in quotes, is a cascade; +fusion at the '
            "end: the first stage counts half.",
            rich_help_panel=_MODELS,
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option(help="How many documents a cascade's second model scores.", rich_help_panel=_MODELS)
    ] = 20,
    provider: _Provider = None,
    base_url: _BaseUrl = None,
    api_key_env: _KeyVariable = None,
    windows: _Windows = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="First see whether each model ranks at all, and stop if not: about 4,000 tokens.",
            rich_help_panel=_MODELS,
        ),
    ] = True,
    price: Annotated[
        float | None, typer.Option(help="Dollars per million tokens, for the cost.", rich_help_panel=_OUTPUT)
    ] = None,
    html_file: Annotated[
        Path | None,
        typer.Option("--html", help="Write a page with pictures here; - is standard output.", rich_help_panel=_OUTPUT),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, in place of the tables.", rich_help_panel=_OUTPUT)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Save everything here, as JSON.", rich_help_panel=_OUTPUT),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a row per query and system.", rich_help_panel=_OUTPUT)
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables as Markdown.", rich_help_panel=_OUTPUT)
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(help="A report saved earlier with -o.", rich_help_panel=_OUTPUT)
    ] = None,
    fail_if: Annotated[
        str | None,
        typer.Option(
            metavar="hurts|not-better|below=GAIN",
            help="Exit with 1 if a model hurts, none helps, or none gains so much nDCG@10.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    shadow_log: Annotated[
        Path | None,
        typer.Option(help="Instead of all this: sum up a log of a shadow on trial.", rich_help_panel=_DATA),
    ] = None,
    cache: _Cache = None,
) -> None:
    """Does reranking help on my data? Measures a first stage and every model on top of it, and says so.

    DATA may be a JSONL file written by hand, one query per line:

        {"query": "...", "documents": ["...", "..."], "relevant": [0]}

    The documents stand in your retriever's order: that is the first stage. They may be {"text": "...", "score": 0.71,
    "id": "..."}. --run takes your retriever's results as a TREC run, --retriever calls it, --bm25 is BM25. Several
    of these, with --given for the order in the file, are compared in one report.
    Measures are trec_eval's (-c): what nobody judged is not relevant, and a query without a relevant result counts 0.
    Documents to which a model gives equal scores stay in the first stage's order.
    """
    if shadow_log is not None:
        _say_shadow(shadow_log)
        return
    from rerank_core.cli.progress import query_progress
    from rerank_core.evaluation import Plan, Report, evaluate, load_data
    from rerank_core.evaluation.conditions import Condition
    from rerank_core.evaluation.ownership import Access
    from rerank_core.evaluation.systems import Stores, read_systems
    from rerank_core.evaluation.table import print_evaluation

    printed = _STANDARD_OUTPUT if as_json else None
    outputs = {
        "--html": html_file, "--json": printed, "--output": output, "--csv": csv_file, "--markdown": markdown_file,
    }  # fmt: skip
    with interruptible():
        _check_outputs(outputs, data, queries, texts, qrels, *(run or ()), cache, compare)
        condition = None if fail_if is None else Condition.read(fail_if)
        earlier = () if compare is None else Report.load(compare).evaluations
        rest: dict[str, Any] = {
            "depth": depth,
            "relevant_grade": relevant_grade,
            "language": language,
            "max_queries": max_queries,
        }
        plans = [
            Plan(**rest, **stage)
            for stage in _first_stages(given=given, bm25=bm25, pool=pool, runs=run, retrievers=retriever)
        ]
        labelled = load_data(data, queries=queries, texts=texts, qrels=qrels, name=data_name)
        stores = Stores(cache)
        access = Access(provider, base_url, api_key_from(api_key_env), windows)
        systems = read_systems(models or [DEFAULT_MODEL], access, stores, keep=keep)
        if check:
            _require_that_all_rank(systems)
        count = len(labelled.queries) if max_queries is None else min(max_queries, len(labelled.queries))
        found = []
        for plan in plans:
            with query_progress(count) as on_query:
                found.append(evaluate(labelled, systems, plan, price=price, on_query=on_query))
        stores.close()
        report = Report(tuple(found), earlier, _command())
        try:
            piped = _STANDARD_OUTPUT in outputs.values()
            if not piped:
                print_evaluation(report, console=Terminal())
            _say_reused(stores, error=piped)
        finally:
            _write(report, outputs)
    if condition is not None and (reason := condition.failure(report)):
        say(f"--fail-if {fail_if}: {reason}", error=True)
        raise typer.Exit(EXIT_NOTHING)


def _say_shadow(log: Path) -> None:
    from rerank_core.evaluation.shadow import read_shadow_log

    for summary in read_shadow_log(log):
        say(str(summary))


def _require_that_all_rank(systems: Sequence[System]) -> None:
    """An hour of figures is worth nothing where a server mixes up its scores. A cascade's parts may have stores.

    Raises:
        ModelLoadError: when one does not rank.
    """
    from rerank_core import Reranker

    for system in (each for each in systems if each.scorer.pointwise):
        try:
            report = Reranker(scorer=system.scorer).check()
        except RerankError:  # the evaluation itself says what it is
            continue
        if not report.passed:
            raise ModelLoadError(
                f"{report}. Its figures would mean nothing; --no-check measures it all the same.", code="check_failed"
            )


def _first_stages(
    *, given: bool, bm25: bool, pool: bool, runs: list[Path] | None, retrievers: list[str] | None
) -> list[dict[str, Any]]:
    """What each plan has beside the others: the first stages that were asked for, or the data's own."""
    stages: list[dict[str, Any]] = [{"run": file} for file in runs or ()]
    stages += [{"retriever": name} for name in retrievers or ()]
    stages += [{"bm25": True}] * bm25 + [{"pool": True}] * pool
    return [*[{}] * (given or not stages), *stages]


def _command() -> str:
    """The command line that runs, without what an address may hold beside the host."""
    return shlex.join(["rerank", *(re.sub("//[^/@]*@", "//", argument) for argument in sys.argv[1:])])


@app.command()
def calibrate(  # noqa: PLR0917  (typer reads them by name)
    out: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file to write; - is standard output.", rich_help_panel=_OUTPUT
        ),
    ],
    data: _Data = None,
    queries: _Queries = None,
    texts: _Texts = None,
    qrels: _Qrels = None,
    relevant_grade: _Grade = 1,
    max_queries: _Sample = None,
    depth: _Depth = 50,
    run: _Run = None,
    pool: _Pool = False,
    bm25: _Bm25 = False,
    retriever: _Retriever = None,
    language: _Language = "english",
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            autocompletion=model_names,
            help="Whose scores; PROVIDER:NAME and NAME+windows as for evaluate.",
            rich_help_panel=_MODELS,
        ),
    ] = DEFAULT_MODEL,
    method: Annotated[
        str, typer.Option(help="logistic, or isotonic for a thousand pairs or more.", rich_help_panel=_MODELS)
    ] = "logistic",
    provider: _Provider = None,
    base_url: _BaseUrl = None,
    api_key_env: _KeyVariable = None,
    windows: _Windows = False,
    cache: _Cache = None,
) -> None:
    """Fit probabilities to a model's scores on labelled data: Reranker(..., calibration=FILE) then gives them.

    Scores then mean the same across models: of the documents with score 0.8, about 80 % are relevant in data like this.
    From 25 queries on, the file also holds how much your retriever should count: Reranker(..., fusion="calibrated").
    Its scores are those in the data or the run; where there are none, ranks stand in.
    Candidates that nobody judged count as not relevant; where many of those are, use --pool.
    Give the options (--windows, --provider) that the model will be used with: they decide its scores.
    """
    from rerank_core.cli.progress import query_progress
    from rerank_core.evaluation import Plan, fit_calibration, fit_fusion, labelled_scores, load_data
    from rerank_core.evaluation.calibration import METHODS, check_labels
    from rerank_core.evaluation.fusion_fit import enough_to_fit
    from rerank_core.evaluation.ownership import Access
    from rerank_core.evaluation.systems import Stores, read_system

    if method not in METHODS:
        raise typer.BadParameter(f"expected one of {', '.join(METHODS)}", param_hint="--method")
    with interruptible():
        _check_outputs({"--output": out}, data, queries, texts, qrels, run, cache)
        plan = Plan(depth, pool, run, relevant_grade, language, max_queries, bm25, retriever)
        labelled = load_data(data, queries=queries, texts=texts, qrels=qrels)
        stores = Stores(cache)
        system = read_system(model, Access(provider, base_url, api_key_from(api_key_env), windows), stores)
        scorer = system.scorer
        count = len(labelled.queries) if max_queries is None else min(max_queries, len(labelled.queries))
        with query_progress(count) as on_query:
            scores = labelled_scores(labelled, scorer, plan, store=system.store, check=check_labels, on_query=on_query)
        stores.close()
        fusion = fit_fusion(scores.lists, scores.judgments) if enough_to_fit(scores.lists) else None
        fitted = fit_calibration(scores.pairs, model=scorer.model, method=method, origin=scores.origin, fusion=fusion)
        if to_standard_output := out == _STANDARD_OUTPUT:
            say_text(fitted.to_json() + "\n")
        else:
            fitted.save(out)
    relevant, count = sum(label for _, label in scores.pairs), len(scores.pairs)
    about = f"{method} calibration of {scorer.model} from {count} documents, {relevant} of them relevant"
    for line in (f"{out}: {about}", _said_of_fusion(fusion, len(scores.lists)), *scores.left_out):
        say(line, error=to_standard_output)
    _say_reused(stores, error=to_standard_output)


def _said_of_fusion(fusion: FusionFit | None, queries: int) -> str:
    """What was fitted, and what it is worth on queries that it was not fitted on."""
    if fusion is None:
        return f"fusion: no weight, {queries} queries are too few to tell; label 25 or more"
    gain, rest = fusion.gain, f"the model alone {fusion.alone:.3f}, the retriever alone {fusion.retriever:.3f}"
    bounds = f", 95 % {gain.low:+.3f} to {gain.high:+.3f}" if gain.bounded else ""
    return (
        f"fusion: the retriever's share is {fusion.share:g}. nDCG@10 on held-out queries {fusion.fused:.3f}, {rest}; "
        f"{gain.difference:+.3f} on the better one ({gain.p_value_text}{bounds}): {gain.verdict}"
    )


def _say_reused(stores: Stores, *, error: bool = False) -> None:
    """Old scores are good only as long as they are known to be old."""
    if stores.failed:
        say(f"Not all scores could be written to {stores.file}: the next run computes those again.", error=error)
    if stores.reused:
        reused = f"{stores.reused} scores came from earlier runs, out of {stores.file}"
        say(f"{reused}; delete it to be rid of them.", error=error)
    elif stores.reused is not None:
        say(f"The scores are kept in {stores.file}; delete it to be rid of them.", error=error)


def _write(report: Report, outputs: dict[str, Path | None]) -> None:
    """The files that were asked for."""
    from rerank_core.evaluation.markdown import to_markdown
    from rerank_core.evaluation.page import to_html
    from rerank_core.evaluation.spreadsheet import to_csv

    forms: dict[str, Callable[[], str]] = {
        "--html": lambda: to_html(report),
        "--json": lambda: report.to_json() + "\n",
        "--output": lambda: report.to_json() + "\n",
        "--csv": lambda: to_csv(report),
        "--markdown": lambda: to_markdown(report),
    }
    for option, file in outputs.items():
        if file == _STANDARD_OUTPUT:
            say_text(forms[option]())
        elif file is not None:
            text = forms[option]()
            with accessing(file, "write"):
                file.write_bytes(text.encode("utf-8"))


def _check_outputs(outputs: dict[str, Path | None], *inputs: str | Path | None) -> None:
    """Nobody should learn after an hour that there is no place for the results, or that they took the data's."""
    from rerank_core.evaluation.data import BEIR_FILES

    given = [Path(file) for file in inputs if file is not None]
    taken = {resolved(file) for path in given for file in (path, *(path / name for name in BEIR_FILES.values()))}
    to_standard_output = [option for option, file in outputs.items() if file == _STANDARD_OUTPUT]
    if len(to_standard_output) > 1:
        raise InvalidRequestError(f"{' and '.join(to_standard_output)}: only one of them can be - (standard output).")
    for option, file in outputs.items():
        if file is None or file == _STANDARD_OUTPUT:
            continue
        with accessing(f"{option} {file}", "write"):
            if file.is_dir() or not file.absolute().parent.is_dir():
                problem = "is a folder" if file.is_dir() else "is in a folder that is not there"
                raise InvalidRequestError(f"{option} {file} {problem}; name a file in a folder that is.")
            place = file.resolve()
        if place in taken and place != Path(os.devnull):
            raise InvalidRequestError(f"{option} {file} is used for something else already; name another file.")
        taken.add(place)
