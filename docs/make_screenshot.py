"""``python docs/make_screenshot.py``: makes ``docs/playground.png``, the playground with a ranking of its sample.

Needs Chromium, playwright, and a server: ``rerank serve``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "playground.png"


def main(
    url: str = "http://127.0.0.1:8000", file: str = str(PICTURE), width: str = "1280", scheme: str = "light"
) -> None:
    """Rank the sample with all models offered, up to three, and keep the page down to the ranking as a picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        dark = scheme == "dark"
        page = browser.new_page(viewport={"width": int(width), "height": 900}, color_scheme="dark" if dark else "light")
        page.goto(url)
        page.locator("#models input").first.wait_for()
        for box in page.locator("#models input").all()[:3]:
            box.check()
        page.get_by_role("button", name="Use a sample").click()
        page.get_by_role("button", name="Rank").click()
        page.locator("#columns li").first.wait_for()
        page.get_by_label("Threshold").fill("0.2")
        page.get_by_role("heading", name="Rerank playground").click()
        page.locator("section[aria-labelledby=calls]").evaluate("part => part.remove()")
        page.screenshot(path=file, full_page=True)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
