"""Every option of the engine, declared once: name, type, default, meaning, where it applies, how it is checked.

:class:`RerankerOptions` is the declaration. It types the keywords of :class:`~rerank_core.Reranker`. Made from it are:

- the options of scorers (``scoring/options.py``);
- the fields of the LlamaIndex and LangChain adapters, and of the server's settings (``option_fields.py``);
- the init parameters of the Haystack component;
- the options of the command line (``cli/engine_options.py``);
- ``docs/options.md``, and the stubs that type checkers read (``option_pages.py``).

To add an option, add one item to the declaration, and run ``python -m rerank_core.option_pages``.
"""

# The annotations are read at run time, so they are no strings here, apart from those that name heavy types.
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypedDict, get_args, get_origin

from rerank_core.events import Hook
from rerank_core.fusion import check_fusion
from rerank_core.models.registry import DEFAULT_MODEL
from rerank_core.option_checks import address, api_key, http_client, of_type, one_of, price, seconds, share, whole
from rerank_core.spelling import did_you_mean

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

    from rerank_core.scoring.base import Scorer
    from rerank_core.scoring.calibrated import Calibration

OnFailure = Literal["raise", "keep_order"]
WhenCold = Literal["wait", "keep_order"]
LongDocuments = Literal["truncate", "windows", "likely_windows"]
BackendChoice = Literal["auto", "onnx", "openvino", "torch"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]

LIKELY_WINDOWS = 3
"""How many windows of a long document are read where only the likely ones are."""

DEFAULT_TIMEOUT = 60.0
DEFAULT_RETRIES = 2

World = Literal["both", "http", "local"]
"""Where an option applies: to every model, to those reached over HTTP, to those in this process."""


class Option(NamedTuple):
    """What there is to say about an option besides its name and type.

    Attributes:
        default: its value where none is given.
        help: what it means, in one or two sentences that suit Python, the command line and a server alike.
        world: where it applies.
        unset: what None stands for; "" where it needs no words.
        more: what else a reader of the reference wants to know.
        check: checks a value and returns the one to keep; None where type and bounds say it all.
        least: the least value of a whole number.
        most: the greatest one; None for any.
        field: its type as a field of an adapter, in a settings file and on a command line; None for the same type,
            ``False`` where it cannot be one.
        secret: whether it is never shown, saved or taken from a command line.
        scorers: whether scorers of both worlds have it, each in its own way; only with world "both".
    """

    default: Any
    help: str
    world: World
    unset: str = ""
    more: str = ""
    check: Callable[[str, Any], Any] | None = None
    least: int = 0
    most: int | None = None
    field: Any = None
    secret: bool = False
    scorers: bool = False


class ModelOption(TypedDict, total=False):
    """The one option that may be given by position."""

    model: Annotated[
        str | Path | None,
        Option(
            None,
            "A name of `rerank models`, a local folder or .onnx file, any Hugging Face Hub id, or a model's name at a "
            "service. CHEAP>EXPENSIVE is a cascade of two: the second reads only the first one's best 20.",
            "both",
            unset=f"{DEFAULT_MODEL}, or what a server chooses",
            field=str | None,
        ),
    ]


