from __future__ import annotations

import builtins
import pickle

import pytest

from rerank_core import errors

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.RerankError)
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling_with_its_details(cls):
    error = pickle.loads(pickle.dumps(cls("what happened", code="some_code", param="query")))
    assert type(error) is cls
    assert (str(error), error.code, error.param) == ("what happened", "some_code", "query")
    assert (error.type, error.status) == (cls.type, cls.status)


@pytest.mark.parametrize("cls", CLASSES)
def test_whether_an_error_may_pass_is_the_classes_or_its_own(cls):
    for given in (None, True, False):
        error = cls("what happened", transient=given)
        assert error.transient is (cls.transient if given is None else given)
        assert pickle.loads(pickle.dumps(error)).transient is error.transient


def test_what_may_pass():
    assert {cls.__name__ for cls in CLASSES if cls.transient} == {
        "RerankError", "RateLimitError", "OverloadedError", "TimeoutError", "ConnectionError", "ProtocolError",
        "InferenceError",
    }  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES)
def test_a_copy_of_an_error_is_the_same_one_with_notes_of_its_own(cls):
    error = cls("what happened", code="some_code", param="query", retry_after=3.0)
    error.add_note("first")
    copied = error.copied()
    copied.add_note("second")
    assert (type(copied), str(copied), copied.args) == (cls, "what happened", error.args)
    assert vars(copied) | {"__notes__": ["first"]} == vars(error)
    assert copied.__notes__ == ["first", "second"]
    assert copied.__traceback__ is None


def test_errors_are_also_what_python_users_catch():
    assert issubclass(errors.InvalidRequestError, ValueError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert issubclass(errors.TimeoutError, builtins.TimeoutError)
    assert issubclass(errors.ConnectionError, builtins.ConnectionError)


def test_every_error_is_in_the_tree_of_the_docstring():
    for cls in CLASSES:
        assert cls.__name__ in errors.__doc__


def test_a_missing_library_names_the_line_that_installs_it():
    error = errors.missing_dependency("torch", extra="torch", what="the torch backend")
    assert "pip install 'rerank-plugins[torch]'" in str(error)
