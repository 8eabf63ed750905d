"""The fields besides query, documents and limit that several dialects share, and what they ask of a ranking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from rerank_core.wire.effects import ByModel, Honoured, NoEffect, Refused
from rerank_core.wire.fields import Body, Count, Flag, wrong

# What a request calls them, too.
_AS_THEY_ARE = (
    "max_tokens_per_doc", "max_tokens_per_query", "return_details", "highlights", "fusion", "retrieval_scores",
)  # fmt: skip
_CUT = "a text that does not fit fails the request"


def _strategy(value: Any, info: ValidationInfo) -> str:
    return _choice(value, info, ("NONE", "END"))


def _side(value: Any, info: ValidationInfo) -> str:
    return _choice(value, info, ("LEFT", "RIGHT"))


def _choice(value: Any, info: ValidationInfo, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value.upper() in choices:
        return value.upper()
    name = info.field_name or "field"
    raise wrong(f"invalid_{name}", f"{name} must be one of {', '.join(choices)}.", name)


def _prompt_tokens(value: Any, info: ValidationInfo) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < -1 or value == 0:
        name = info.field_name or "field"
        raise wrong(f"invalid_{name}", f"{name} must be -1, or a whole number of at least 1.", name)
    return value


RawScores = Annotated[Flag, Honoured("true: scores are the model's logits", usual=False, other=True)]
UseActivation = Annotated[Flag, Honoured("false: scores are the model's logits", usual=True, other=False)]
Truncation = Annotated[Flag, Honoured(f"false: {_CUT}", usual=True, other=False, or_fails=True)]
Strategy = Annotated[
    Literal["NONE", "END"],
    BeforeValidator(_strategy),
    WithJsonSchema({"type": ["string", "null"], "pattern": "^([nN][oO][nN][eE]|[eE][nN][dD])$"}),
    Honoured(f"NONE: {_CUT}", usual="END", other="NONE", or_fails=True),
]
Side = Annotated[
    Literal["LEFT", "RIGHT"],
    BeforeValidator(_side),
    WithJsonSchema({"type": ["string", "null"], "pattern": "^([lL][eE][fF][tT]|[rR][iI][gG][hH][tT])$"}),
    Honoured(f"texts are only cut at their end; left: {_CUT}", usual="right", other="left", or_fails=True),
]
TokensPerText = Annotated[
    Count,
    Honoured(
        "kept for texts of no more bytes, and where the model reads no more anyway", usual=4096, other=8, or_fails=True
    ),
]
PromptTokens = Annotated[
    int | None,
    BeforeValidator(_prompt_tokens),
    WithJsonSchema({"type": ["integer", "null"], "minimum": -1}),
    Honoured(
        "-1 is what the model reads; else kept for texts of no more bytes, and where the model reads no more anyway",
        usual=-1,
        other=8,
        or_fails=True,
    ),
]
Chunks = Annotated[
    Count,
    NoEffect(
        "a maximum, and one piece of a document is read; with long_documents=windows, where more are, it is refused",
        usual=1024,
        other=1,
    ),
]
Overlap = Annotated[
    Any,
    NoEffect(
        "one piece of a document is read; with long_documents=windows, whose overlap is fixed, it is refused",
        usual=80,
        other=0,
    ),
]
Instruction = Annotated[
    str | None,
    ByModel(
        "what the model is asked besides the query, for models that follow instructions",
        usual="",
        other="Find what contradicts the query.",
    ),
]
Rewriting = Annotated[Any, Refused("the query is scored as it is", usual=False, other=True)]
Spans = Annotated[Any, Refused("results are whole documents", usual=False, other=True)]
Template = Annotated[Any, Refused("the model's own template is used", usual="", other="{{ query }}")]
TemplateArguments = Annotated[
    Any, Refused("the model's own template is used as it is", usual={}, other={"enable_thinking": True})
]
ModelArguments = Annotated[
    Any, Refused("the model is run with the server's settings", usual="{}", other='{"max_length": 8}', nothing=({}, ""))
]
SpecialTokens = Annotated[Any, Refused("pairs always have the model's special tokens", usual=True, other=False)]
Priority = Annotated[Any, NoEffect("requests are served in turn, and give the same answer", usual=0, other=-5)]
Note = Annotated[Any, NoEffect("about the request, not the answer", usual="a", other="b")]
Threshold = Annotated[
    Any,
    Refused("the client leaves out what scores too low; 0 leaves out nothing", usual=0, other=0.5, nothing=(0.0,)),
]
Length = Annotated[Any, NoEffect("tokens are always reported", usual="true", other="false")]


class RequestBody(Body):
    """What clients of any dialect may ask for, whether that dialect has it or not."""

    score_threshold: Threshold = Field(
        default=None, validation_alias=AliasChoices("score_threshold", "threshold", "min_score")
    )


class CutBody(RequestBody):
    """The other fields of vLLM, on the paths that it shares with other products."""

    use_activation: UseActivation = Field(
        default=True, validation_alias=AliasChoices("use_activation", "activation", "softmax")
    )
    max_tokens_per_doc: TokensPerText = None
    max_tokens_per_query: TokensPerText = None
    truncate_prompt_tokens: PromptTokens = None
    truncation_side: Side = "RIGHT"
    instruction: Instruction = None
    chat_template: Template = None
    chat_template_kwargs: TemplateArguments = None
    add_special_tokens: SpecialTokens = None
    priority: Priority = None
    user: Note = None
    request_id: Note = None


def options_of(parsed: Body) -> dict[str, Any]:
    """The options of a parsed body as fields of a :class:`WireRequest`; only those that ask for something."""
    values = dict(_values(parsed))
    found: dict[str, Any] = {}
    if values.get("raw_scores") or values.get("use_activation") is False:
        found["raw_scores"] = True
    for name in _AS_THEY_ARE:
        if values.get(name) is not None:
            found[name] = values[name]
    if values.get("truncate_prompt_tokens") not in (None, -1):
        found["truncate_prompt_tokens"] = values["truncate_prompt_tokens"]
    instruction = values.get("instruction") or values.get("instruct")
    if instruction:
        found["instruction"] = instruction
    whole = {"truncation": False, "truncate": False, "truncation_side": "LEFT", "truncation_direction": "LEFT"}
    refuses = [name for name, forbids in whole.items() if values.get(name) == forbids or values.get(name) == "NONE"]
    if refuses:
        found["whole"] = refuses[0]
    chunked = [name for name in ("max_chunks_per_doc", "overlap_tokens") if values.get(name) is not None]
    if chunked:
        found["chunked"] = chunked[0]
    return found


def _values(parsed: Body) -> Iterator[tuple[str, Any]]:
    for name in type(parsed).model_fields:
        value = getattr(parsed, name)
        if isinstance(value, Body):
            yield from _values(value)
        else:
            yield name, value
