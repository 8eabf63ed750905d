"""Options are declared once: every place that has them has those of the declaration, and a new one after one change."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import pytest

from fresh import fresh
from rerank_core import Reranker, options
from rerank_core.option_pages import WRITTEN
from rerank_core.options import MODEL, OPTIONS
from rerank_core.scoring import ApiOptions, LocalOptions

ROOT = Path(__file__).resolve().parents[1]

# Imports the engine with one more item in the declaration, and nothing else changed.
ADDED = """
import importlib.abc, importlib.util, io, sys
from contextlib import redirect_stdout
ITEM = '''
    silliness: Annotated[
        Literal["mild", "severe"] | None,
        Option(None, "How silly the model may be.", WORLD, unset="not at all"),
    ]
'''
class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "rerank_core.options" else None
    def get_source(self, name):
        with open(DECLARATION, encoding="utf-8") as file:
            before, found, after = file.read().partition("class RerankerOptions(")
        assert found
        return before + ITEM.replace("WORLD", repr(WORLD)) + "\\n" + found + after
sys.meta_path.insert(0, Finder())
"""


def with_an_option(world, code):
    """What the code prints where there is one more option, ``silliness``."""
    given = f"WORLD = {world!r}\nDECLARATION = {options.__file__!r}\n"
    return fresh(given + ADDED + code)


def test_a_new_option_is_everywhere_in_the_engine_after_one_change():
    code = """
import inspect
from rerank_core import InvalidRequestError, Reranker, scoring
from rerank_core.option_pages import WRITTEN
assert inspect.signature(Reranker).parameters["silliness"].default is None
assert "How silly" in Reranker.__doc__
assert Reranker(silliness="mild").scorer.options == scoring.LocalOptions(silliness="mild")
for wrong in ({"silliness": "wild"}, {"silliness": "mild", "model": "m", "base_url": "http://localhost"}):
    try:
        Reranker(**wrong)
    except InvalidRequestError as error:
        assert error.param == "silliness"
    else:
        raise AssertionError
assert all("silliness" in text() for text in WRITTEN.values())
"""
    with_an_option("local", code)
    with_an_option(
        "http", "from rerank_core import scoring; assert scoring.ApiOptions(silliness='mild').silliness == 'mild'"
    )


def test_a_new_option_is_one_of_the_command_line_and_of_the_servers_settings():
    pytest.importorskip("fastapi")
    code = """
import typer.main
from rerank_core.cli import evaluate, query, serve
from rerank_core.server.settings import load_settings
commands = typer.main.get_command(serve.app).commands
for command in ("query", "serve"):
    (made,) = (each for each in commands[command].params if each.name == "silliness")
    assert made.opts == ["--silliness"] and "How silly" in made.help and "not at all" in made.help, command
settings = load_settings(models=("a=rerank-mini-en-v1", "b=rerank-mini-en-v1"), options=["b.silliness=severe"])
assert settings.options_of("a")["silliness"] is None
assert settings.options_of("b")["silliness"] == "severe"
assert load_settings(silliness="mild").silliness == "mild"
"""
    with_an_option("local", code)


@pytest.mark.parametrize("world", ["local", "http", "both"])
def test_a_new_option_is_a_field_of_the_pydantic_adapters(world):
    pytest.importorskip("llama_index")
    pytest.importorskip("langchain_core")
    code = """
from rerank_plugins.langchain import CrossEncoderCompressor, CrossEncoderScorer
from rerank_plugins.llama_index import CrossEncoderPostprocessor
for adapter in (CrossEncoderCompressor, CrossEncoderScorer, CrossEncoderPostprocessor):
    assert adapter.model_fields["silliness"].description.startswith("How silly the model may be."), adapter
    there = {} if WORLD == "local" else {"model": "m", "base_url": "http://localhost"}
    made = adapter(silliness="mild", **there)
    assert made.silliness == "mild" and made.engine_options()["silliness"] == "mild"
    try:
        adapter(silliness="wild", **there)
    except ValueError:
        pass
    else:
        raise AssertionError
assert CrossEncoderPostprocessor(silliness="mild", **there).to_dict()["silliness"] == "mild"
"""
    with_an_option(world, code)


def test_a_new_option_is_an_init_parameter_of_the_haystack_component():
    pytest.importorskip("haystack")
    code = """
import inspect
from rerank_plugins.haystack import CrossEncoderRanker
assert inspect.signature(CrossEncoderRanker.__init__).parameters["silliness"].default is None
assert "How silly" in CrossEncoderRanker.__doc__
ranker = CrossEncoderRanker(silliness="mild")
assert ranker._engine().scorer.options.silliness == "mild"
saved = ranker.to_dict()
assert saved["init_parameters"]["silliness"] == "mild"
assert CrossEncoderRanker.from_dict(saved).silliness == "mild"
"""
    with_an_option("local", code)


@pytest.mark.parametrize("file", WRITTEN)
def test_what_is_made_of_the_declaration_is_up_to_date(file):
    assert (ROOT / file).read_text(encoding="utf-8") == WRITTEN[file](), "run python -m rerank_core.option_pages"


def test_the_keywords_of_the_reranker_are_the_declared_ones():
    parameters = inspect.signature(Reranker).parameters
    assert [*parameters] == ["model", *OPTIONS]
    assert {name: parameters[name].default for name in OPTIONS} == {
        name: each.option.default for name, each in OPTIONS.items()
    }
    for name in parameters:
        assert f"        {name}: " in Reranker.__doc__


def test_every_option_says_what_it_means_in_plain_words():
    for each in (MODEL, *OPTIONS.values()):
        assert each.option.help.endswith("."), each.name
        assert "None" not in each.option.help + each.option.unset, each.name  # a command line has no None


def test_options_over_http_are_few_by_position():
    made = ApiOptions("http://localhost", "sesame")
    assert made.api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(made)
    with pytest.raises(TypeError):
        ApiOptions("http://localhost", "sesame", 3)
    with pytest.raises(TypeError):
        LocalOptions("windows")


@pytest.mark.parametrize(
    ("options_of", "wrong", "meant"),
    [(LocalOptions, "dytpe", "dtype"), (LocalOptions, "max_token", "max_tokens"), (ApiOptions, "timout", "timeout")],
)
def test_an_unknown_option_of_a_scorer_names_the_one_that_was_meant(options_of, wrong, meant):
    message = (
        rf"{options_of.__name__}\.__init__\(\) got an unexpected keyword argument '{wrong}'\. Did you mean '{meant}'\?"
    )
    with pytest.raises(TypeError, match=message):
        options_of(**{wrong: None})
    with pytest.raises(TypeError, match=message):
        replace(options_of(), **{wrong: None})
    with pytest.raises(TypeError, match=r"argument 'colour'\.$"):
        options_of(colour="red")
