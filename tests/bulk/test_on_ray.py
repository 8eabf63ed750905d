"""The same jobs on a Ray of their own: the output of one process, whatever is killed on the way."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import random
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest

from own_ray import LONG, MARK, end, marked, own_ray
from rerank_core.bulk import Job
from rerank_core.bulk.job import Part
from rerank_core.bulk.on_ray import _Gate, _shared_out, _Worker
from serving import serving
from waiting import BOUND, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.timeout(3600)]

TOPICS = ("refunds", "parcels", "offices", "cats", "dogs")


@pytest.fixture
def environment():
    with own_ray() as changes:
        yield os.environ | changes


@pytest.fixture
def files(tmp_path):
    """Two files of pairs, with some rows that are none."""
    sample = random.Random(5)
    for name in ("a", "b"):
        rows = [
            json.dumps(
                {"query": f"where are {sample.choice(TOPICS)}", "document": f"{number} {sample.choice(TOPICS)}."}
            )
            for number in range(300)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join([*rows, "{", '{"query": ""}']))
    return [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]


def command(files, output, *more):
    options = ["-m", "rerank-tiny-en-v1", "--rows-per-part", "10", "--json", *more, "-o", output]
    return [sys.executable, "-m", "rerank_core", "bulk", *map(str, [*files, *options])]


def run(files, output, environment, *more):
    """What the command says it did."""
    done = subprocess.run(
        command(files, output, *more), env=environment, capture_output=True, text=True, timeout=LONG, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def read(folder, kind):
    texts = {file.name: file.read_text() for file in sorted(folder.glob(f"{kind}-*.jsonl"))}
    return {name: [json.loads(line) for line in text.splitlines()] for name, text in texts.items()}


def assert_equal(one, other):
    """The same parts, row for row; scores up to what a batch's company changes."""
    parts, expected = read(one, "part"), read(other, "part")
    assert parts.keys() == expected.keys()
    for name, rows in parts.items():
        for row, wanted in zip(rows, expected[name], strict=True):
            assert row["relevance_score"] == pytest.approx(wanted["relevance_score"], abs=1e-6)
            assert row | {"relevance_score": 0, "logit": 0} == wanted | {"relevance_score": 0, "logit": 0}
    assert read(one, "rejects") == read(other, "rejects")


def test_a_job_on_ray_is_the_job_in_one_process(files, tmp_path, environment):
    on_ray = run(files, tmp_path / "ray", environment, "--engine", "ray")
    here = run(files, tmp_path / "here", environment, "--engine", "local")
    counts = {"rows": 604, "scored": 600, "rejects": 4, "pairs": 600, "kept": 0}
    assert {name: on_ray[name] for name in counts} == {name: here[name] for name in counts} == counts
    assert_equal(tmp_path / "ray", tmp_path / "here")
    again = run(files, tmp_path / "ray", environment, "--engine", "local")
    assert again["kept"] == 604  # one engine knows what the other has done


