"""The documentation as a site: it builds without a warning, needs no network, and lists all its pages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import browsers
from browsers import needs_browser
from waiting import BOUND

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")
pytest.importorskip("furo")

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page.relative_to(ROOT / "docs").with_suffix("") for page in (ROOT / "docs").rglob("*.md"))
# What a browser fetches by itself; links in the text may lead anywhere.
FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)|<link\b[^>]*\bhref=\"([^\"]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning is an error."""
    made = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-E", ROOT / "docs", made]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


def test_every_markdown_file_is_a_page(site):
    assert [page for page in PAGES if not (site / f"{page}.html").exists()] == []


def test_the_site_fetches_nothing_from_elsewhere(site):
    fetched = {
        (script or link).strip()
        for page in site.rglob("*.html")
        for script, link in FETCHED.findall(page.read_text(encoding="utf-8"))
    }
    assert len(fetched) > 5
    assert [address for address in fetched if re.match(r"(?:https?:)?//", address)] == []


def test_options_read_as_they_are_typed(site):
    assert "use --pool" in (site / "commands.html").read_text(encoding="utf-8")


def test_search_knows_every_page_without_a_server(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert [page for page in PAGES if f'"{page}"' not in index] == []
    assert 'src="searchindex.js"' in (site / "search.html").read_text(encoding="utf-8")


@needs_browser
def test_a_browser_searches_the_files_themselves(site):
    with browsers.driven() as browser:
        page = browser.new_page()
        page.set_default_timeout(BOUND * 1000)
        page.goto((site / "index.html").as_uri())
        page.get_by_placeholder("Search").fill("keep_order")
        page.keyboard.press("Enter")
        page.locator("ul.search").get_by_role("link", name="Stay up when the reranker fails").first.wait_for()


@needs_browser
def test_no_page_is_wider_than_a_telephone(site):
    with browsers.driven() as browser:
        page = browser.new_page(viewport={"width": 360, "height": 740})
        page.set_default_timeout(BOUND * 1000)
        wide = []
        for name in PAGES:
            page.goto((site / f"{name}.html").as_uri())
            if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
                wide.append(str(name))
    assert wide == []


def test_llms_txt_lists_every_page_with_what_it_is_about(site):
    lines = (site / "llms.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# rerank-plugins"
    entries = [re.fullmatch(r"- \[.+\]\((.+?)\)(.*)", line) for line in lines if line.startswith("- ")]
    listed = {entry[1]: entry[2] for entry in entries}
    assert sorted(listed) == sorted(f"{page}.html" for page in PAGES)
    assert listed["how-to/fusion.html"].startswith(": A dense retriever")
