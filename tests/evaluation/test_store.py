"""Scores on disk: nothing that is read back is believed, and a damaged file costs time only."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rerank_core import InvalidRequestError, Span
from rerank_core.cli import evaluate as _evaluate_command  # noqa: F401  (adds the commands)
from rerank_core.cli.app import app
from rerank_core.evaluation import Plan, evaluate, load_data, systems
from rerank_core.evaluation.store import ScoreStore, _seal
from rerank_core.scoring import CachedScorer, FakeScorer, Score

FULL = Score(0.1234567890123456789, -1e-17, truncated=True, query_truncated=True, window=Span(3, 9))
FIRST_VERSION = (
    "CREATE TABLE scores (key blob primary key, score text not null)",
    "CREATE TABLE costs (key text primary key, cost text not null)",
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "scores.db"


def filled(file, count=200):
    """A file with scores of many pages, as one run leaves it."""
    store = ScoreStore(file)
    for number in range(count):
        store[number.to_bytes(32)] = Score.from_logit(number / count)
    store.tokens(b"query", computed=42)
    store.close()
    return file


def change(file, statement, *values):
    with closing(sqlite3.connect(file)) as database:
        database.execute(statement, values)
        database.commit()


def asides(file):
    return sorted(path.name for path in file.parent.iterdir() if "unreadable" in path.name)


def test_a_store_keeps_every_part_of_a_score(file):
    store = ScoreStore(file)
    store[b"key"] = FULL
    store.tokens(b"query", computed=42)
    store.close()
    store = ScoreStore(file)
    assert store[b"key"] == FULL
    assert (list(store), len(store), b"other" in store, store.reused) == ([b"key"], 1, False, 1)
    assert (store.tokens(b"query"), store.tokens(b"other")) == (42, None)
    del store[b"key"]
    with pytest.raises(KeyError):
        del store[b"key"]


def test_a_store_takes_scores_only():
    store = ScoreStore()
    for value in (Score(5.0), Score(float("nan")), "0.5"):
        with pytest.raises(ValueError, match=r"[sS]core"):
            store[b"key"] = value
    assert len(store) == 0


WRONG = {
    "no json": "{",
    "another type": json.dumps({"relevance_score": "0.5", "logit": None, "window": None}),
    "out of range": json.dumps({"relevance_score": 5.0, "logit": None, "window": None}),
    "nan": '{"relevance_score": NaN, "logit": null, "window": null}',
    "infinity": '{"relevance_score": 0.5, "logit": 1e999, "window": null}',
    "a list": "[0.5]",
    "a field too many": json.dumps({"relevance_score": 0.5, "logit": None, "window": None, "colour": "red"}),
    "a field too few": json.dumps({"relevance_score": 0.5}),
    "a wrong window": json.dumps({"relevance_score": 0.5, "window": [1]}),
    "degraded": json.dumps({"relevance_score": 0.5, "window": None, "degraded": True}),
    "not judged": json.dumps({"relevance_score": 0.5, "window": None, "judged": False}),
    "deep": "[" * 100_000,
    "bytes": b"\xff\xfe",
    "a number": 0.5,
}


@pytest.mark.parametrize("row", WRONG.values(), ids=WRONG)
def test_a_row_that_is_no_score_counts_as_absent(file, row, caplog):
    key = (7).to_bytes(32)
    filled(file)
    seal = _seal(key, row) if isinstance(row, str) else b"12345678"
    change(file, "update scores set score = ?, seal = ? where key = ?", row, seal, key)
    store = ScoreStore(file)
    assert store.get(key) is None
    assert store.get(key) is None
    assert (store.reused, caplog.text.count("holds damaged scores")) == (0, 1)
    store[key] = FULL
    assert store[key] == FULL
    assert store[(8).to_bytes(32)] == Score.from_logit(8 / 200)


def test_a_score_that_is_not_the_one_written_counts_as_absent(file):
    one, other = (1).to_bytes(32), (2).to_bytes(32)
    filled(file)
    change(file, "update scores set score = replace(score, '0.005', '0.905') where key = ?", one)
    change(file, "update scores set (score, seal) = (select score, seal from scores where key = ?)", other)
    store = ScoreStore(file)
    assert store.get(one) is None  # another text's score, with its seal
    assert store.get(other) is not None


@pytest.mark.parametrize("tokens", ["many", -0.5, 43])
def test_tokens_that_are_not_those_written_are_unknown(file, tokens):
    filled(file)
    change(file, "update tokens set tokens = ?", tokens)
    assert ScoreStore(file).tokens(b"query") is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100] + b"\xff" * 3000 + data[3100:],
        lambda data: data[: len(data) // 2],
        lambda data: data[:4096] + b"\0" * (len(data) - 4096),
        lambda data: data[:20] + b"\xff" * 40 + data[60:],
        lambda data: data[:200],
    ],
    ids=["schema", "half", "pages", "header", "stump"],
)
def test_a_damaged_file_is_set_aside_and_made_anew(file, damage, caplog):
    filled(file)
    data = damage(file.read_bytes())
    file.write_bytes(data)
    scorer = FakeScorer()
    for _ in range(2):
        store = ScoreStore(file)
        for number in range(200):
            assert store.get(number.to_bytes(32)) in {None, Score.from_logit(number / 200)}
        cached = CachedScorer(scorer, store)
        cached.score("a b", ["a", "b"])
        assert all(score.cached for score in cached.score("a b", ["a", "b"]).items)
        assert not store.failed
        store.close()
    assert len(scorer.calls) == 1
    (aside,) = asides(file)
    assert (file.parent / aside).read_bytes() == data
    assert aside in caplog.text


def check_damaged(file, start, junk):
    """No score is wrong after ``junk`` was written over the file, neither an old one nor one that replaced it."""
    filled(file, count=60)
    data = bytearray(file.read_bytes())
    data[start : start + len(junk)] = junk
    file.write_bytes(data)
    store = ScoreStore(file)
    keys = [number.to_bytes(32) for number in range(60)]
    for number, key in enumerate(keys):
        assert store.get(key) in {None, Score.from_logit(number / 60)}
        store[key] = FULL
        assert store.get(key) in {None, FULL}
    assert {store.get(key) for key in keys} <= {None, FULL}
    assert store.tokens(b"query") in {None, 42}
    store.close()


@given(position=st.floats(0, 1), junk=st.binary(min_size=1, max_size=64))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_no_damage_gives_a_wrong_score_or_ends_a_run(tmp_path_factory, position, junk):
    file = filled(tmp_path_factory.mktemp("damaged") / "scores.db", count=60)
    start = 100 + int(position * (file.stat().st_size - 100))  # the header says whose it is
    file.unlink()
    check_damaged(file, start, junk)


def test_an_index_out_of_order_brings_no_replaced_score_back(tmp_path):
    # Found by searching: with each of these bytes changed, a key led to the row that had been replaced.
    damages = [(8_293, b"\x1d"), (8_281, b"\xf7"), (10_663, b"\x1a")]
    files = [tmp_path / str(start) / "scores.db" for start, _ in damages]
    for file, (start, junk) in zip(files, damages, strict=True):
        check_damaged(file, start, junk)
    assert any(asides(file) for file in files)


def test_a_file_of_the_first_version_is_set_aside(file, caplog):
    file.parent.mkdir()
    key = b"k" * 32
    with closing(sqlite3.connect(file)) as old:
        for table in FIRST_VERSION:
            old.execute(table)
        old.execute("insert into scores values (?, ?)", (key, json.dumps({"relevance_score": 0.5, "window": None})))
        old.commit()
    store = ScoreStore(file)
    assert store.get(key) is None
    store[key] = FULL
    store.close()
    assert asides(file) == ["scores.db.unreadable-1"]
    assert "of an earlier version" in caplog.text
    assert ScoreStore(file)[key] == FULL


def test_a_file_of_a_later_version_is_set_aside(file):
    for version in (99, 98):
        change(filled(file), f"pragma user_version = {version}")
        with closing(ScoreStore(file)) as store:
            assert len(store) == 0
    assert asides(file) == ["scores.db.unreadable-1", "scores.db.unreadable-2"]


def test_what_nobody_says_is_ours_stays_unless_it_is_the_machines_own(file, caplog):
    file.parent.mkdir()
    file.write_text("somebody's notes " * 100)
    before = file.read_bytes()
    with pytest.raises(InvalidRequestError, match="cannot hold scores"):
        ScoreStore(file)
    assert file.read_bytes() == before
    store = ScoreStore(file, ours=True)
    store[b"key"] = FULL
    assert (file.parent / "scores.db.unreadable-1").read_bytes() == before
    assert "unreadable-1" in caplog.text


def test_a_damaged_file_that_cannot_be_moved_leaves_memory(file, monkeypatch, caplog):
    filled(file)
    file.write_bytes(file.read_bytes()[:200])

    def refused(_file):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("rerank_core.evaluation.store.set_aside", refused)
    store = ScoreStore(file)
    store.get(b"key")
    store[b"key"] = FULL
    assert store[b"key"] == FULL
    assert store.failed
    assert "in memory only" in caplog.text


def test_an_error_of_the_caller_is_no_damage(file):
    store = ScoreStore(filled(file))
    with pytest.raises(sqlite3.Error):
        store.get(object())
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.get(b"key")
    assert asides(file) == []
    assert len(ScoreStore(file)) == 200


@pytest.mark.parametrize("options", [[], ["--cache"]])
def test_a_damaged_file_ends_no_evaluation(hand_written, file, options, monkeypatch):
    monkeypatch.setattr(systems, "default_file", lambda: file)
    arguments = ["evaluate", str(hand_written), *options, *([str(file)] if options else [])]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    for _ in range(2):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "this is a bug" not in done.output
        assert "Traceback" not in done.output
    assert "11 scores came from earlier runs" in " ".join(done.output.split())
    assert len(asides(file)) == 1


def test_tokens_outlive_the_run_and_times_do_not(beir, file):
    found = []
    for _ in range(2):
        store = ScoreStore(file)
        found += evaluate(load_data(beir), {"fake": FakeScorer()}, Plan(pool=True), store=store).rerankers
        store.close()
    first, second = found
    assert first.tokens == second.tokens > 0
    assert (first.seconds is None, second.seconds) == (False, None)