def test_whatever_is_killed_the_output_is_the_same(files, tmp_path, environment):
    output, mark = tmp_path / "ray", environment[MARK]
    for victim, least in (("driver", 4), ("worker", 12)):
        process = subprocess.Popen(
            command(files, output, "--engine", "ray"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(partial(has_parts, output, least, process), bound=LONG)
        if victim == "driver":
            process.kill()
            process.wait(BOUND)
            end(mark)  # what a driver leaves ends by itself, some time later
        else:
            kill_a_worker(mark)
            assert process.wait(LONG) == 0  # Ray has another do its work
    run(files, tmp_path / "here", environment, "--engine", "local")
    assert_equal(output, tmp_path / "here")


def has_parts(folder, least, process):
    return len([*folder.glob("done-*")]) >= least or process.poll() is not None


def kill_a_worker(mark):
    """One that scores, if the job is not over."""
    scoring = [number for number, line in marked(mark).items() if line.startswith(b"ray::MapWorker")]
    for number in scoring[:1]:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def test_too_many_rejects_end_a_job_on_ray_too(files, tmp_path, environment):
    done = subprocess.run(
        command(files, tmp_path / "out", "--engine", "ray", "--max-rejects", "1"),
        env=environment, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "rows are bad, and 1 may be" in done.stderr


def test_workers_may_ask_an_api(files, tmp_path, environment):
    """Which has no threads of the engine, so that Ray's CPUs must not become any."""
    with serving(models=("rerank-tiny-en-v1=rerank-tiny-en-v1",)) as server:
        on_ray = run(files, tmp_path / "ray", environment, "--engine", "ray", "--base-url", server.url)
    assert (on_ray["scored"], on_ray["rejects"]) == (600, 4)


def test_threads_that_are_asked_for_are_used():
    assert _shared_out({"model": "a"}, 3) == {"model": "a", "threads": 3}
    assert _shared_out({"threads": None}, 3) == {"threads": 3}
    assert _shared_out({"threads": 2}, 3) == {"threads": 2}
    assert _shared_out({"threads": None, "base_url": "http://127.0.0.1:9"}, 3)["threads"] is None


def test_a_worker_whose_model_is_another_one_scores_nothing(files, tmp_path):
    worker = _Worker(Job(files, tmp_path / "out"), {"model": "rerank-tiny-en-v1"}, "another")
    done = worker({"part": [pickle.dumps(Part("0000-00000", [], {}))]}).to_pylist()
    error = pickle.loads(done[0]["done"])
    assert "and the job's is another: their machines are not alike" in str(error)
    assert error.code == "another_model"


@pytest.mark.parametrize(
    ("name", "options", "code", "message"),
    [
        ("a.csv", ["-m", "rerank-tiny-en-v1"], 2, "a.csv: this is no CSV in UTF-8"),
        ("a.jsonl", ["-m", "none", "--base-url", "http://127.0.0.1:9"], 3, "127.0.0.1:9"),
        ("a.jsonl", ["-m", "/there/is/none"], 3, "/there/is/none"),
    ],
)
def test_errors_of_readers_and_workers_are_told_as_in_one_process(tmp_path, environment, name, options, code, message):
    (tmp_path / name).write_bytes(
        b'{"query": "a", "document": "b"}' if name == "a.jsonl" else b"query,document\n\xff,a\n"
    )
    said = []
    for engine in ("ray", "local"):
        done = subprocess.run(
            [*command([tmp_path / name], tmp_path / engine, "--engine", engine), *options],
            env=environment, capture_output=True, text=True, timeout=LONG, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        said.append(done.stderr)
    assert message in said[0]
    assert said[0].endswith(said[1])  # before it Ray's core may have a line about itself
    assert len(said[0].splitlines()) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cpus-per-worker", "4096"], "a worker needs 4096 CPUs, and this machine has "),
        (["--gpus-per-worker", "64"], "a worker needs 64 GPUs, and this machine has "),
    ],
)
def test_a_worker_that_this_machine_has_no_room_for_is_not_waited_for(files, tmp_path, environment, options, message):
    done = subprocess.run(
        command(files, tmp_path / "out", "--engine", "ray", *options),
        env=environment, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "out").exists()


def test_only_so_many_parts_are_under_way():
    async def parts_come_and_go():
        gate = _Gate(2)
        await gate.enter("a")
        await gate.enter("b")
        await gate.enter("a")  # a reader that begins again
        waiting = asyncio.create_task(gate.enter("c"))
        await asyncio.sleep(0)
        assert not waiting.done()
        await gate.leave("b")
        await waiting

    asyncio.run(parts_come_and_go())


def test_a_run_is_joined_on_ray_too(tmp_path, environment):
    (tmp_path / "queries.tsv").write_text("q1\twhere are cats\nq2\twhere are dogs\n")
    (tmp_path / "texts.tsv").write_text("".join(f"d{i}\t{TOPICS[i % 5]} are at {i}\n" for i in range(60)))
    run_lines = [f"q{1 + i // 50} Q0 d{i * 7 % 60} {i} {100 - i} first" for i in range(100)]
    (tmp_path / "first.trec").write_text("\n".join([*run_lines, "q3 Q0 d1 1 1 first"]))
    texts = ["--queries", tmp_path / "queries.tsv", "--texts", tmp_path / "texts.tsv", "--format", "trec"]
    found = {}
    for engine in ("ray", "local"):
        done = run([tmp_path / "first.trec"], tmp_path / engine, environment, "--engine", engine, *texts)
        assert (done["scored"], done["rejects"]) == (100, 1)
        parts = {each.name: each.read_text() for each in (tmp_path / engine).glob("part-*.trec")}
        found[engine] = {name: [line.split()[:4] for line in text.splitlines()] for name, text in parts.items()}
    assert found["ray"] == found["local"]


PIPELINE = """
from pathlib import Path

import ray
from rerank_core.bulk import Job, RerankBatch
from rerank_core.bulk.on_ray import run_on_ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
rows = [{"query": "feline pets", "document": text, "n": i} for i, text in enumerate(["Dogs bark.", "Cats purr.", ""])]
rows.append({"query": "", "document": "a", "n": 3})
scored = ray.data.from_items(rows).map_batches(
    RerankBatch, fn_constructor_kwargs={"model": "rerank-tiny-en-v1", "threads": 1}, batch_size=4, concurrency=1
)
for row in sorted(scored.take_all(), key=lambda row: row["n"]):
    print(row["n"], row["rank"], row["reject"], row["model"], len(row["id"] or ""))
before = ray.data.DataContext.get_current().target_max_block_size
Path("in.jsonl").write_text('{"query": "a", "document": "b"}')
totals = run_on_ray(Job([Path("in.jsonl")], Path("out")), {"model": "rerank-tiny-en-v1"})
assert totals.scored == 1
assert ray.is_initialized() and ray.data.DataContext.get_current().target_max_block_size == before
"""


def test_a_pipeline_of_ones_own_scores_batches_and_keeps_its_ray(tmp_path, environment):
    done = subprocess.run(
        [sys.executable, "-c", PIPELINE],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, third, bad = (line.split() for line in done.stdout.splitlines())
    assert [first[0], second[:2], third[0]] == ["0", ["1", "1"], "2"]
    assert first[2:] == ["None", "rerank-tiny-en-v1", "32"]
    assert " ".join(bad) == "3 None column 'query' is blank None 0"
