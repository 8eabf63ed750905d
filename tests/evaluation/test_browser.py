"""The report in a real browser: light and dark, narrow and wide."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from rerank_core.evaluation import Plan, evaluate, load_data
from rerank_core.evaluation.page import write_page
from rerank_core.scoring import FakeScorer
from waiting import BOUND

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_page_is_drawn_in_every_size_and_scheme(beir, tmp_path):
    page = tmp_path / "page.html"
    write_page(evaluate(load_data(beir), {"fake": FakeScorer()}, Plan(pool=True)), page)
    pictures = set()
    for size in ("1200,1600", "380,1600"):
        for scheme in ("0", "1"):  # dark, light
            shot = tmp_path / f"{size}-{scheme}.png"
            flags = [f"--window-size={size}", f"--screenshot={shot}", f"--user-data-dir={tmp_path / 'profile'}"]
            flags += [f"--blink-settings=preferredColorScheme={scheme}", "--hide-scrollbars"]
            command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", *flags, page.as_uri()]
            subprocess.run(command, check=True, capture_output=True, timeout=BOUND)
            pictures.add(shot.read_bytes())
            assert len(shot.read_bytes()) > 10_000  # more than an empty page
    assert len(pictures) == 4
