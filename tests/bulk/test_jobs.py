"""Jobs over files: what comes out, what is set aside, and what a process leaves that was killed."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from datetime import date
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fresh import environment
from rerank_core import InvalidRequestError, Reranker
from rerank_core.bulk import Columns, Job, RerankBatch, find_files, run
from rerank_core.bulk.columns import Row
from rerank_core.bulk.estimate import estimate
from rerank_core.cli import with_all_commands
from rerank_core.scoring import FakeScorer
from waiting import BOUND, wait_for

APP = with_all_commands()
TOPICS = ("refunds", "parcels", "offices", "cats", "dogs")
GOOD = st.builds(
    lambda query, texts, extra: {"query": query, "documents": texts, "extra": extra},
    st.sampled_from(["money back", "feline pets", "a b"]),
    st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4),
    st.integers(),
)
PAIRS = st.builds(
    lambda query, text: {"query": query, "document": text}, st.sampled_from(["a b", "c"]), st.sampled_from(TOPICS)
)
BAD = st.sampled_from(
    [{"query": " ", "document": "a"}, {"query": "a"}, {"query": 3, "document": "a"}, {"query": "a", "documents": []}]
)


def fake():
    return Reranker(scorer=FakeScorer())


def write(file, rows):
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def read(folder, kind="part"):
    """All rows of the parts, in order."""
    texts = [file.read_text() for file in sorted(folder.glob(f"{kind}-*.jsonl"))]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def pairs(count, seed=0):
    """Queries with some pairs each, beside each other."""
    sample = random.Random(seed)
    return [
        {
            "query": f"where are {sample.choice(TOPICS)}",
            "document": f"Text {i} is about {sample.choice(TOPICS)}.",
            "id": i,
        }
        for i in range(count)
    ]


@given(st.lists(st.one_of(GOOD, PAIRS, BAD), max_size=25), st.integers(1, 7))
def test_rows_in_are_rows_out_and_rejects_whatever_the_parts(tmp_path_factory, rows, size):
    folder = tmp_path_factory.mktemp("job")
    file = write(folder / "in.jsonl", rows)
    totals = run(Job([file], folder / "out", rows_per_part=size), fake())
    whole = run(Job([file], folder / "whole"), fake())
    scored, rejects = read(folder / "out"), read(folder / "out", "rejects")
    assert (totals.rows, totals.scored, totals.rejects) == (len(rows), len(scored), len(rejects))
    assert totals == whole
    assert scored == read(folder / "whole")
    assert rejects == read(folder / "whole", "rejects")
    kept = [row for row in rows if row not in BAD.elements]
    assert [{name: each[name] for name in row} for row, each in zip(kept, scored, strict=True)] == kept


def test_scores_are_those_of_rerank(tmp_path, bundled):
    rows = [
        {"query": "money back", "documents": ["Cats purr.", {"text": "Refunds take five days.", "n": 1}], "keep": [1]},
        {"query": "feline pets", "document": "Cats purr.", "id": "x"},
        {"query": "feline pets", "document": "Refunds take five days.", "id": "y"},
    ]
    run(Job([write(tmp_path / "in.jsonl", rows)], tmp_path / "out"), bundled)
    candidates, first, second = read(tmp_path / "out")
    for query, texts, found in (
        ("money back", ["Cats purr.", "Refunds take five days."], candidates),
        ("feline pets", ["Cats purr.", "Refunds take five days."], None),
    ):
        results = sorted(bundled.rerank(query, texts), key=lambda result: result.index)
        scores = found["relevance_score"] if found else [first["relevance_score"], second["relevance_score"]]
        ranks = found["rank"] if found else [first["rank"], second["rank"]]
        assert scores == pytest.approx([result.relevance_score for result in results], abs=1e-6)
        assert ranks == [result.rank for result in results]
    assert candidates["keep"] == [1]
    assert candidates["documents"] == rows[0]["documents"]
    assert (first["id"], first["window"], first["truncated"], first["model"]) == ("x", None, False, bundled.model)
    assert first["tokens"] > 0


def test_every_reject_says_where_and_why_and_not_what(tmp_path):
    rows = [
        {"query": "secret", "document": None},
        {"query": ["secret"], "document": "a"},
        {"query": "secret", "documents": "no list"},
        {"query": "secret", "documents": ["a", 7]},
        "{secret",
        '["secret"]',
        {"query": "secret", "text": "a"},
        r'{"query": "secret", "document": "\ud800"}',
        r'{"query": "secret", "document": "a", "more": ["\uDFFF"]}',
    ]
    run(Job([write(tmp_path / "in.jsonl", rows)], tmp_path / "out"), fake())
    rejects = read(tmp_path / "out", "rejects")
    assert [(each["source"], each["row"]) for each in rejects] == [("in.jsonl", i + 1) for i in range(len(rows))]
    assert [each["reason"] for each in rejects] == [
        "column 'document' is missing, expected text",
        "column 'query' is of the type list, expected text",
        "column 'documents' is of the type str, expected a list",
        "column 'documents[1]' is of the type int, expected text",
        "not JSON",
        "no JSON object",
        "neither 'document' nor 'documents' is a column",
        *["half of a surrogate pair, which no file in UTF-8 can hold"] * 2,
    ]
    assert "secret" not in json.dumps(rejects)


def test_too_many_rejects_end_the_job_and_what_is_done_stays(tmp_path):
    rows = [{"query": f"query {number}", "document": "a"} for number in range(8)]
    rows[4:4] = [{"query": ""}, {"query": ""}]
    file = write(tmp_path / "in.jsonl", rows)
    with pytest.raises(InvalidRequestError, match="2 of 6 rows are bad, and 1 may be") as caught:
        run(Job([file], tmp_path / "out", rows_per_part=2, max_rejects=1), fake())
    assert caught.value.code == "too_many_rejects"
    assert len(read(tmp_path / "out")) == 4
    assert run(Job([file], tmp_path / "out", rows_per_part=2, max_rejects=2), fake()).rows == 10


def test_pairs_of_one_query_are_ranked_together_across_parts(tmp_path):
    rows = [{"query": "a b", "document": text} for text in ("a", "a b", "x", "b a b")]
    run(Job([write(tmp_path / "in.jsonl", rows)], tmp_path / "out", rows_per_part=2), fake())
    assert sorted(row["rank"] for row in read(tmp_path / "out")) == [1, 2, 3, 4]


def test_a_bad_row_does_not_part_the_pairs_of_one_query(tmp_path):
    rows = [{"query": "a b", "document": text} for text in ("a", "a b", None, "x", "b a b")]
    for size in (1, 2, 9):
        file = write(tmp_path / "in.jsonl", [*rows[:3], "{", *rows[3:]])
        run(Job([file], tmp_path / str(size), rows_per_part=size), fake())
        assert sorted(row["rank"] for row in read(tmp_path / str(size))) == [1, 2, 3, 4]
        assert len(read(tmp_path / str(size), "rejects")) == 2


def test_long_rows_are_in_smaller_parts_also_within_a_query(tmp_path):
    rows = [{"query": "a", "document": "a", "cargo": "x" * 12_000_000}] * 3
    run(Job([write(tmp_path / "in.jsonl", rows)], tmp_path / "out"), fake())
    sizes = [len(file.read_text().splitlines()) for file in sorted((tmp_path / "out").glob("part-*"))]
    assert sizes == [2, 1]


def test_query_ids_tell_equal_queries_apart(tmp_path):
    rows = [{"q": "a", "d": "a", "n": number} for number in (1, 1, 2)]
    columns = Columns("q", "d", "ds", query_id="n", prefix="re_")
    run(Job([write(tmp_path / "in.jsonl", rows)], tmp_path / "out", columns), fake())
    assert [row["re_rank"] for row in read(tmp_path / "out")] == [1, 2, 1]


def test_columns_are_not_written_over(tmp_path):
    file = write(tmp_path / "in.jsonl", [{"query": "a", "document": "b", "rank": 3}])
    with pytest.raises(InvalidRequestError, match=r"in\.jsonl, row 1: the column 'rank' is there already"):
        run(Job([file], tmp_path / "out"), fake())
    run(Job([file], tmp_path / "other", Columns(prefix="re_")), fake())
    assert read(tmp_path / "other")[0]["rank"] == 3


def test_a_finished_job_is_not_done_again(tmp_path):
    file, scorer = write(tmp_path / "in.jsonl", pairs(7)), FakeScorer()
    job = Job([file], tmp_path / "out", rows_per_part=3)
    first, calls = run(job, Reranker(scorer=scorer)), len(scorer.calls)
    again = run(job, Reranker(scorer=scorer))
    assert (len(scorer.calls), again.kept, again.rows) == (calls, 7, first.rows)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"columns": Columns(prefix="x_")}, "columns"),
        ({"rows_per_part": 4}, "rows_per_part"),
        ({"kind": "parquet"}, "format"),
    ],
)
def test_another_job_is_refused_in_the_same_folder(tmp_path, change, what):
    pytest.importorskip("pyarrow")
    file = write(tmp_path / "in.jsonl", pairs(3))
    run(Job([file], tmp_path / "out", rows_per_part=3), fake())
    with pytest.raises(InvalidRequestError, match=rf"holds another job.*: {what} \(") as caught:
        run(Job([file], tmp_path / "out", **{"rows_per_part": 3} | change), fake())
    assert caught.value.code == "another_job"


def test_another_model_and_other_files_are_other_jobs(tmp_path):
    file = write(tmp_path / "in.jsonl", pairs(3))
    run(Job([file], tmp_path / "out"), fake())
    with pytest.raises(InvalidRequestError, match=r"another job.*model \("):
        run(Job([file], tmp_path / "out"), Reranker(scorer=FakeScorer("other")))
    write(file, pairs(4))
    with pytest.raises(InvalidRequestError, match=r"another job.*files \("):
        run(Job([file], tmp_path / "out"), fake())


def test_a_file_that_was_edited_is_another_one_though_its_size_is_the_same(tmp_path):
    file = write(tmp_path / "in.jsonl", [{"query": "a", "document": "b"}])
    run(Job([file], tmp_path / "out"), fake())
    write(file, [{"query": "a", "document": "c"}])
    with pytest.raises(InvalidRequestError, match=r"another job.*files \("):
        run(Job([file], tmp_path / "out"), fake())


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InvalidRequestError, match=r"holds other files \(mine\.txt\)"):
        run(Job([write(tmp_path / "in.jsonl", pairs(1))], tmp_path / "out"), fake())
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_all_kinds_of_files_hold_the_same(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"query": each["query"], "document": each["document"]} for each in pairs(5)]
    write(tmp_path / "a.jsonl", rows)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["query", "document"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for kind in ("jsonl", "csv", "parquet"):
        run(Job([tmp_path / f"a.{kind}"], tmp_path / kind), fake())
        run(Job([tmp_path / f"a.{kind}"], tmp_path / f"{kind}-out", kind="parquet"), fake())
        assert parquet.read_table(tmp_path / f"{kind}-out" / "part-0000-00000.parquet").to_pylist() == read(
            tmp_path / kind
        )
    assert read(tmp_path / "jsonl") == read(tmp_path / "csv") == read(tmp_path / "parquet")


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ([{"document": "secret", "id": 1}, {"document": "secret", "id": "secret"}], "id"),
        ([{"document": "secret"}, {"documents": ["secret"]}], "relevance_score"),
        ([{"document": "secret", "id": 2**70}], "id"),
    ],
)
def test_what_parquet_cannot_hold_is_named_and_not_shown(tmp_path, rows, column):
    pytest.importorskip("pyarrow")
    file = write(tmp_path / "in.jsonl", [{"query": "secret"} | row for row in rows])
    with pytest.raises(InvalidRequestError, match=rf"column '{column}' holds values of the types") as caught:
        run(Job([file], tmp_path / "out", kind="parquet"), fake())
    assert (caught.value.code, "secret" in str(caught.value)) == ("mixed_column", False)
    assert run(Job([file], tmp_path / "lines"), fake()).scored == len(rows)


@pytest.mark.parametrize("texts", [{"document": "a"}, {"documents": ["a", "b"]}])
def test_the_added_columns_have_the_same_types_in_every_part(tmp_path, bundled, texts):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = write(tmp_path / "in.jsonl", [{"query": f"query {number}"} | texts for number in range(2)])
    types = []
    for name, reranker in (("fake", fake()), ("model", bundled)):  # the fake one counts no tokens
        run(Job([file], tmp_path / name, kind="parquet", rows_per_part=1), reranker)
        types += [parquet.read_schema(part) for part in (tmp_path / name).glob("part-*")]
    assert len(types) == 4
    assert all(each.remove_metadata() == types[0].remove_metadata() for each in types)
    assert "null" not in map(str, types[0].types)


def test_lines_hold_what_json_has_no_kind_for_as_text(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {"query": "a", "document": "b", "raw": b"\xff\x00", "day": date(2026, 1, 2)}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "in.parquet")
    run(Job([tmp_path / "in.parquet"], tmp_path / "out"), fake())
    (found,) = read(tmp_path / "out")
    assert (found["raw"], found["day"]) == ("/wA=", "2026-01-02")


def test_a_csv_row_that_is_too_long_is_a_reject(tmp_path):
    (tmp_path / "a.csv").write_text("query,document\na,b\na,b,c\n")
    totals = run(Job([tmp_path / "a.csv"], tmp_path / "out"), fake())
    assert (totals.scored, totals.rejects) == (1, 1)
    assert read(tmp_path / "out", "rejects")[0]["reason"] == "more cells than the head has columns"


def test_files_folders_and_patterns(tmp_path):
    for name in ("b.jsonl", "a.csv", "sub/c.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [file.name for file in find_files([tmp_path / "sub" / "c.jsonl", tmp_path, str(tmp_path / "*.jsonl")])]
    assert names == ["c.jsonl", "a.csv", "b.jsonl"]
    with pytest.raises(InvalidRequestError, match="there is no such file"):
        find_files([tmp_path / "nothing-*.jsonl"])
    with pytest.raises(InvalidRequestError, match=r"notes\.txt: expected a file of jsonl, csv, parquet"):
        find_files([tmp_path / "notes.txt"])


def test_a_batch_in_columns_has_the_added_ones():
    batch = RerankBatch(fake())({"query": ["a b", "a b", ""], "document": ["a", "a b", "x"], "n": [1, 2, 3]})
    assert batch["n"] == [1, 2, 3]
    assert batch["rank"] == [2, 1, None]
    assert batch["reject"] == [None, None, "column 'query' is blank"]


def test_no_row_shows_its_texts():
    assert "secret" not in repr(Row("file", 1, {"query": "secret"}))


def test_an_estimate_writes_nothing(tmp_path):
    file = write(tmp_path / "in.jsonl", [*pairs(30), {"query": ""}])
    found = estimate(Job([file], tmp_path / "out"), fake(), sample=10)
    assert (found.rows, found.sample, found.pairs, found.rejects) == (31, 10, 31, 0)
    assert found.tokens > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", range(3))
def test_a_job_that_is_killed_goes_on_as_if_nothing_had_been(tmp_path, seed):
    file = write(tmp_path / "in.jsonl", [*pairs(120, seed), {"query": ""}, *pairs(40, seed + 1)])
    options = ["-m", "rerank-tiny-en-v1", "--rows-per-part", "5", "-o"]
    command = [sys.executable, "-m", "rerank_core", "bulk", file, *options]

    def parts_are_done(least, process):
        return len([*(tmp_path / "out").glob("done-*")]) >= least or process.poll() is not None

    for turn in range(2):
        process = subprocess.Popen(
            [*map(str, command), str(tmp_path / "out")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment(),
        )  # fmt: skip
        least = 3 * (turn + 1) + random.Random(seed + turn).randrange(3)
        wait_for(partial(parts_are_done, least, process))
        process.kill()
        process.wait(BOUND)
    for folder in ("out", "whole"):
        subprocess.run([*map(str, command), str(tmp_path / folder)], check=True, env=environment(), timeout=BOUND)
    assert [row["id"] for row in read(tmp_path / "out")] == [row["id"] for row in read(tmp_path / "whole")]
    for one, other in zip(read(tmp_path / "out"), read(tmp_path / "whole"), strict=True):
        assert one["relevance_score"] == pytest.approx(other["relevance_score"], abs=1e-6)
        assert {**one, "relevance_score": 0, "logit": 0} == {**other, "relevance_score": 0, "logit": 0}
    assert read(tmp_path / "out", "rejects") == read(tmp_path / "whole", "rejects")


def test_the_command_says_what_it_did(tmp_path):
    file = write(tmp_path / "in.jsonl", [*pairs(3), {"query": ""}])
    arguments = ["bulk", str(file), "-o", str(tmp_path / "out"), "-m", "rerank-tiny-en-v1"]
    done = CliRunner().invoke(APP, arguments)
    assert done.exit_code == 0, done.output
    assert "4 rows = 3 scored + 1 rejected; 3 pairs" in done.output
    again = CliRunner().invoke(APP, [*arguments, "--json"])
    assert json.loads(again.stdout)["kept"] == 4
    dry = CliRunner().invoke(APP, ["bulk", str(file), "--dry-run", "-m", "rerank-tiny-en-v1"])
    assert "about 4 rows, 3 pairs" in dry.output
    other = CliRunner().invoke(APP, [*arguments[:-1], "rerank-mini-en-v1"])
    assert (other.exit_code, "holds another job" in other.output) == (2, True)
    for wrong in (
        ["bulk", str(file)],
        ["bulk", "nothing.jsonl", "-o", "x"],
        [*arguments, "--workers", "2"],
        [*arguments, "--engine", "local", "--address", "auto"],
    ):
        assert CliRunner().invoke(APP, wrong).exit_code == 2
