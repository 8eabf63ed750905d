"""The same jobs on a Ray of their own: the output of one process, whatever is killed on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial

import pytest

from own_ray import LONG, MARK, end, marked, own_ray
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