class PlainOptions(TypedDict, total=False):
    """Options that have the same type everywhere."""

    provider: Annotated[
        str | None,
        Option(
            None,
            "Where the model runs: local is this process, native the rerank API at a base URL, assisters its hosted "
            "service; cohere, jina, voyage, tei, vllm and others are services and servers with APIs of their own.",
            "both",
            unset="native if there is a base URL, otherwise local",
        ),
    ]
    on_failure: Annotated[
        OnFailure,
        Option(
            "raise",
            "When something fails that may work the next time: raise an error, or keep the documents in the order "
            "given, with score 0 and marked as degraded.",
            "both",
            more="Such are a model that fails while it runs, and a server that cannot be reached, is full or answers "
            "wrongly. A score threshold then drops nothing, because nothing was judged; top_n applies. A "
            "warning says once what happened. Lasting failures are raised all the same: a wrong name, address or "
            "provider, a missing device or library, a refused key, whatever is wrong with the call itself.",
        ),
    ]
    max_latency: Annotated[
        float | None,
        Option(
            None,
            "Seconds to rank in: as many of the first documents are scored as there is time for at the pace of the "
            "latest calls, and the rest keep their order behind them, with score 0 and marked as degraded.",
            "both",
            unset="every document is scored",
            more="The response says how many were left (unscored). At least one is scored. It is a target, not a "
            "deadline: nothing that has begun is cut short. Loading a model does not count. Of a scorer that wraps "
            "others the main one has the budget. Diversity needs every document scored: it is left out where some "
            "were not. Highlights have the same budget once more.",
        ),
    ]
    check_first: Annotated[
        bool,
        Option(
            False,
            "Before the first answer, and when warming up, check that the model or server really ranks; raise an error "
            "if not.",
            "both",
            more="The check is that of Reranker.check(): pairs whose answers are known, about 4,000 tokens. Its error "
            "is a ModelLoadError with code check_failed. on_failure does not apply to it.",
        ),
    ]
    fusion: Annotated[
        str | float | None,
        Option(
            None,
            "How much the retriever counts: its share from 0 to 1 in the sum of both z-scores, rrf for reciprocal rank "
            "fusion, or calibrated for the share that the calibration has.",
            "both",
            unset="the model's scores alone",
            more="The retriever's scores are those given beside the documents, else their order. Only the order of the "
            "results changes; scores and the threshold stay the model's probabilities. Where the fallback keeps the "
            "order, nothing is fused.",
            check=check_fusion,
            field=str | float | None,
        ),
    ]
    diversify: Annotated[
        float | None,
        Option(
            None,
            "Results that say different things: maximal marginal relevance, from 1 for relevance alone to 0 for "
            "novelty alone; 0.7 is a good start.",
            "both",
            unset="the ranking as it is",
            more="Lambda of Carbonell and Goldstein (SIGIR 1998). Novelty is 1 minus the cosine of TF-IDF vectors "
            "of words, to the most similar result before it; no other model runs. The best result stays first. "
            "Where the fallback keeps the order, it is kept.",
            check=share,
        ),
    ]
    max_per_source: Annotated[
        int | None,
        Option(
            None,
            "Most results of one source.",
            "both",
            unset="any number",
            more="It comes after the threshold and before top_n. A document whose metadata names no source is its own.",
            least=1,
        ),
    ]
    price_per_million_tokens: Annotated[
        float | None,
        Option(
            None,
            "Dollars per million tokens, for the cost in the usage of each answer.",
            "both",
            unset="the cost is not known",
            more="One price for all tokens of a call. The cost is None, never 0, where no tokens are reported or a "
            "fallback answered. Services that bill per search (Cohere, Pinecone) are not priced by tokens: the price "
            "is refused there, and usage.search_units has what the service reports.",
            check=price,
        ),
    ]
    source_field: Annotated[
        str | None,
        Option(None, "The field of a document's metadata that names its source.", "both", unset="source"),
    ]
    highlights: Annotated[
        int | None,
        Option(
            None,
            "Mark so many of the best sentences of each result.",
            "both",
            unset="none",
            more="The same model scores the sentences of what is returned, all in one more request: those of the best "
            "window where there is one, and at most the first 100 of a result. Results of a fallback have none.",
            least=1,
        ),
    ]
    prompt: Annotated[
        str | None,
        Option(
            None,
            "The instruction of every call that brings none, for models trained with one; an empty one means none.",
            "both",
            unset="the checkpoint's or the server's own",
            more="Over HTTP it goes in the field that the API has for it; an API without one refuses it.",
            scorers=True,
        ),
    ]
    base_url: Annotated[
        str | None,
        Option(
            None,
            "The address of an API: its root, with or without /v1, or the whole endpoint.",
            "http",
            unset="the address of the provider's hosted service",
            check=address,
        ),
    ]
    timeout: Annotated[
        float | None,
        Option(None, "Seconds for a whole call, with all its requests and retries.", "http", f"{DEFAULT_TIMEOUT:g}"),
    ]
    max_retries: Annotated[
        int | None,
        Option(
            None,
            "Most retries of a request after a transient failure.",
            "http",
            unset=f"{DEFAULT_RETRIES}",
            least=0,
            most=100,
        ),
    ]
    return_details: Annotated[
        bool,
        Option(
            False,
            "Ask the server which part of a long document was best, where it reads them in windows; `rerank serve` "
            "knows this, other servers may not.",
            "http",
            more="The window comes with the result, and highlights are sentences of it.",
        ),
    ]
    when_cold: Annotated[
        WhenCold,
        Option(
            "wait",
            "While the model is not loaded: wait for it, or keep the documents in the order given, with score 0 and "
            "marked as degraded, while it loads in the background.",
            "local",
            more="warm_up() waits in either case. A load that fails raises its error at the next call.",
        ),
    ]
    long_documents: Annotated[
        LongDocuments,
        Option(
            "truncate",
            "For documents longer than the model reads: truncate reads their beginning, windows all of them in "
            "overlapping windows, of which the best one's score counts, likely_windows only the first window and the "
            f"{LIKELY_WINDOWS - 1} that share most words with the query.",
            "local",
        ),
    ]
    max_tokens: Annotated[
        int | None,
        Option(
            None,
            "Most tokens of query and document together.",
            "local",
            unset="the model's own limit",
            least=1,
        ),
    ]
    batch_tokens: Annotated[
        int | None,
        Option(None, "Token budget of a batch.", "local", unset="what suits the backend", least=1),
    ]
    threads: Annotated[
        int | None,
        Option(
            None,
            "Most batches in flight at once.",
            "local",
            unset="as many as the process may use CPUs, which is also the most",
            more="On torch one batch at a time is in flight, on torch's own threads (torch.set_num_threads).",
            least=1,
        ),
    ]
    backend: Annotated[
        BackendChoice,
        Option(
            "auto",
            "What runs the model; auto is the fastest one that keeps the scores.",
            "local",
            more="With the extra openvino, auto measures OpenVINO against ONNX Runtime when it first loads a float32 "
            "ONNX file, and keeps the choice on disk. It takes OpenVINO, in bfloat16 too, where it is faster and no "
            "logit differs by more than 0.02. RERANK_AUTOTUNE=0 turns that off.",
        ),
    ]
    dtype: Annotated[
        Precision | None,
        Option(
            None,
            "Precision of the weights; int8 is for ONNX, and bfloat16 of an ONNX file needs OpenVINO.",
            "local",
            unset="that of a bundled model's file; float32 for others, or bfloat16 where auto finds it exact enough",
        ),
    ]
    device_map: Annotated[
        str | None,
        Option(None, "Passed to transformers as it is, to spread a model over devices.", "local", unset="one device"),
    ]
    revision: Annotated[
        str | None,
        Option(
            None, "A Hub commit, branch or tag.", "local", unset="the one that `rerank models` pins, or the main branch"
        ),
    ]
    trust_remote_code: Annotated[
        bool,
        Option(
            False,
            "Let a checkpoint run its own code; for Hub models the revision must then be a full commit hash.",
            "local",
        ),
    ]
    local_files_only: Annotated[bool, Option(False, "Never download; HF_HUB_OFFLINE=1 does the same.", "local")]


