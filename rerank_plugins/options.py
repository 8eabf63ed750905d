"""What all adapters share: the engine's options as fields, and the engine they make.

An adapter translates its framework's world to :class:`~rerank_core.Reranker` and back; it ranks nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from rerank_core import Reranker, forks
from rerank_core.models import DEFAULT_MODEL
from rerank_core.option_fields import OptionFields
from rerank_core.options import effective_provider
from rerank_core.spelling import did_you_mean

ENGINE_OPTIONS = tuple(OptionFields.model_fields)
"""The options that :class:`~rerank_core.Reranker` takes under the same name."""


class _EngineSlot:
    """Holds the engine made of some options. A copy, pickled or not, is empty; and it makes no model unequal."""

    def __init__(self) -> None:
        self._lock = forks.OuterLock()
        self._engine: Reranker | None = None
        self._made_from: dict[str, Any] = {}

    def engine(self, options: dict[str, Any]) -> Reranker:
        """The engine for these options; the one that is there, unless they have changed."""
        with self._lock:
            if self._engine is None or options != self._made_from:
                self._engine, self._made_from = Reranker(**options), options
            return self._engine

    def check(self, options: dict[str, Any]) -> None:
        """Make the engine if these options are new, so that what does not go together is found now."""
        with self._lock:
            known = options == self._made_from
        if not known:
            self.engine(options)

    def clear(self) -> Reranker | None:
        with self._lock:
            engine, self._engine = self._engine, None
        return engine

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _EngineSlot)

    __hash__ = None  # type: ignore[assignment]  # it is equal to every other

    def __reduce__(self) -> tuple[type[_EngineSlot], tuple[()]]:
        return _EngineSlot, ()


class EngineOptions(OptionFields):
    """The engine's options, as fields of a pydantic model: checked when set, saved without secrets.

    A calibration is saved as its path: the file must be there, and be one, whenever the options are set or loaded.
    The model is saved by name, also where it is the default.

    The engine is made with the options and again after one of them has changed; ``top_n`` and ``score_threshold`` are
    none of its own. It is cheap: nothing is loaded or connected before the first use, and a model once per process,
    whoever asks for it.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, validate_assignment=True, hide_input_in_errors=True
    )

    # Defaults are given by name here and in the adapters: type checkers see no positional one, and would ask for all.
    top_n: int | None = Field(default=None, gt=0, description="Most results; None for all.")
    score_threshold: float | None = Field(
        default=None, ge=0, le=1, description="Results below this probability are left out, before top_n applies."
    )
    reranker: SkipJsonSchema[Reranker | None] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="A ready engine (cache, cascade, fallback) instead of the options.",
    )

    _slot: _EngineSlot = PrivateAttr(default_factory=_EngineSlot)

    @model_validator(mode="before")
    @classmethod
    def _suggest(cls, values: Any) -> Any:
        """The error of an unknown option names the one that was probably meant."""
        for name in values if isinstance(values, Mapping) else ():
            known = {each for each, field in cls.model_fields.items() if field.repr or each in ENGINE_OPTIONS}
            if isinstance(name, str) and name not in cls.model_fields and (hint := did_you_mean(name, known)):
                raise ValueError(f"there is no option {name!r}.{hint}")
        return values

    @field_validator("api_key", mode="before")
    @classmethod
    def _hide(cls, key: object) -> SecretStr | None:
        if key is None or isinstance(key, SecretStr):
            return key
        if not isinstance(key, str):
            raise ValueError(f"api_key must be a string or a SecretStr; got {type(key).__name__}")  # noqa: TRY004  (pydantic wants a ValueError)
        return SecretStr(key)

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        """Options that do not go together, and a key that is missing, are found now, not at the first query."""
        if self.model is None:
            self.model_fields_set.discard("model")  # nobody chose one
        options = self.engine_options()
        self.__dict__["model"] = options["model"]
        if self.reranker is not None:
            changed = [name for name, value in options.items() if value != type(self).model_fields[name].default]
            if changed:
                raise ValueError(f"reranker= brings its own {', '.join(changed)}; give a ready engine, or its options")
        else:
            self._slot.check(options)
        return self

    def engine_options(self) -> dict[str, Any]:
        """The options of the engine, by name. A model that nobody chose has one, too.

        What is saved goes on using it when there is a newer default.
        """
        options = {name: getattr(self, name) for name in ENGINE_OPTIONS}
        if "model" not in self.model_fields_set:
            local = self.reranker is None and effective_provider(self.provider, self.base_url) == "local"
            options["model"] = DEFAULT_MODEL if local else None
        return options

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What was chosen: options at their defaults say nothing."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name, None)
            if field.repr and not field.exclude and value != field.get_default(call_default_factory=True):
                yield name, value

    @property
    def engine(self) -> Reranker:
        """The engine for the options as they are now.

        Raises:
            AuthenticationError: when a hosted service's key is neither given nor in its environment variable: of a
                copy from a pickle, which has none, in a process without the variable.
        """
        if self.reranker is not None:
            return self.reranker
        return self._slot.engine(self.engine_options())

    def warm_up(self) -> None:
        """Load the model now, and run it once."""
        self.engine.warm_up()

    def close(self) -> None:
        """Let go of the model or the connections; the next use makes them anew. A ready engine is its owner's."""
        engine = self._slot.clear()
        if engine is not None:
            engine.close()

    async def aclose(self) -> None:
        """:meth:`close` for asynchronous code."""
        engine = self._slot.clear()
        if engine is not None:
            await engine.aclose()

    def __setattr__(self, name: str, value: Any) -> None:
        """A refused value is not kept: pydantic sets it before it checks how the options go together."""
        before = self.__dict__
        try:
            super().__setattr__(name, value)
        except ValidationError:
            object.__setattr__(self, "__dict__", before)
            raise

    def __copy__(self) -> Self:
        """A copy makes its own engine: its options may change, as with ``model_copy(update=...)``."""
        copied = super().__copy__()
        copied._slot = _EngineSlot()  # noqa: SLF001  (it is one of us)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        """For pickle: without the key, and with the model's name as one that was chosen."""
        state = BaseModel.__getstate__(self)  # not a framework's: LlamaIndex's deletes from the living object
        fields_set = {*state["__pydantic_fields_set__"]} | ({"model"} if self.model is not None else set())
        hidden = {"__dict__": state["__dict__"] | {"api_key": None}, "__pydantic_fields_set__": fields_set}
        return state | hidden
