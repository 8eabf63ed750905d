"""The report in a real browser: light and dark, narrow and wide, with and without its script."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from browsers import CHROMIUM, needs_browser
from rerank_core.evaluation import Plan, Report, evaluate, load_data, write_page
from rerank_core.scoring import FakeScorer
from waiting import BOUND

AXE = Path(__file__).resolve().parents[2] / "build" / "axe" / "package" / "axe.min.js"
"""https://github.com/dequelabs/axe-core, which ``.ci/run`` fetches."""

pytestmark = needs_browser


@pytest.fixture
def page(beir, tmp_path):
    """A report of three queries, two systems and two first stages."""
    data, systems, file = load_data(beir), {"fake": FakeScorer(), "other": FakeScorer("other")}, tmp_path / "page.html"
    write_page(Report(tuple(evaluate(data, systems, plan) for plan in (Plan(pool=True), Plan()))), file)
    return file


def chromium(folder, page, *flags, size="1200,1600", scheme="1"):
    common = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}",
    ]
    flags = [*common, f"--window-size={size}", f"--blink-settings=preferredColorScheme={scheme}", *flags]
    return subprocess.run(
        [CHROMIUM, *flags, page.as_uri()], check=True, capture_output=True, timeout=BOUND, encoding="utf-8"
    ).stdout


def with_script(page, script, name):
    """The page with one more script, which runs last and leaves what it returns in the document, as JSON."""
    text = page.read_text(encoding="utf-8")
    left = f"""<script>(async () => {{ {script} }})().then(found => {{
        const place = document.createElement("pre");
        place.id = "found";
        place.textContent = JSON.stringify(found);
        document.body.append(place);
    }})</script>"""
    file = page.with_name(name)
    file.write_text(text.replace("</body>", f"{left}</body>"), encoding="utf-8")
    return file


def result_of(folder, page, script, **options):
    dumped = chromium(
        folder, with_script(page, script, "script.html"), "--dump-dom", "--virtual-time-budget=60000", **options
    )
    (found,) = re.findall(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)
    return json.loads(html.unescape(found))


def test_the_page_is_drawn_in_every_size_and_scheme(page, tmp_path):
    pictures = set()
    for size in ("1200,1600", "380,1600"):
        for scheme in ("0", "1"):  # dark, light
            shot = tmp_path / f"{size}-{scheme}.png"
            chromium(tmp_path, page, f"--screenshot={shot}", size=size, scheme=scheme)
            pictures.add(shot.read_bytes())
            assert len(shot.read_bytes()) > 10_000  # more than an empty page
    assert len(pictures) == 4


def test_rows_are_searched_filtered_and_sorted(page, tmp_path):
    found = result_of(
        tmp_path,
        page,
        """
        const table = document.querySelector(".queries");
        const shown = () => [...table.querySelectorAll("tbody tr")].filter(row => !row.hidden)
            .map(row => row.querySelector("summary").textContent);
        const set = (selector, value) => {
            const each = document.querySelector(selector);
            each.value = value;
            each.dispatchEvent(new Event("input"));
        };
        const all = shown();
        set("#search0", "FELINE pets");
        const searched = shown();
        const said = document.querySelector("output").textContent;
        set("#search0", "");
        document.querySelector(".queries thead th button").click();
        const sorted = shown(), order = document.querySelector(".queries thead th").getAttribute("aria-sort");
        set("#kind0", "lost");
        const lost = shown();
        set("#kind0", "");
        return {all, searched, said, sorted, order, lost,
            rows: [...table.querySelectorAll("tbody tr")].map(row => row.dataset.s0)};
        """,
    )
    assert len(found["all"]) == 3
    assert found["searched"] == ["feline pets"]
    assert found["said"] == "1 of 3 queries"
    assert found["sorted"] == sorted(found["all"], key=str.lower)
    assert found["order"] == "ascending"
    assert len(found["lost"]) == sum("lost" in kinds.split() for kinds in found["rows"])


def test_figures_are_in_view_at_360_pixels_and_nothing_is_wider_than_the_window(page, tmp_path):
    found = result_of(
        tmp_path,
        page,
        """
        const frame = document.createElement("iframe");
        frame.style.cssText = "width:360px;height:2000px;border:0";
        frame.srcdoc = document.documentElement.outerHTML.replace(/<script[^]*?<\\/script>/g, "");
        const loaded = new Promise(done => frame.addEventListener("load", done));
        document.body.append(frame);
        await loaded;
        const inside = frame.contentDocument;
        return {width: inside.documentElement.scrollWidth,
            cells: [...inside.querySelectorAll("td")].filter(cell => cell.offsetParent !== null)
                .map(cell => cell.getBoundingClientRect().right)};
        """,
    )
    assert found["width"] <= 360
    assert found["cells"]
    assert max(found["cells"]) <= 360


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not in build/axe")
@pytest.mark.parametrize("size", ["1200,1600", "360,1600"])
@pytest.mark.parametrize("scheme", ["0", "1"])
def test_axe_finds_no_violation(page, tmp_path, size, scheme):
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"<script>{AXE.read_text(encoding='utf-8')}</script></body>"))
    script = """
        document.querySelectorAll("details").forEach(each => each.open = true);
        const found = await axe.run(document, {resultTypes: ["violations"]});
        return found.violations.map(each => [each.id, each.nodes.map(node => node.html.slice(0, 200))]);
    """
    assert result_of(tmp_path, page, script, size=size, scheme=scheme) == []