class RerankerOptions(PlainOptions, total=False):
    """All options of :class:`~rerank_core.Reranker` but ``model``.

    Those declared here rather than in :class:`PlainOptions` are objects that frameworks have types of their own for, or
    that cannot be saved.
    """

    api_key: Annotated[
        "str | SecretStr | None",
        Option(
            None,
            "The API key; it is never shown, logged or pickled.",
            "http",
            unset="the one in the provider's environment variable (ASSISTERS_API_KEY, COHERE_API_KEY, ...)",
            check=api_key,
            secret=True,
        ),
    ]
    device: Annotated[
        str | None, Option(None, "The device: cpu, cuda, cuda:1, mps.", "local", unset="the best there is")
    ]
    calibration: Annotated[
        "str | Path | Calibration | None",
        Option(
            None,
            "A file of `rerank calibrate`: scores, and so the score threshold, are then probabilities fitted on "
            "labelled data, which mean the same whatever the model. The order does not change, unless fusion is "
            "calibrated.",
            "both",
            field=str | None,
        ),
    ]
    scorer: Annotated[
        "Scorer | None",
        Option(
            None,
            "A ready scorer (with a cache, a fallback, a cascade) instead of a model.",
            "both",
            more="It has its own options and hooks. Besides it only those may be given that come after its scores: "
            "on_failure, check_first, max_latency, calibration, fusion, diversify, max_per_source, source_field, "
            "highlights and price_per_million_tokens.",
            field=False,
        ),
    ]
    http_client: Annotated[
        "httpx.Client | httpx.AsyncClient | None",
        Option(
            None,
            "A client of your own, for rerank() or for arerank(), with its proxies, certificates and limits.",
            "http",
            more="It is not closed here.",
            check=http_client,
            field=False,
        ),
    ]
    hooks: Annotated[
        Sequence[Hook] | None,
        Option(None, "Called with each event of rerank_core.events.", "both", unset="the log", field=False),
    ]


