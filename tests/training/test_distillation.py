"""The second version's recipe, on the CPU and on small shapes."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rerank_core.inference.backends.onnx import OnnxBackend
from rerank_core.models.source import BUNDLED
from training import starts
from training.bodies import e5
from training.corpus import CHOOSE, TRAIN, Collection, Query, Triple
from training.distillation.bundled import read_bundled
from training.distillation.candidates import (
    Depths,
    FirstStages,
    Lists,
    bm25_scores,
    bm25_weights,
    first_of_each,
    joined,
    mine,
)
from training.distillation.choosing import across_kinds, by_source, fit_weights, mean_of_kinds, ndcg, shortened
from training.distillation.encodings import cosines, encode, maxsim
from training.distillation.finishing import (
    calibrate,
    calibration_pairs,
    choose_mix,
    choose_share,
    export,
    sample_inputs,
)
from training.distillation.questions import number_through
from training.distillation.scoring import Reader, pairs_of, spread_out
from training.distillation.students import MINI, PLANS, SMALL, SOURCES, from_body, fuse, nonnegative_weights, start_mix
from training.distillation.taught import Taught
from training.distillation.teacher import FEATURES, BiEncoder, Teacher, build
from training.distillation.texts import Texts, by_length, inverse_document_frequency
from training.distillation.training import (
    Batch,
    Draw,
    Material,
    list_chances,
    losses,
    parameter_groups,
    rate_factor,
    train,
    triple_chances,
)
from training.distillation.vocabulary import english_e5, english_words, kept_pieces
from training.export import arrays, checksums
from training.lexical import inverse_document_frequency as idf_of_strings
from training.model import EncoderShape, RerankMini
from training.packed_e5 import PackedE5
from training.selection import DevelopmentPairs, list_ndcg
from training.tokenizer import collate, pair_ids
from training.train import TRAINED

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
V1 = BUNDLED["rerank-mini-en-v1"]
SENTENCES = [
    "Download the wheel, then install it without a network.",
    "The cat sleeps on the mat all day, and the dog sleeps beside the cat.",
    "A mirror of the index serves packages where no network is.",
    "Ships leave the harbour when the tide is high.",
    "",
    "Glaciers move slowly down the valley towards the sea. " * 4,
    "install install network",
]
SHAPE = EncoderShape(vocab_size=30522, positions=512, layers=2, hidden=24, heads=3, intermediate=48)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(V1 / "tokenizer.json"))


@pytest.fixture(scope="module")
def texts(tokenizer):
    return Texts(tokenizer, SENTENCES, [200] * len(SENTENCES), CPU)


def model_of(seed: int = 0) -> RerankMini:
    torch.manual_seed(seed)
    size = SHAPE.vocab_size
    model = RerankMini(np.ones(size, np.float32), np.zeros(size, np.uint8), gate=-1.0, shape=SHAPE)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def ids_of(tokenizer, row: int) -> list[int]:
    return tokenizer.encode(SENTENCES[row], add_special_tokens=False).ids


rows_of_texts = st.integers(0, len(SENTENCES) - 1)


@given(
    st.lists(st.tuples(rows_of_texts, rows_of_texts), min_size=1, max_size=6), st.integers(1, 30), st.integers(1, 60)
)
@settings(deadline=None)
def test_pair_blocks_are_those_of_pair_ids(tokenizer, texts, pairs, query_limit, document_limit) -> None:
    queries, documents = (torch.tensor(side) for side in zip(*pairs, strict=True))
    found = texts.pairs(queries, documents, (query_limit, document_limit))
    cut = [(ids_of(tokenizer, one)[:query_limit], ids_of(tokenizer, two)[:document_limit]) for one, two in pairs]
    wanted = collate([pair_ids(one, two, 512) for one, two in cut])
    width = wanted.input_ids.shape[1]
    assert found.input_ids.shape[1] % 8 == 0
    for own, other in zip(found, wanted, strict=True):
        assert torch.equal(own[:, :width], other)
        assert not own[:, width:].any()
    lengths = texts.pair_lengths(queries, documents, (query_limit, document_limit))
    assert torch.equal(lengths, wanted.attention_mask.sum(1))


@given(st.lists(rows_of_texts, min_size=1, max_size=6), st.integers(1, 60))
@settings(deadline=None)
def test_blocks_of_texts_alone_have_their_special_tokens(tokenizer, texts, rows, limit) -> None:
    found = texts.alone(torch.tensor(rows), limit)
    for row, ids, mask in zip(rows, found.input_ids.tolist(), found.attention_mask.tolist(), strict=True):
        wanted = [101, *ids_of(tokenizer, row)[:limit], 102]
        assert ids == wanted + [0] * (len(ids) - len(wanted))
        assert sum(mask) == len(wanted)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_blocks_hold_every_row_once_and_not_too_many_tokens(lengths: list[int], tokens: int) -> None:
    found = by_length(torch.tensor(lengths, dtype=torch.long), tokens)
    assert sorted(row for block in found for row in block.tolist()) == list(range(len(lengths)))
    for block in found:
        assert len(block) == 1 or len(block) * max(lengths[row] for row in block.tolist()) <= tokens


def test_the_idf_is_that_of_the_texts(tokenizer, texts) -> None:
    found = inverse_document_frequency(texts, torch.arange(len(SENTENCES)), 30522)
    assert found.numpy() == pytest.approx(idf_of_strings(tokenizer, SENTENCES, 30522), abs=1e-5)


@pytest.fixture(scope="module")
def encodings(texts):
    return encode(model_of(), texts, 64, limit=40)


def test_encodings_do_not_depend_on_the_block(texts, encodings) -> None:
    model = model_of()
    for row in range(len(SENTENCES)):
        (alone,) = (encode(model, replace_rows(texts, [row]), 10_000, limit=40),)
        start, length = int(encodings.start[row]), int(encodings.length[row])
        assert encodings.means[row].numpy() == pytest.approx(alone.means[0].numpy(), abs=1e-5)
        own = encodings.tokens[start : start + length].float()
        assert own.numpy() == pytest.approx(alone.tokens[:length].float().numpy(), abs=2e-3)


def replace_rows(texts: Texts, rows: list[int]) -> Texts:
    """Only some of the texts."""
    part = copy.copy(texts)
    part.length, part.start = texts.length[rows], texts.start[rows]
    return part


def test_maxsim_is_that_of_the_untrained_starts(texts, encodings) -> None:
    idf = inverse_document_frequency(texts, torch.arange(len(SENTENCES)), 30522)
    queries, candidates = torch.tensor([0, 4, 3]), torch.tensor([[1, 2, 4, 5], [0, 1, 2, 3], [3, 3, 6, 5]])
    found = maxsim(encodings, texts, idf, queries, candidates)

    def encoded(row: int) -> starts.Encodings:
        start, length = int(encodings.start[row]), int(encodings.length[row])
        tokens = encodings.tokens[start : start + length].float()[None]
        ids = texts.ids[texts.start[row] : texts.start[row] + length].tolist()
        return starts.Encodings(tokens, encodings.means[row][None], ids)

    for row, query in enumerate(queries.tolist()):
        for column, document in enumerate(candidates[row].tolist()):
            expected = starts.maxsim(encoded(query), encoded(document), idf).item()
            assert found[row, column].item() == pytest.approx(expected, abs=5e-3)
    expected = (encodings.means[queries][:, None] * encodings.means[candidates]).sum(-1)
    assert cosines(encodings, queries, candidates).numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_bm25_is_its_formula(tokenizer, texts) -> None:
    rows = torch.tensor([0, 1, 2, 3, 5, 6])
    weights = bm25_weights(texts, rows, 30522)
    queries = torch.tensor([6, 1])
    found = bm25_scores(weights, texts, queries)
    documents = [ids_of(tokenizer, row) for row in rows.tolist()]
    average = np.mean([len(ids) for ids in documents])
    for row, query in enumerate(queries.tolist()):
        for column, ids in enumerate(documents):
            expected = 0.0
            for piece in set(ids_of(tokenizer, query)):
                containing = sum(piece in other for other in documents)
                idf = math.log(1 + (len(documents) - containing + 0.5) / (containing + 0.5))
                count = ids.count(piece)
                expected += idf * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(ids) / average))
            assert found[row, column].item() == pytest.approx(expected, abs=1e-4)
    assert int(found[0].argmax()) == 5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.randoms())
def test_a_candidate_counts_once(candidates: list[int], random) -> None:
    valid = [random.random() < 0.7 for _ in candidates]
    found = first_of_each(torch.tensor([candidates]), torch.tensor([valid]))[0].tolist()
    seen: set[int] = set()
    for candidate, there, kept in zip(candidates, valid, found, strict=True):
        assert kept == (there and candidate not in seen)
        if there:
            seen.add(candidate)


def collections() -> tuple[list[Collection], list[Triple]]:
    """Two collections to train on and one of each kind to choose on."""
    details = [f"{SENTENCES[number % 4]} This is record {number} of the archive." for number in range(40)]
    asked = [Query(f"record {number} of the archive", {number: 3}, [number + 1]) for number in range(0, 40, 2)]
    made = [Collection("squad", TRAIN, details, asked), Collection("some-doc", TRAIN, details[::-1], asked[:3])]
    made += [
        Collection(
            name, CHOOSE, details, [Query(f"what is record {number}?", {number: 3, number + 1: 1}) for number in rows]
        )
        for name, rows in (("selqa", (1, 4, 7)), ("pubmed_question", (2, 8, 11)), ("postgres_index", (3, 9)))
    ]
    return made, [Triple("number", f"record {n}", f"This is record {n}.", f"This is record {n + 1}.") for n in range(9)]


@pytest.fixture(scope="module")
def corpus():
    return number_through(*collections())


def test_every_text_and_query_has_its_row(corpus) -> None:
    made, rivals = collections()
    assert len(corpus.texts) == sum(len(part.texts) + len(part.queries) for part in made) + 3 * len(rivals)
    for part, collection in zip(corpus.parts, made, strict=True):
        assert [corpus.texts[row] for row in part.rows] == collection.texts
        assert part.train == (collection.use == TRAIN)
        for asked, query in zip(part.questions, collection.queries, strict=True):
            assert corpus.texts[asked.row] == query.text
            wanted = {collection.texts[row]: grade for row, grade in query.grades.items()}
            assert {corpus.texts[row]: grade for row, grade in asked.grades.items()} == wanted
            assert [corpus.texts[row] for row in asked.excluded] == [collection.texts[row] for row in query.excluded]
    query, answer, rival = corpus.triples[4]
    assert (corpus.texts[query], corpus.texts[answer], corpus.texts[rival]) == (
        rivals[4].query,
        rivals[4].answer,
        rivals[4].rival,
    )


@pytest.fixture(scope="module")
def rows(tokenizer, corpus):
    return Texts(tokenizer, corpus.texts, corpus.limits, CPU)


@pytest.fixture(scope="module")
def bodies(rows, corpus):
    idf = inverse_document_frequency(rows, corpus.rows_to_train_on(CPU), 30522)
    return [BiEncoder(encode(model_of(seed), rows, 512), rows, idf) for seed in (1, 2)]


DEPTHS = Depths(answers=2, bm25=4, mpnet=3, e5=3, middle=2, ranks=(5, 20), random=2)


@pytest.fixture(scope="module")
def mined(rows, corpus, bodies):
    torch.manual_seed(0)
    stages = FirstStages(rows, 30522, bodies[0].encodings.means, bodies[1].encodings.means)
    return mine(corpus, stages, DEPTHS)


def test_candidates_to_train_on_begin_with_the_answers(mined, corpus, bodies) -> None:
    lists, _ = mined
    questions = [(part, asked) for part in corpus.parts if part.train for asked in part.questions]
    assert len(lists.sources) == len(questions)
    assert lists.candidates.shape == lists.valid.shape == lists.grades.shape == (23, 16)
    for row, (part, asked) in enumerate(questions):
        found = lists.candidates[row][lists.valid[row]].tolist()
        assert lists.sources[row] == part.name
        assert lists.queries[row] == asked.row
        assert len(set(found)) == len(found) >= 8
        assert found[0] in asked.grades
        assert not set(asked.excluded) & set(found)
        assert set(found) <= set(part.rows)
        similar = bodies[0].encodings.means[part.rows.start : part.rows.stop] @ bodies[0].encodings.means[asked.row]
        best = [place + part.rows.start for place in similar.argsort(descending=True).tolist()]
        assert {place for place in best if place not in asked.excluded}.issuperset(found)
        assert next(place for place in best if place not in asked.excluded) in found
        wanted = [asked.grades.get(place, 0) for place in found]
        assert lists.grades[row][lists.valid[row]].tolist() == wanted


def test_lists_to_choose_on_have_a_relevant_candidate(mined) -> None:
    _, lists = mined
    assert set(lists.sources) <= {"selqa", "pubmed_question", "postgres_index"}
    assert len(lists.sources) >= 6
    assert (lists.grades > 0).any(1).all()
    assert lists.valid.long().diff(dim=1).max() <= 0  # what is there first
    short = shortened(lists)
    assert short.candidates.shape[1] == min(50, lists.candidates.shape[1])
    assert (short.grades > 0).any(1).all()


def made_lists(grades: list[list[int]], sources: list[str]) -> Lists:
    """Lists with these grades; -1 where there is no candidate."""
    found = torch.tensor(grades)
    candidates = torch.arange(found.numel()).view(found.shape)
    return Lists(tuple(sources), torch.arange(len(grades)), candidates, found >= 0, found.clamp(min=0))


@given(st.lists(st.lists(st.integers(0, 3), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_ndcg_is_the_measures(grades, seed) -> None:
    grades = [[3, *row] for row in grades]
    lists = made_lists(grades, ["selqa"] * len(grades))
    scores = torch.rand(lists.grades.shape, generator=torch.Generator().manual_seed(seed))
    owner = np.repeat(np.arange(len(grades)), 13)
    data = DevelopmentPairs(lists.sources, (), owner, lists.grades.flatten().numpy())
    assert ndcg(scores, lists).tolist() == pytest.approx(list_ndcg(data, scores.flatten().numpy()), abs=1e-5)


def test_absent_candidates_are_not_ranked() -> None:
    lists = made_lists([[0, 3, -1, -1]], ["selqa"])
    assert ndcg(torch.tensor([[0.0, 1.0, 9.0, 9.0]]), lists).item() == pytest.approx(1)


def test_kinds_weigh_alike_and_weights_follow_the_feature_that_orders() -> None:
    sources = ["selqa", "selqa", "selqa", "pubmed_question", "postgres_index", "postgres_sentence"]
    lists = made_lists([[0, 3, 1, 0], [3, 0, 0, 0], [0, 0, 3, 0], [0, 1, 0, 3], [0, 3, 0, -1], [3, 0, 0, -1]], sources)
    right = lists.grades.float()
    wrong = right.clone()
    wrong[0] = -right[0]
    values = ndcg(wrong, lists)
    assert mean_of_kinds(wrong, lists) == pytest.approx(((values[:3].mean() + 2) / 3).item(), abs=1e-6)
    assert by_source(wrong, lists)["selqa"] == pytest.approx(values[:3].mean().item(), abs=1e-6)
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    weights = fit_weights(torch.stack([right, noise, -right], dim=2), lists)
    assert weights[0] > weights[1]
    assert weights[2] < 1e-3
    assert torch.isfinite(weights).all()
    assert across_kinds(torch.stack([right, noise], dim=2), lists) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("name", "shape"), [("rerank-mini-en-v1", {}), (SMALL, {"vocab_size": 24506, "layers": 12})])
def test_a_bundled_model_read_back_scores_as_its_graph(name, shape) -> None:
    graph = BUNDLED[name] / "model.onnx"
    own = Tokenizer.from_file(str(BUNDLED[name] / "tokenizer.json"))
    model, backend = read_bundled(graph, EncoderShape(**shape)), OnnxBackend(graph)
    query, *ids = (
        item.ids for item in own.encode_batch(["how do I install it offline?", *SENTENCES], add_special_tokens=False)
    )
    block = collate([pair_ids(query, document, 256) for document in ids])
    with torch.no_grad():
        apart = np.abs(model(*block)[:, 0].numpy() - backend.run(arrays(block)))
    assert apart.mean() < 0.1  # what rounding the activations changes
    assert apart.max() < 0.25


def test_another_graph_is_not_read(tmp_path) -> None:
    graph = onnx.helper.make_graph([], "empty", [], [])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="no int8 graph"):
        read_bundled(tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="another model's graph"):
        read_bundled(V1 / "model.onnx", EncoderShape(layers=7))


def test_attention_in_one_kernel_is_attention_in_parts(texts) -> None:
    reader = Reader(model_of(), texts, 10_000)
    queries, documents = torch.tensor([0, 3, 6]), torch.tensor([1, 4, 5])
    parts, _ = reader.score(queries, documents)
    fuse(reader.model, fused=True)
    fused, means = reader.score(queries, documents, block_tokens=8)
    assert fused.detach().numpy() == pytest.approx(parts.detach().numpy(), abs=1e-4)
    assert means.shape == (3, SHAPE.hidden)
    features, terms = reader.features(queries, documents)
    raw = reader.model.raw_score(features, terms)
    assert raw.detach().numpy() == pytest.approx(parts.detach().numpy(), abs=1e-4)


def test_values_of_pairs_come_back_to_their_lists() -> None:
    lists = made_lists([[0, 3, -1], [3, -1, 0]], ["selqa", "selqa"])
    queries, documents = pairs_of(lists)
    assert documents.tolist() == [0, 1, 3, 5]
    assert queries.tolist() == [0, 0, 1, 1]
    assert spread_out(documents.float() + 1, lists).tolist() == [[1, 2, 0], [4, 0, 6]]


@pytest.fixture(scope="module")
def material(mined, bodies, rows, corpus):
    training, choosing = mined
    v1 = Reader(model_of(7), rows, 2048)
    teacher, figures = build(bodies[0], bodies[1], v1, choosing)
    assert set(figures) == {*FEATURES, "teacher", "across_kinds"}
    torch.manual_seed(1)
    once = torch.randn(training.candidates.shape)
    triples = torch.tensor(corpus.triples)
    means = bodies[1].encodings.means.half()
    return Material(training, once, DEPTHS.answers, triples, corpus.kinds, teacher, v1, means)


def test_the_teacher_is_a_weighted_sum_of_standardised_features() -> None:
    lists = made_lists([[0, 3, 1], [3, 0, 0]], ["selqa", "pubmed_question"])
    torch.manual_seed(3)
    features = torch.randn(2, 3, len(FEATURES)) * 5 + 2
    teacher = Teacher.fit(features, lists)
    whole = teacher.with_v1(teacher.once(features[..., :4]), features[..., 4])
    expected = ((features - features.flatten(0, 1).mean(0)) / features.flatten(0, 1).std(0)) @ teacher.weights
    assert whole.numpy() == pytest.approx(expected.numpy(), abs=1e-4)
    assert (teacher.weights >= 0).all()


def test_lists_are_drawn_by_the_shares_of_their_collections() -> None:
    sources = ["squad"] * 3 + ["nq"] + ["squad_sentences"] + ["medquad"] + ["a-doc"] * 32 + ["b-doc"]
    chances = list_chances(sources)
    assert chances.sum().item() == pytest.approx(1)
    assert chances[:3].sum().item() == pytest.approx(SOURCES["squad"], abs=1e-5)
    assert (chances[6:38].sum() / chances[38]).item() == pytest.approx(8, rel=1e-3)
    assert triple_chances(["x", "x", "y"]).tolist() == [0.25, 0.25, 0.5]


def test_other_shares_than_the_first_stages_are_a_plans() -> None:
    chances = list_chances(["selqa"] * 2 + ["nq"] + ["a-doc"], {"selqa": 0.5, "nq": 0.3})
    assert chances.tolist() == pytest.approx([0.25, 0.25, 0.3, 0.2])


def test_an_answer_is_drawn_before_the_sentences_near_it(material) -> None:
    lists = material.lists
    first = lists.grades.argmax(1)
    grades = torch.full_like(lists.grades, 1).scatter(1, first[:, None], 3) * lists.valid
    torch.manual_seed(0)
    narrow = Draw(replace(material, lists=replace(lists, grades=grades), answers=lists.grades.shape[1]))
    assert narrow(20, 1, 1).labelled.all()


def test_sentences_near_an_answer_are_no_answers(material) -> None:
    lists = material.lists
    near = replace(lists, grades=lists.grades.clamp(max=1))
    torch.manual_seed(0)
    assert not Draw(replace(material, lists=near))(6, 5, 3).labelled.any()


def test_answers_are_drawn_first(material) -> None:
    torch.manual_seed(0)
    batch = Draw(material)(6, 5, 3)
    assert batch.candidates.shape == batch.valid.shape == batch.labelled.shape == batch.once.shape == (6, 5)
    assert batch.triples.shape == (3, 3)
    assert batch.labelled.any(1).all()
    assert batch.valid.all()


PLAN = replace(
    PLANS[MINI], seconds=1e6, anchor=1.0, lists=4, candidates=6, few=4, triples=4, short=40, long=60, warm_up=1
)


def total(student: Reader, batch: Batch, material: Material) -> float:
    with torch.no_grad():
        return losses(student, batch, material, PLAN, limit=40, block_tokens=512).total(PLAN).item()


def test_a_step_lowers_the_loss(material, rows) -> None:
    torch.manual_seed(0)
    student = Reader(model_of(4), rows, 512)
    optimizer = torch.optim.SGD(parameter_groups(student.model, PLAN), lr=1e-3)
    for group in optimizer.param_groups:
        group["lr"] = 1e-3
    batch = Draw(material)(4, 6, 4)
    before = total(student, batch, material)
    losses(student, batch, material, PLAN, limit=40, block_tokens=512).total(PLAN).backward()
    optimizer.step()
    assert total(student, batch, material) < before
    assert student.model.words.weight.grad is None


def test_a_student_that_scores_as_the_teacher_has_nothing_to_learn_from_its_lists(material, rows) -> None:
    torch.manual_seed(0)
    student = Reader(model_of(4), rows, 512)
    batch = Draw(material)(4, 6, 4)
    with torch.no_grad():
        asked = batch.queries[:, None].expand_as(batch.candidates).flatten()
        own, _ = student.score(asked, batch.candidates.flatten(), (64, 40))
    # The first version's part is taken away, so that the teacher's whole score is the student's own.
    same = replace(material, teacher=replace(material.teacher, weights=torch.zeros(5)))
    alike = replace(batch, once=own.view_as(batch.once))
    found = losses(student, alike, same, replace(PLAN, bonus=0.0), limit=40, block_tokens=512)
    assert found.ranking.item() == pytest.approx(0, abs=1e-5)
    assert found.values.item() == pytest.approx(0, abs=1e-5)
    assert found.anchor > 0
    assert losses(student, alike, same, PLAN, limit=40, block_tokens=512).ranking > 0


def test_the_rate_rises_by_steps_and_falls_by_progress() -> None:
    assert rate_factor(0.0, 0, 10) == pytest.approx(0.1)
    assert rate_factor(0.0, 9, 10) == rate_factor(0.0, 99, 10) == 1
    assert rate_factor(0.5, 99, 10) == pytest.approx(0.5)
    assert rate_factor(1.0, 99, 10) == pytest.approx(0.02)


def test_a_student_is_trained_chosen_and_calibrated(material, rows, mined, corpus, tmp_path) -> None:
    student = Reader(model_of(4), rows, 512)
    before = copy.deepcopy(student.model.state_dict())
    train(student, material, PLAN, tmp_path, block_tokens=512, steps=7)
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["steps"] == 7
    assert summary["pairs"] == 6 * (4 * 6 + 8) + 4 * 4 + 8
    after = torch.load(tmp_path / TRAINED, weights_only=True)
    moved = {name for name, values in after.items() if not torch.equal(values, before[name])}
    assert {"mix", "idf_power", "layers.0.gate", "layers.1.up.weight", "token_weight"} <= moved
    assert not moved & {"words.weight", "lexical.log_k1", "lexical.b_logit", "scale", "offset"}

    lists = shortened(mined[1])
    found = choose_share(student, before, after, (0.0, 1.0), lists)
    assert found["share"] == max((0.0, 1.0), key=lambda share: found[f"{share:g}"])
    figures = choose_mix(student, lists)
    assert by_source(student.score_lists(lists), lists)["mean"] >= figures["trained"] - 1e-6
    calibration = calibrate(student, lists, {part.name: part.rows for part in corpus.parts})
    assert student.model.scale.item() == pytest.approx(calibration["scale"], rel=1e-5)
    assert calibration["scale"] * 0 == 0


def test_pairs_to_calibrate_on_have_answers_and_texts_that_answer_nothing(mined, corpus) -> None:
    lists = mined[1]
    places = {part.name: part.rows for part in corpus.parts}
    queries, documents, labels = calibration_pairs(lists, places)
    assert len(queries) == len(documents) == len(labels)
    graded = {
        (int(query), int(text)): int(grade)
        for query, row, grades in zip(lists.queries, lists.candidates, lists.grades, strict=True)
        for text, grade in zip(row, grades, strict=True)
        if grade
    }
    for query, text, label in zip(queries.tolist(), documents.tolist(), labels.tolist(), strict=True):
        if label == 1:
            assert graded[query, text] == 3
        else:
            assert graded.get((query, text), 0) < 3
    assert 0 < labels.sum() < len(labels)


def test_what_the_teacher_said_is_kept_for_the_same_corpus(material, mined, tmp_path) -> None:
    taught = Taught(mined[0], mined[1], material.once, material.means, material.teacher, {"teacher": 0.5})
    taught.save(tmp_path / "lists.pt", "abc")
    found = Taught.load(tmp_path / "lists.pt", "abc", CPU)
    assert found.training.sources == taught.training.sources
    assert torch.equal(found.choosing.candidates, taught.choosing.candidates)
    assert torch.equal(found.once, taught.once)
    assert torch.equal(found.teacher.weights, taught.teacher.weights)
    assert found.figures == taught.figures
    with pytest.raises(ValueError, match="another corpus"):
        Taught.load(tmp_path / "lists.pt", "abd", CPU)


def test_lists_of_different_width_are_joined() -> None:
    one, two = made_lists([[0, 3]], ["selqa"]), made_lists([[0, 3, 1]], ["nq"])
    found = joined([one, two])
    assert found.sources == ("selqa", "nq")
    assert found.valid.tolist() == [[True, True, False], [True, True, True]]
    assert torch.equal(found.to(CPU).grades, torch.tensor([[0, 3, 0], [0, 3, 1]]))


def test_the_least_squares_are_not_negative() -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 3)
    weights = nonnegative_weights(features, features @ torch.tensor([2.0, 0.5, -1.0]))
    assert weights[0].item() == pytest.approx(2, abs=0.2)
    assert weights[1].item() == pytest.approx(0.5, abs=0.2)
    assert 0 <= weights[2] < 0.05


PIECES = ["▁the", "▁cat", "▁Cat", "e", "s", "λ", "猫", "▁", "ing", "▁rare", "▁word", "▁gato", "\u2026"]


def packed_e5(count: int = 130) -> PackedE5:
    """A vocabulary with vectors and no layers."""
    pieces = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(piece, -float(rank)) for rank, piece in enumerate([*PIECES, *(f"▁x{n}" for n in range(count))], 2)]
    torch.manual_seed(0)
    hidden = 24
    state = {
        "embeddings.word_embeddings.weight": torch.randn(len(pieces), hidden),
        "embeddings.position_embeddings.weight": torch.randn(512, hidden),
        "embeddings.token_type_embeddings.weight": torch.randn(2, hidden),
        "embeddings.LayerNorm.weight": torch.ones(hidden),
        "embeddings.LayerNorm.bias": torch.zeros(hidden),
    }
    return PackedE5(state, pieces, (0, 2, 1, 3), 3, 1e-12)


def test_the_vocabulary_keeps_what_english_needs() -> None:
    packed = packed_e5()
    texts = ["The Cat", "the cat", "the word", "rare rare", *(f"x{n % 120} x{n % 120} x{n % 120}" for n in range(120))]
    kept = kept_pieces(e5(packed).tokenizer, texts, english_words(["Words", "caf\u00e9", "words", ""]))
    assert english_words(["Words", "caf\u00e9", "words", ""]) == ["words"]
    assert {"▁the", "▁word", "e", "s", "λ", "▁", "\u2026", "▁x7"} <= kept
    assert not kept & {"▁Cat", "猫", "▁gato", "▁rare", "▁x125"}
    body = english_e5(packed, kept)
    assert body.tokenizer.encode("The  WORD", "the word").tokens == [
        *("[CLS]", "▁the", "▁word", "[SEP]"),
        *("[CLS]", "▁the", "▁word", "[SEP]"),
    ]


def test_a_student_starts_as_its_body_with_the_teachers_feature_weights() -> None:
    packed = packed_e5()
    body = english_e5(packed, {piece for piece, _ in packed.pieces})
    model = from_body(body, torch.ones(body.shape.vocab_size))
    vocabulary = body.tokenizer.get_vocab()
    assert model.lexical.continuation[vocabulary["ing"]] == 1
    assert model.lexical.continuation[vocabulary["▁cat"]] == 0
    before = packed.state["embeddings.word_embeddings.weight"]
    assert torch.equal(model.words.weight[vocabulary["▁cat"]], before[5])
    words = [" ".join(f"x{(row * step) % 30}" for step in range(1, 6)) for row in range(40)]
    texts = Texts(body.tokenizer, words, [64] * 40, CPU)
    student = Reader(model, texts, 512)
    torch.manual_seed(2)
    queries, candidates = torch.arange(10), torch.randint(10, 40, (10, 8))
    features, _ = student.features(queries[:, None].expand_as(candidates).flatten(), candidates.flatten())
    wanted = features.view(10, 8, 5) @ torch.tensor([4.0, 0.05, 2.0, 0.05, 0.05])
    start_mix(student, queries, candidates, wanted)
    scores = (features.view(10, 8, 5) @ model.mix.detach()).flatten()
    apart = torch.corrcoef(torch.stack([scores - scores.mean(), wanted.flatten()]))
    assert apart[0, 1] > 0.9


def test_finished_models_are_exported_for_the_package(rows, mined, tokenizer, tmp_path) -> None:
    model = model_of(3)
    folder = export(model, tokenizer, tmp_path, "the-base", sample_inputs(mined[0], rows))
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "tokenizer.json", "config.json", "sha256.json"}
    assert json.loads((folder / "config.json").read_text())["base_model"] == "the-base"
    assert json.loads((folder / "sha256.json").read_text()) == checksums(folder)
    ids = [ids_of(tokenizer, row) for row in range(len(SENTENCES))]
    block = collate([pair_ids(ids[6], document, 60) for document in ids])
    with torch.no_grad():
        expected = model(*block)[:, 0].numpy()
    assert OnnxBackend(folder / "model.onnx").run(arrays(block)) == pytest.approx(expected, abs=0.3)
