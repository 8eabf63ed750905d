"""``/``: the playground in a real browser that reaches nothing but the server. One browser for all tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

import browsers
from browsers import needs_browser
from rerank_core import Reranker
from rerank_core.scores import Score
from rerank_core.scoring import FakeScorer
from serving import serving
from waiting import BOUND

AXE = Path(__file__).resolve().parents[2] / "build" / "axe" / "package" / "axe.min.js"
QUERY = "What is machine learning?"
DOCUMENTS = [
    "Cats are popular pets.",
    "The weather is sunny.",
    "Machine learning is a subset of AI.",
]
LANGUAGES = ("python", "llama_index", "langchain", "haystack")


@pytest.fixture(scope="module")
def browser():
    with browsers.driven() as started:
        yield started


@pytest.fixture
def opened(browser):
    """A function that opens a server's page; what the browser had to complain about fails the test."""
    contexts, complaints = [], []

    def open_page(url, *, fragment="", **options):
        contexts.append(browser.new_context(bypass_csp=False, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(BOUND * 1000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("dialog", lambda dialog: complaints.append("a dialog") or dialog.dismiss())
        page.goto(f"{url}/{fragment}")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def fill(page, query=QUERY, documents=DOCUMENTS):
    page.get_by_label("Query").fill(query)
    page.get_by_label("Documents", exact=True).fill("\n".join(documents))


def fill_scored(page, scored):
    """Documents with a retriever's scores, as JSON."""
    page.get_by_label("item of a JSON array").check()
    items = [{"text": text, "score": score} for text, score in scored.items()]
    page.get_by_label("Documents", exact=True).fill(json.dumps(items))


def rank(page, **given):
    page.locator("#models input").first.wait_for()
    fill(page, **given)
    page.keyboard.press("Control+Enter")
    page.locator("#columns li").first.wait_for()


def violations(page):
    if not AXE.exists():
        pytest.skip("there is no axe-core in build/axe")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_the_page_and_its_files_come_from_the_server_alone(api):
    page = api.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"https?://|<script>|<style| style=| on\w+=", page.text)
    for name in re.findall(r'(?:src|href)="((?!data:)[^"]+)"', page.text):
        reply = api.http.get(f"/{name}")
        assert reply.status_code == 200, name
        assert reply.headers["x-content-type-options"] == "nosniff"
    seen, scripts = set(), ["/page/page.js"]
    while scripts:
        reply = api.http.get(scripts.pop())
        assert reply.status_code == 200
        assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|\\beval\\(", reply.text)
        found = {f"/page/{name}" for name in re.findall(r'from "\./([a-z]+\.js)"', reply.text)}
        scripts += found - seen
        seen |= found
    assert len(seen) > 3


def test_without_the_page_there_is_none():
    with serving(page=False, wait=False) as served:
        assert served.http.get("/").json()["error"]["code"] == "method_not_allowed"
        for path in ("/page/page.js", "/page/page.css"):
            reply = served.http.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
        assert served.http.get("/docs").status_code == 200


@needs_browser
def test_documents_are_ranked_with_scores_and_moves(api, opened):
    page = opened(api.url)
    rank(page)
    items = page.locator("#columns li")
    assert items.count() == 3
    assert "Machine learning is a subset" in items.first.inner_text()
    assert items.first.get_by_role("img", name="up 2").is_visible()
    meters = [float(meter.get_attribute("aria-valuenow")) for meter in page.get_by_role("meter").all()]
    assert meters == sorted(meters, reverse=True)
    assert [float(score) for score in page.locator(".score").all_inner_texts()] == meters
    assert re.search(r"\d+ ms, with sentences · \d+ tokens", page.locator(".column p").first.inner_text())
    assert "Ranked 3 documents" in page.get_by_role("status").inner_text()
    page.get_by_label("Threshold").fill("0.5")
    assert page.locator("li.below").count() == sum(meter < 0.5 for meter in meters) == 2
    assert "1 of 3 stay" in page.locator(".stay").inner_text()


@needs_browser
def test_models_stand_side_by_side(api, opened):
    page = opened(api.url)
    page.get_by_label("rerank-mini-en-v1").check()
    rank(page)
    page.locator(".column").nth(1).wait_for()
    assert page.get_by_role("heading", level=3).all_inner_texts() == ["bge-reranker-v2", "rerank-mini-en-v1"]


@needs_browser
def test_results_are_walked_through_with_the_keyboard(api, opened):
    page = opened(api.url)
    rank(page)
    page.get_by_role("button", name="Rank").focus()
    for key, place in (("j", 0), ("j", 1), ("k", 0)):
        page.keyboard.press(key)
        assert page.evaluate("[...document.querySelectorAll('#columns li')].indexOf(document.activeElement)") == place
    page.keyboard.press("Enter")
    assert page.locator(".text.whole").count() == 1


@needs_browser
def test_what_is_cut_is_said(api, opened):
    page = opened(api.url)
    rank(page, documents=["word " * 2000, "short"])
    assert page.get_by_text("longer than the model reads").count() == 1


LONG = "The committee met and talked about the budget \U0001f600. " * 20 + "Cats purr, and feline pets need little."


@needs_browser
def test_the_best_window_and_sentence_are_marked(opened):
    with serving(models=("rerank-mini-en-v1",), long_documents="windows", max_tokens=48) as served:
        page = opened(served.url)
        rank(page, query="feline pets", documents=["Dogs bark.", LONG])
        first = page.locator("#columns li").first
        assert first.locator("mark.sentence").all_text_contents() == ["Cats purr, and feline pets need little."]
        window = "".join(first.locator("mark").all_text_contents())
        assert LONG.endswith(window)
        assert len(window) < len(LONG) / 2
        assert first.locator(".text").text_content().replace("… ", "") == LONG
        assert first.locator("mark.sentence").is_visible()
        assert first.locator(".lead").is_hidden()
        assert re.search(r"Document 2 · \d+ tokens · best sentence 0\.\d+ · best window marked", first.inner_text())
        whole = first.get_by_role("button", name="Whole text")
        assert whole.get_attribute("aria-expanded") == "false"
        whole.click()
        assert first.locator(".lead").is_visible()
        assert first.get_by_role("button", name="Less").get_attribute("aria-expanded") == "true"
        assert page.locator("#columns li").nth(1).locator("mark, button:visible").count() == 0


@needs_browser
def test_nothing_is_marked_unasked(api, opened):
    page = opened(api.url)
    page.get_by_label("Mark the best").uncheck()
    rank(page, documents=["One. Two about machine learning.", "Three."])
    assert page.locator("#columns mark").count() == 0
    assert re.match(r"\d+ ms · ", page.locator(".column p").first.inner_text())
    assert "return_details" not in page.locator("#call").inner_text()


SCORED = {"cats": 0.1, "cats and dogs": 0.9, "rust": 0.5}


@needs_browser
@pytest.mark.parametrize(("order", "first"), [("", "cats"), ("0.75", "cats and dogs")])
def test_scores_of_a_retriever_count_where_wanted(opened, order, first):
    with serving(rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        page = opened(served.url)
        page.get_by_label("fake").wait_for()
        page.get_by_label("Query").fill("cats")
        fill_scored(page, SCORED)
        page.get_by_label("Order by").select_option(order)
        page.get_by_role("button", name="Rank").click()
        page.locator("#columns li").first.wait_for()
        assert page.locator(".text").first.inner_text() == first
        assert page.get_by_text("fused with the scores given").count() == bool(order)
        assert [
            f"retriever {SCORED[text]}" in page.locator("#columns li").nth(place).inner_text()
            for place, text in enumerate(page.locator(".text").all_inner_texts())
        ] == [True] * 3


@needs_browser
def test_the_order_of_the_documents_counts_where_there_are_no_scores(opened):
    with serving(rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        page = opened(served.url)
        page.get_by_label("Order by").select_option("0.75")
        assert page.get_by_text("no item has a score").is_visible()
        rank(page, query="cats", documents=["rust", "dogs", "cats"])
        assert page.get_by_text("fused with the order given").is_visible()
        assert page.locator(".text").first.inner_text() == "rust"


class Backwards(FakeScorer):
    """The opposite of what the other one says."""

    def score(self, query, texts):
        scores = super().score(query, texts)
        return replace(scores, items=tuple(Score(1 - each.relevance_score) for each in scores.items))

    async def ascore(self, query, texts):
        return self.score(query, texts)


@needs_browser
@pytest.mark.parametrize(("width", "lines"), [(1280, 3), (360, 0)])
def test_lines_show_where_two_models_place_a_document(opened, width, lines):
    rerankers = {"one": Reranker(scorer=FakeScorer()), "two": Reranker(scorer=Backwards())}
    with serving(rerankers=rerankers) as served:
        page = opened(served.url, viewport={"width": width, "height": 800})
        page.get_by_label("two").check()
        rank(page, query="cats purr", documents=["cats purr", "cats", "rust"])
        page.locator(".column").nth(1).wait_for()
        assert page.locator("svg.lines path").count() == lines
        assert page.locator("svg.lines path.moves").count() == (2 if lines else 0)
        page.locator(".column").nth(1).locator("li").first.hover()
        assert page.locator("#columns li.same .text").all_inner_texts() == ["rust"] * 2
        assert page.locator("svg.lines path.same").count() == bool(lines)


@needs_browser
def test_what_stays_is_what_the_threshold_and_the_limit_leave(api, opened):
    page = opened(api.url)
    rank(page, documents=[*DOCUMENTS, "Deep learning is machine learning with neural networks."])
    page.get_by_label("Threshold").fill("0.1")
    page.get_by_label("At most").fill("1")
    assert "1 of 4 stay" in page.locator(".stay").inner_text()
    assert page.locator("li:not(.below) .rank").all_inner_texts() == ["1"]
    page.get_by_label("At most").blur()
    again = opened(api.url, fragment="#" + page.url.partition("#")[2])
    assert again.get_by_label("At most").input_value() == "1"


@needs_browser
def test_the_address_keeps_all_but_the_key(api, opened):
    page = opened(api.url)
    page.get_by_label("API key").fill("sesame-4711")
    rank(page)
    assert "sesame" not in page.url
    again = opened(api.url, fragment="#" + page.url.partition("#")[2])
    assert again.get_by_label("Query").input_value() == QUERY
    assert again.get_by_label("Documents", exact=True).input_value() == "\n".join(DOCUMENTS)
    assert not again.get_by_label("API key").input_value()


@needs_browser
def test_the_address_keeps_the_choices(api, opened):
    page = opened(api.url)
    page.get_by_label("Order by").select_option("rrf")
    page.get_by_label("Mark the best").uncheck()
    rank(page)
    again = opened(api.url, fragment="#" + page.url.partition("#")[2])
    assert again.get_by_label("Order by").input_value() == "rrf"
    assert not again.get_by_label("Mark the best").is_checked()


@needs_browser
def test_an_address_of_nonsense_gives_the_usual_choices(api, opened):
    page = opened(api.url, fragment="#u=nonsense&f=nonsense&t=nonsense&n=-3&s=nonsense&m=nonsense")
    rank(page)
    assert page.get_by_label("Order by").input_value() == ""
    assert page.get_by_label("Mark the best").is_checked()
    assert page.get_by_label("line").is_checked()
    assert page.locator("#columns li.below").count() == 0


@needs_browser
def test_hostile_texts_are_shown_as_they_are(api, opened):
    hostile = ["<img src=x onerror=alert(1)>", "</textarea><script>alert(2)</script>", "'; alert(3); //", "$(id) `id`"]
    page = opened(api.url, fragment=f"#q={quote(hostile[0])}&d={quote(hostile[1])}&m={quote(hostile[0])}")
    rank(page, query=hostile[0], documents=hostile)
    assert sorted(page.locator(".text").all_inner_texts()) == sorted(hostile)
    assert page.locator("main img, main script").count() == 0


@needs_browser
@pytest.mark.parametrize(
    ("query", "documents", "by", "said"),
    [
        ("", "one", "line", "There is no query"),
        ("q", "", "line", "There are no documents"),
        ("q", "{", "json", "no valid JSON"),
        ("q", "{}", "json", "no array"),
        ("q", "\n".join(map(str, range(101))), "line", "100"),
    ],
)
def test_what_is_wrong_is_said(api, opened, query, documents, by, said):
    page = opened(api.url, fragment=f"#q={query}&d={quote(documents)}&f={by}")
    page.locator("#models input").first.wait_for()
    page.get_by_role("button", name="Rank").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert said in alert.inner_text()


@needs_browser
def test_a_locked_server_asks_for_a_key(opened):
    with serving(api_keys=("sesame-4711",), rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        page = opened(served.url)
        page.get_by_role("status").get_by_text("API key is missing").wait_for()
        page.get_by_label("API key").fill("wrong")
        page.get_by_label("API key").blur()
        page.get_by_role("status").get_by_text("refused").wait_for()
        page.get_by_label("API key").fill("sesame-4711")
        page.get_by_label("API key").blur()
        rank(page)
        assert "$RERANK_API_KEY" in page.locator("#call").inner_text()
        assert "sesame" not in page.locator("#call").inner_text()


@needs_browser
def test_a_key_counts_as_soon_as_it_is_typed(opened):
    with serving(api_keys=("sesame-4711",), rerankers={"fake": Reranker(scorer=FakeScorer())}) as served:
        page = opened(served.url)
        page.get_by_role("status").get_by_text("API key is missing").wait_for()
        fill(page)
        page.get_by_label("API key").fill("wrong")
        page.keyboard.press("Control+Enter")
        page.get_by_role("alert").get_by_text("missing or refused").wait_for()
        page.get_by_label("API key").fill("sesame-4711")
        page.keyboard.press("Control+Enter")
        page.locator("#columns li").first.wait_for()


@needs_browser
def test_a_slow_model_can_be_cancelled(opened, gated):
    with serving(rerankers={"slow": Reranker(scorer=gated)}) as served:
        page = opened(served.url)
        page.get_by_label("slow").wait_for()
        fill(page)
        page.keyboard.press("Control+Enter")
        page.get_by_text("Ranking 3 documents").wait_for()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled.").wait_for()
        gated.open.set()
        page.get_by_role("button", name="Rank").click()
        page.locator("#columns li").first.wait_for()


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_is_accessible_and_fits(api, opened, scheme, width):
    page = opened(api.url, color_scheme=scheme, viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page.get_by_label("rerank-mini-en-v1").check()
    rank(page)
    page.locator(".column").nth(1).wait_for()
    fill_scored(page, dict.fromkeys([LONG, *DOCUMENTS], 0.5))
    page.get_by_label("Order by").select_option("rrf")
    page.get_by_role("button", name="Rank").click()
    page.locator("#columns li").nth(7).wait_for()
    page.get_by_label("Threshold").fill("0.5")
    assert page.locator("mark").count() > 0
    assert overflow(page) <= 0
    assert violations(page) == []


@needs_browser
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("fusion", ["", "0.75"])
def test_the_code_shown_runs_and_ranks_the_same(opened, language, fusion, capsys, monkeypatch):
    """With a key, a threshold and a limit, and scores that count or do not."""
    monkeypatch.setenv("RERANK_API_KEY", "sesame-4711")
    with serving(rerankers={"fake": Reranker(scorer=FakeScorer())}, api_keys=("sesame-4711",)) as served:
        page = opened(served.url)
        page.get_by_label("API key").fill("sesame-4711")
        page.get_by_label("API key").blur()
        page.get_by_label("fake").wait_for()
        page.get_by_label("Query").fill('cats and "dogs"\\')
        fill_scored(page, {"rust": 0.3, "cats": 0.1, "dogs and cats": 0.9, "dogs": 0.2})
        page.get_by_label("Order by").select_option(fusion)
        page.get_by_role("button", name="Rank").click()
        page.locator("#columns li").first.wait_for()
        page.get_by_label("Threshold").fill("0.01")
        page.get_by_label("At most").fill("2")
        page.get_by_label("Language").select_option(language)
        code = page.locator("#call").inner_text()
        assert "sesame" not in code
        exec(compile(code, language, "exec"), {})  # noqa: S102  (the code is ours)
        kept = page.locator("li:not(.below)")
        wanted = kept.evaluate_all("items => items.map(item => item.dataset.index)")
        if language != "python":
            wanted = kept.locator(".text").all_inner_texts()
    printed = capsys.readouterr().out.splitlines()
    said = [line.split(" ")[0] if language == "python" else line.partition(" ")[2] for line in printed]
    assert said == wanted
    assert len(said) == 2


@needs_browser
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("threshold", ["0", "0.5"])
def test_the_command_shown_runs_and_ranks_the_same(api, opened, threshold):
    page = opened(api.url)
    page.get_by_label("Order by").select_option("rrf")
    rank(page, query='What\'s "machine learning"? $HOME `id`')
    page.get_by_label("Threshold").fill(threshold)
    page.get_by_label("At most").fill("2")
    command = page.locator("#call").inner_text()
    assert ("of its results, keep the first 2" in command) == (threshold != "0")
    ran = subprocess.run(["sh", "-c", command], capture_output=True, check=True, text=True)  # noqa: S607
    found = [str(each["index"]) for each in json.loads(ran.stdout)["results"]]
    shown = page.locator("#columns li").evaluate_all("items => items.map(item => item.dataset.index)")
    assert found == (shown if threshold != "0" else shown[:2])
