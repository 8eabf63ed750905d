from __future__ import annotations

import builtins
import pickle

import pytest

from rerank_core import errors

CLASSES = [
    value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.RerankError)
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling_with_its_facts(cls):
    error = pickle.loads(pickle.dumps(cls("what happened", code="some_code", param="query")))
    assert type(error) is cls
    assert (str(error), error.code, error.param) == ("what happened", "some_code", "query")
    assert (error.type, error.status) == (cls.type, cls.status)


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
