"""What jobs read and write besides plain files of pairs: URLs, compressed files, TREC runs, ids, types."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rerank_core import InvalidRequestError, Reranker
from rerank_core.bulk import Columns, Job, RerankBatch, find_files, run
from rerank_core.bulk.estimate import estimate
from rerank_core.bulk.formats import rows_about
from rerank_core.bulk.inputs import Input
from rerank_core.cli import with_all_commands
from rerank_core.scoring import FakeScorer

APP = with_all_commands()
TEXTS = {"d1": "a b", "d2": "a", "d3": "x"}


def fake():
    return Reranker(scorer=FakeScorer())


def lines(folder, name="part-*.jsonl"):
    return [json.loads(line) for file in sorted(folder.glob(name)) for line in file.read_text().splitlines()]


def write(file, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())
    return file


@pytest.fixture
def pair_file(tmp_path):
    return write(tmp_path / "pairs.jsonl", [{"query": "a b", "document": text} for text in ("a", "a b", "x")])


@pytest.fixture
def collection(tmp_path):
    """The texts of a run, as BEIR and as TREC have them."""
    (tmp_path / "queries.tsv").write_text("q1\ta b\nq2\tx\n")
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in TEXTS.items())
    )
    return {"queries": tmp_path / "queries.tsv", "texts": [tmp_path / "corpus.jsonl"]}


@pytest.fixture
def trec(tmp_path):
    file = tmp_path / "first.trec"
    file.write_text("q1 Q0 d2 1 9.5 bm25\nq1 Q0 d1 2 9 bm25\nq1 Q0 d9 3 8 bm25\n\nq2 Q0 d3 1 4 bm25\nnonsense\n")
    return file


def test_urls_are_files_folders_and_patterns_of_their_file_system(tmp_path, pair_file):
    pytest.importorskip("pyarrow")
    write(tmp_path / "more.jsonl.gz", [{"query": "a", "document": "a"}])
    url = tmp_path.as_uri()
    assert [file.name for file in find_files([url])] == ["more.jsonl.gz", "pairs.jsonl"]
    assert [file.name for file in find_files([f"{url}/p*.jsonl"])] == ["pairs.jsonl"]
    run(Job(find_files([f"{url}/pairs.jsonl"]), tmp_path / "url"), fake())
    run(Job([pair_file], tmp_path / "path"), fake())
    assert lines(tmp_path / "url") == lines(tmp_path / "path")
    with pytest.raises(InvalidRequestError, match="there is no such file"):
        find_files([f"{url}/nothing.jsonl"])


def test_every_format_comes_through_a_url(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"query": "a b", "document": text} for text in ("a", "a b")]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    (tmp_path / "b.csv").write_text("query,document\na b,a\na b,a b\n")
    write(tmp_path / "a.jsonl.gz", rows)
    run(Job(find_files([tmp_path.as_uri()]), tmp_path / "out"), fake())
    found = [{name: row[name] for name in ("query", "document")} for row in lines(tmp_path / "out")]
    assert found == rows * 3


@pytest.mark.parametrize("url", ["nothing://key:secret@host/a.jsonl", "s3://key:secret@/?region=secret"])
def test_an_error_about_a_url_shows_no_keys(url):
    pytest.importorskip("pyarrow")
    with pytest.raises(InvalidRequestError) as caught:
        find_files([url])
    assert "secret" not in str(caught.value) + repr(Input(url))


def test_a_file_behind_a_url_that_is_written_again_is_another_one(tmp_path, pair_file):
    pytest.importorskip("pyarrow")
    job = Job(find_files([pair_file.as_uri()]), tmp_path / "out")
    run(job, fake())
    write(pair_file, [{"query": "a", "document": "other"}])
    with pytest.raises(InvalidRequestError, match=r"another job.*files \("):
        run(job, fake())


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b'{"query": "a"}\n' * 99)[:-20]], ids=["no gzip", "cut off"]
)
def test_compressed_files_that_are_none_or_cut_off_are_refused(tmp_path, content):
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    with pytest.raises(InvalidRequestError, match=r"cannot read .*a\.jsonl\.gz"):
        run(Job([tmp_path / "a.jsonl.gz"], tmp_path / "out"), fake())


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_the_number_of_rows_is_about_right(tmp_path, name):
    sample = random.Random(3)
    rows = [
        {"query": "a", "document": " ".join(str(sample.random()) for _ in range(sample.randrange(9)))}
        for _ in range(5000)
    ]
    assert rows_about(Input(str(write(tmp_path / name, rows)))) == pytest.approx(5000, rel=0.25)
    assert rows_about(Input(str(write(tmp_path / f"few-{name}", rows[:3])))) == pytest.approx(3, abs=1)
    assert rows_about(Input(str(write(tmp_path / f"no-{name}", [])))) == 0


def test_a_run_is_joined_with_its_texts(tmp_path, trec, collection):
    totals = run(Job([trec], tmp_path / "out", **collection), fake())
    assert (totals.rows, totals.scored, totals.rejects) == (5, 3, 2)
    names = ("query_id", "document_id", "query", "document", "first_rank", "first_score", "rank")
    assert [[row[name] for name in names] for row in lines(tmp_path / "out")] == [
        ["q1", "d2", "a b", "a", 1, 9.5, 2],
        ["q1", "d1", "a b", "a b", 2, 9.0, 1],
        ["q2", "d3", "x", "x", 1, 4.0, 1],
    ]
    assert [(row["row"], row["reason"]) for row in lines(tmp_path / "out", "rejects-*")] == [
        (3, "no text of document 'd9'"),
        (6, "not 'query Q0 document rank score name'"),
    ]
    assert [file.name for file in (tmp_path / "out").glob(".*")] == []  # the texts have gone with the job's end


def test_a_run_out_is_read_by_the_evaluation(tmp_path, trec, collection):
    from rerank_core.evaluation.trec import read_run

    run(Job([trec], tmp_path / "out", kind="trec", **collection), fake())
    (part,) = (tmp_path / "out").glob("part-*.trec")
    assert [line.split()[:4] for line in part.read_text().splitlines()] == [
        ["q1", "Q0", "d1", "1"],
        ["q1", "Q0", "d2", "2"],
        ["q2", "Q0", "d3", "1"],
    ]
    run(Job([trec], tmp_path / "rows", **collection), fake())
    expected = {
        (row["query_id"], row["document_id"]): row["logit"] if row["logit"] is not None else row["relevance_score"]
        for row in lines(tmp_path / "rows")
    }
    scores = read_run(part).scores
    assert {(query, each): value for query, found in scores.items() for each, value in found.items()} == expected


def test_candidates_with_ids_become_a_run_too(tmp_path):
    documents = [{"text": "a", "id": 1}, {"text": "a b", "document_id": "two"}]
    file = write(tmp_path / "a.jsonl", [{"query_id": 7, "query": "a b", "documents": documents}])
    run(Job([file], tmp_path / "out", kind="trec"), fake())
    text = (tmp_path / "out" / "part-0000-00000.trec").read_text()
    assert [line.split()[:4] for line in text.splitlines()] == [["7", "Q0", "two", "1"], ["7", "Q0", "1", "2"]]


@pytest.mark.parametrize(
    "row",
    [
        {"query": "secret", "document": "a", "document_id": 1},
        {"query": "secret", "document": "a", "query_id": 1},
        {"query": "secret", "document": "a", "query_id": "1 2", "document_id": 3},
        {"query": "secret", "documents": ["a"], "query_id": 1},
    ],
)
def test_a_run_needs_ids(tmp_path, row):
    with pytest.raises(InvalidRequestError, match="a TREC run needs an id without spaces in the column") as caught:
        run(Job([write(tmp_path / "a.jsonl", [row])], tmp_path / "out", kind="trec"), fake())
    assert (caught.value.code, "secret" in str(caught.value)) == ("no_ids", False)
    assert run(Job([tmp_path / "a.jsonl"], tmp_path / "out"), fake()).scored == 1  # no part was done: nothing to keep


def test_runs_and_texts_come_together(tmp_path, trec, pair_file, collection):
    with pytest.raises(InvalidRequestError, match=r"first\.trec is a TREC run, which has ids only"):
        Job([trec], tmp_path)
    with pytest.raises(InvalidRequestError, match="no file is one"):
        Job([pair_file], tmp_path, **collection)
    with pytest.raises(InvalidRequestError, match="files is empty"):
        Job([], tmp_path)


def test_other_texts_are_another_job(tmp_path, trec, collection):
    run(Job([trec], tmp_path / "out", **collection), fake())
    collection["texts"][0].write_text(json.dumps({"_id": "d1", "text": "new"}))
    with pytest.raises(InvalidRequestError, match=r"another job.*texts \("):
        run(Job([trec], tmp_path / "out", **collection), fake())


def test_texts_that_a_killed_job_left_are_not_those_of_another_one(tmp_path, trec, collection):
    job = Job([trec], tmp_path / "out", **collection)
    job.parts().open({"files": "others"})
    job.keep_texts()  # and killed before the first part was done
    collection["texts"][0].write_text("".join(json.dumps({"_id": name, "text": "new"}) + "\n" for name in TEXTS))
    run(Job([trec], tmp_path / "out", **collection), fake())
    assert {row["document"] for row in lines(tmp_path / "out")} == {"new"}


def test_an_id_with_two_texts_is_refused_and_leaves_nothing_half_done(tmp_path, trec, collection):
    with collection["texts"][0].open("a") as file:
        file.write(json.dumps({"_id": "d1", "text": "another"}))
    with pytest.raises(InvalidRequestError, match=r"corpus\.jsonl:4: a line above has another text of 'd1'"):
        run(Job([trec], tmp_path / "out", **collection), fake())
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["job.json"]


def test_an_estimate_of_a_run_writes_nothing(tmp_path, trec, collection):
    found = estimate(Job([trec], tmp_path / "out", **collection), fake())
    assert (found.sample, found.rejects) == (5, 2)
    assert found.rows in {5, 6}  # an empty line counts
    assert not (tmp_path / "out").exists()


def test_the_command_takes_a_run_and_writes_one(tmp_path, trec, collection):
    options = ["--queries", collection["queries"], "--texts", collection["texts"][0], "--format", "trec"]
    done = CliRunner().invoke(
        APP, ["bulk", *map(str, [trec, *options, "-o", tmp_path / "out", "-m", "rerank-tiny-en-v1"])]
    )
    assert done.exit_code == 0, done.output
    assert "5 rows = 3 scored + 2 rejected" in done.output
    assert len((tmp_path / "out" / "part-0000-00000.trec").read_text().splitlines()) == 3


def test_a_row_without_an_id_gets_one_that_is_the_same_wherever_it_is(tmp_path):
    rows = [
        {"query": "a", "document": "b"},
        {"query": "a", "document": "c"},
        {"query": "a", "document": "b", "document_id": 1},
        {"query": "a", "documents": ["b", "c"]},
        {"query": "a", "document": "b", "id": None},
        {"query": "a", "document": "b"},
    ]
    run(Job([write(tmp_path / "a.jsonl", rows)], tmp_path / "one"), fake())
    run(Job([write(tmp_path / "b.jsonl", rows[::-1])], tmp_path / "other", rows_per_part=2), fake())
    ids = [row["id"] for row in lines(tmp_path / "one")]
    assert [row["id"] for row in lines(tmp_path / "other")][::-1] == ids
    assert ids[4] is None  # a column that is there stays as it is
    assert ids[0] == ids[5] == hashlib.sha256(b'["a", [null], ["b"]]').hexdigest()[:32]
    assert len({*ids}) == 5
    batch = RerankBatch(fake())({"query": ["a", ""], "document": ["b", "b"]})
    assert batch["id"] == [ids[0], None]


def test_candidates_that_are_null_leave_the_pair(tmp_path):
    rows = [
        {"query": "a", "document": "b", "documents": None},
        {"query": "a", "document": None, "documents": ["a", "b"]},
        {"query": "a", "documents": None},
    ]
    run(Job([write(tmp_path / "a.jsonl", rows)], tmp_path / "out"), fake())
    assert [row["rank"] for row in lines(tmp_path / "out")] == [1, [1, 2]]
    assert lines(tmp_path / "out", "rejects-*")[0]["reason"] == "column 'documents' is missing, expected a list"


def test_numbers_that_json_has_not_are_null(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query": "a", "document": "b", "x": NaN, "y": [1.5, -Infinity, {"z": NaN}]}\n')
    run(Job([tmp_path / "a.jsonl"], tmp_path / "out"), fake())
    (text,) = (tmp_path / "out" / "part-0000-00000.jsonl").read_text().splitlines()
    row = json.loads(text, parse_constant=pytest.fail)
    assert (row["x"], row["y"]) == (None, [1.5, None, {"z": None}])


def test_columns_keep_the_types_that_parquet_gave_them(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(
        {
            "query": pa.array(["a", "a"]).dictionary_encode(),
            "document": pa.array(["a", None], pa.large_string()),
            "small": pa.array([1, 2], pa.int8()),
            "half": pa.array([0.1, math.nan], pa.float32()),
            "day": pa.array([1_001, None], pa.timestamp("ns")),
            "none": pa.nulls(2),
            "tags": pa.array([["x"], None], pa.list_(pa.string())),
        }
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    run(Job([tmp_path / "a.parquet"], tmp_path / "out", kind="parquet"), fake())
    found = parquet.read_table(tmp_path / "out" / "part-0000-00000.parquet").select(table.column_names)
    assert found.schema.types == parquet.read_schema(tmp_path / "a.parquet").types
    rest = [name for name in table.column_names if name != "day"]
    assert found.select(rest).to_pylist() == table.select(rest).slice(0, 1).to_pylist()
    assert found["day"].cast(pa.int64()).to_pylist() == [1_000]  # Python's own times end at the microsecond


def test_what_a_killed_process_was_writing_goes_when_the_job_is_done(tmp_path, pair_file):
    job = Job([pair_file], tmp_path / "out", rows_per_part=2)
    run(job, fake())
    (tmp_path / "out" / ".part-0000-00000.jsonl.4711").write_text("half of i")
    (tmp_path / "out" / "done-0000-00000.json").unlink()
    run(job, fake())
    assert [file.name for file in (tmp_path / "out").glob(".*")] == []
    assert len(lines(tmp_path / "out")) == 3


def test_columns_need_names_that_differ():
    with pytest.raises(InvalidRequestError, match="six different names"):
        Columns(id="query")


def test_a_pathless_name_is_its_own_file():
    assert Input("a.jsonl.gz").kind == ".jsonl"
    assert Input("a.parquet.gz").kind == ".gz"
    assert Path(Input("a.csv").resolved().location).is_absolute()
