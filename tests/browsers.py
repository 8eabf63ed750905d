"""The browser that pages are looked at in: this machine's Chromium, which reaches nothing beyond it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HERE_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@contextlib.contextmanager
def driven() -> Iterator[Any]:
    """A browser that Playwright drives."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", HERE_ONLY])
        yield started
        started.close()
