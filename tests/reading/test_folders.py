"""Paths in, documents with their places out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fresh import fresh
from rerank_core import InvalidRequestError
from rerank_core.reading import Corpus, Selection, read


def names(folder, corpus):
    return sorted({document.metadata["file"].removeprefix(f"{folder}/") for document in corpus.documents})


@pytest.fixture
def project(tmp_path):
    """A repository with what people keep in one."""
    files = {
        ".git/config.txt": "x",
        ".gitignore": "*.log.md\n/build\n!kept.log.md\n",
        "README.md": "# Words\n\nof mine",
        "a.log.md": "log",
        "kept.log.md": "kept",
        "build/out.md": "built",
        "src/main.py": "def main():\n    pass\n",
        "src/.gitignore": "secret.*\n",
        "src/secret.md": "secret",
        "src/build/in.md": "not the root's",
        "node_modules/p/README.md": "package",
        "env/pyvenv.cfg": "",
        "env/lib.py": "x = 1",
        "picture.png": "x",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_folders_without_what_git_ignores(project):
    assert names(project, read([str(project)])) == ["README.md", "kept.log.md", "src/build/in.md", "src/main.py"]
    assert "src/secret.md" not in names(project, read([str(project / "src")]))
    everything = names(project, read([str(project)], selection=Selection(ignored=True)))
    assert {"a.log.md", "build/out.md", "src/secret.md"} <= set(everything)
    assert not {"node_modules/p/README.md", "env/lib.py"} & set(everything)


def test_the_ignore_file_of_the_repository_holds_below_it(project):
    (project / ".gitignore").write_text("in.md\n")
    assert names(project, read([str(project / "src")])) == ["src/main.py"]


def test_globs_and_exclusions(project):
    def chosen(**options):
        return names(project, read([str(project)], selection=Selection(**options)))

    assert chosen(glob=("*.py",)) == ["src/main.py"]
    assert chosen(glob=("src/**",), exclude=("build/",)) == ["src/main.py"]
    assert chosen(exclude=("src", "kept*")) == ["README.md"]
    with pytest.raises(InvalidRequestError, match="holds no files"):
        chosen(glob=("*.rs",))


def test_a_named_file_is_read_whatever_its_kind_is(project):
    (project / "Makefile").write_text("all:\n\techo")
    (project / "a.conf").write_text("key = value")
    for name in ("a.log.md", "a.conf", "Makefile"):
        assert len(read([str(project / name)]).documents) == 1
    (project / "a.bin").write_bytes(b"a\0b")
    with pytest.raises(InvalidRequestError, match="unknown kind, and not text"):
        read([str(project / "a.bin")])


@pytest.mark.parametrize("kind", ["pdf", "docx", "ipynb"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, kind):
    pytest.importorskip({"pdf": "pypdf", "docx": "docx"}.get(kind, "json"))
    (tmp_path / f"a.{kind}").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidRequestError, match=f"is not a {kind.upper()} file that can be read"):
        read([str(tmp_path / f"a.{kind}")])


@pytest.mark.parametrize(("name", "library"), [("a.pdf", "pypdf"), ("a.docx", "docx")])
def test_a_library_that_is_not_there_is_named_with_its_extra(tmp_path, name, library):
    (tmp_path / name).write_bytes(b"x")
    code = f"""
from rerank_core import InvalidRequestError
from rerank_core.reading import read
try:
    read([{str(tmp_path / name)!r}])
except InvalidRequestError as error:
    print(error)
"""
    assert "rerank-plugins[files]" in fresh(code, without=[library])


def test_splits_of_what_is_no_text_by_itself(tmp_path):
    (tmp_path / "a.html").write_text("<h1>T</h1>\n<p>one</p>\n<pre>two\nthree</pre>")
    path = str(tmp_path / "a.html")

    def texts(split):
        return [(document.metadata["line"], document.text) for document in read([path], split=split).documents]

    assert texts("file") == [(1, "one\n\ntwo\nthree")]
    assert texts("line") == [(2, "one"), (3, "two"), (3, "three")]
    assert texts("paragraph") == [(2, "T\n\none"), (3, "T\n\ntwo\nthree")]


@given(st.lists(st.sampled_from(["# a", "b", "- c", "  d", ""])).map("\n".join))
def test_every_character_knows_its_line(tmp_path_factory, source):
    path = tmp_path_factory.getbasetemp() / "any.md"
    path.write_text(source)
    corpus = read([str(path)])
    lines = source.split("\n")
    for document in corpus.documents:
        text = document.text
        context = len(text) - len(text.removeprefix(document.metadata.get("context", "\0")).lstrip("\n"))
        for position in range(context, len(text)):
            if text[position].isalnum():
                assert text[position] in lines[corpus.line(document, position) - 1]


def test_a_corpus_of_nothing():
    assert Corpus().documents == []