class Declared(NamedTuple):
    """An option as it is declared.

    Attributes:
        name: its name.
        type: its type, or the text of it where naming it would import much.
        option: the rest.
    """

    name: str
    type: Any
    option: Option

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it may have, besides None; none where they cannot be listed."""
        literals = [each for each in (self.type, *get_args(self.type)) if get_origin(each) is Literal]
        return get_args(literals[0]) if literals else ()

    def check(self, value: Any) -> Any:
        """The value to keep.

        Raises:
            InvalidRequestError: when the option cannot have it.
        """
        name, option, kinds = self.name, self.option, get_args(self.type) or (self.type,)
        if option.check is not None:
            return option.check(name, value)
        if self.choices:
            if value is not None or type(None) not in kinds:
                one_of(name, value, self.choices)
        elif bool in kinds:
            of_type(name, value, bool, "True or False")
        elif int in kinds:
            whole(name, value, option.least, option.most)
        elif float in kinds:
            seconds(name, value)
        elif self.type == str | None:
            of_type(name, value, str | None, "a string or None")
        return value

    @property
    def bounds(self) -> dict[str, int]:
        """What numbers it may be, in the words of pydantic's ``Field``."""
        kinds = get_args(self.type)
        if self.option.check is not None:  # it says more than bounds could
            return {}
        if float in kinds or (int in kinds and self.option.least == 1):
            return {"gt": 0}
        if int not in kinds:
            return {}
        least = {"ge": self.option.least}
        return least if self.option.most is None else least | {"le": self.option.most}


def _declared(declaration: type) -> Mapping[str, Declared]:
    found = {}
    for name, annotation in declaration.__annotations__.items():
        kind, option = get_args(annotation)
        found[name] = Declared(name, getattr(kind, "__forward_arg__", kind), option)
    return MappingProxyType(found)


OPTIONS: Mapping[str, Declared] = _declared(RerankerOptions)
"""All options but ``model``, by name."""
MODEL = _declared(ModelOption)["model"]
PLAIN: Mapping[str, Declared] = MappingProxyType({name: OPTIONS[name] for name in PlainOptions.__annotations__})
"""Those that have the same type everywhere."""


def of_world(world: World) -> Mapping[str, Declared]:
    """The options that apply there, and nowhere else."""
    return {name: each for name, each in OPTIONS.items() if each.option.world == world}


def of_scorer(world: Literal["http", "local"]) -> Mapping[str, Declared]:
    """The options of the scorers there: those that apply nowhere else, and those that all scorers have."""
    return {name: each for name, each in OPTIONS.items() if each.option.world == world or each.option.scorers}


OF_SERVED_MODELS = ("max_latency", "check_first", "price_per_million_tokens")
"""The options of a served model that are not its scorer's."""


def of_server() -> Mapping[str, Declared]:
    """The options of the models that a server serves: those of a scorer in this process, and what goes on around it."""
    return {**{name: OPTIONS[name] for name in OF_SERVED_MODELS}, **of_scorer("local")}


def effective_provider(provider: str | None, base_url: str | None) -> str:
    """The provider as given; else the rerank API at ``base_url``, if there is one; else this process."""
    if provider is not None:
        return provider
    return "local" if base_url is None else "native"


def check_names(given: Iterable[str], options: Container[str], function: Callable[..., Any]) -> None:
    """Whether all names that a function got as keywords are options.

    Raises:
        TypeError: when one is unknown, in Python's own words and with the name that was probably meant.
    """
    for name in given:
        if name not in options:
            known = [each for each in signature(function).parameters if each != "self"]
            raise TypeError(
                f"{function.__qualname__}() got an unexpected keyword argument {name!r}.{did_you_mean(name, known)}"
            )


def completed(
    given: Mapping[str, Any], options: Mapping[str, Declared], function: Callable[..., Any]
) -> dict[str, Any]:
    """What a function got as ``**options``, and the defaults of the rest.

    Raises:
        TypeError: as :func:`check_names`.
    """
    check_names(given, options, function)
    return {name: given.get(name, each.option.default) for name, each in options.items()}


def with_options(function: Callable[..., Any], options: Mapping[str, Declared]) -> Signature:
    """The signature of a function that takes ``**options``, with a parameter per option in their place.

    For those who inspect it, and for ``function.__signature__``, so that others see it as well.
    """
    plain = signature(function)
    own = [each for each in plain.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
    declared = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=each.option.default, annotation=each.type)
        for name, each in options.items()
    ]
    return plain.replace(parameters=[*own, *declared])
