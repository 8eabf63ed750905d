"""Language models that rerank: their published templates, answers and formulas, restated here in float64.

Small checkpoints with the families' configuration, through the Hub names of their records.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from checkpoints import _CHAT_TEMPLATE, QUERY, TEXTS, answering, language_model
from rerank_core import InvalidRequestError, Reranker
from rerank_core.models import REGISTRY

pytestmark = pytest.mark.torch

MAX_TOKENS = 500
OTHER = "Find texts about weather"
LONG = "The document reads the query. " * 400


@dataclass(frozen=True)
class Family:
    """A model's prompt as its authors' scoring code writes it, in three parts that are tokenised one by one."""

    name: str
    prefix: str
    body: str
    suffix: str
    instructed: str = ""
    family: str = "Qwen3"
    strips: bool = False

    def parts(self, instruction, document):
        body = self.instructed if instruction and self.instructed else self.body
        before, _, after = body.partition("{document}")
        line, _, label = before.rpartition("\n")
        instruction = instruction or REGISTRY[self.name].instruction
        before = self.prefix + line.format(query=QUERY, instruction=instruction) + "\n"
        return before, label + (document.strip() if self.strips else document), after + self.suffix


CHAT = "<|im_end|>\n<|im_start|>assistant\n"
MXBAI_TASK = (
    "\nYou are a search relevance expert who evaluates how well documents match search queries. For each "
    "query-document pair, carefully analyze the semantic relationship between them, then provide your binary "
    "relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "Qwen3-Reranker-0.6B",
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
            CHAT + "<think>\n\n</think>\n\n",
            instructed="<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
        ),
        Family(
            "mxbai-rerank-base-v2",
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n",
            "query: {query}\ndocument: {document}" + MXBAI_TASK,
            CHAT,
            instructed="instruction: {instruction}\nquery: {query}\ndocument: {document}" + MXBAI_TASK,
            family="Qwen2",
        ),
        Family(
            "zerank-2",
            "<|im_start|>system\n",
            "{query}<|im_end|>\n<|im_start|>user\n{document}",
            CHAT,
            strips=True,
        ),
    )
}
each = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The family's checkpoint as it lies on the Hub: without a word on templates and answers."""
    folders = {}

    def build(family):
        if family.name not in folders:
            folders[family.name] = language_model(
                tmp_path_factory.mktemp("family"),
                answers=tuple(dict.fromkeys((*REGISTRY[family.name].answers, "yes", "no"))),
                template="{% for message in messages %}{{ message['content'] }}{% endfor %}",
                max_tokens=MAX_TOKENS,
                family=family.family,
            )
        return folders[family.name]

    return build


@pytest.fixture
def load(folder, hub):
    """Load a family by its name here, from the Hub."""

    def publish(family, **options):
        spec = REGISTRY[family.name]
        hub.publish(spec.repository, folder(family), spec.revision)
        return Reranker(family.name, device="cpu", **{"max_tokens": MAX_TOKENS} | options)

    return publish


def logits(reranker, texts=TEXTS):
    by_index = {result.index: result.logit for result in reranker.rerank(QUERY, texts)}
    return np.array([by_index[i] for i in range(len(texts))])


def published(folder, family, texts=TEXTS, instruction=None):
    """The logits of the authors' formula, in float64: only the document is cut."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = REGISTRY[family.name]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    answers = [tokenizer.convert_tokens_to_ids(answer) for answer in spec.answers]
    scores = []
    for text in texts:
        before, document, after = (
            tokenizer.encode(part, add_special_tokens=False) for part in family.parts(instruction, text)
        )
        document = document[: MAX_TOKENS - len(before) - len(after)]
        with torch.inference_mode():
            last = model(torch.tensor([before + document + after])).logits[0, -1]
        if spec.score == "log-odds":
            both = torch.log_softmax(last[answers], dim=0)
            scores.append(float(both[0] - both[1]))
        else:
            scores.append(float(last[answers[0]]) / 5)
    return np.array(scores)


@each
def test_scores_are_the_authors_formula(load, folder, family):
    expected = published(folder(family), family)
    assert np.ptp(expected) > 0.05
    reranker = load(family)
    np.testing.assert_allclose(logits(reranker), expected, atol=1e-4, rtol=0)
    best = reranker.rerank(QUERY, TEXTS)[0]
    assert best.relevance_score == pytest.approx(1 / (1 + math.exp(-expected.max())), abs=1e-4)
    assert reranker.loaded.temperature == REGISTRY[family.name].temperature
    assert reranker.loaded.probability == "sigmoid"


@each
def test_only_the_document_is_cut(load, folder, family):
    reranker = load(family)
    texts = [LONG, "short"]
    np.testing.assert_allclose(logits(reranker, texts), published(folder(family), family, texts), atol=1e-4, rtol=0)
    cut = {result.index: result.truncated for result in reranker.rerank(QUERY, texts)}
    assert cut == {0: True, 1: False}


@pytest.mark.parametrize("name", ["Qwen3-Reranker-0.6B", "mxbai-rerank-base-v2"])
def test_an_instruction_stands_where_the_authors_put_it(load, folder, name):
    family = FAMILIES[name]
    expected = published(folder(family), family, instruction=OTHER)
    np.testing.assert_allclose(logits(load(family, prompt=OTHER)), expected, atol=1e-4, rtol=0)
    assert np.abs(expected - published(folder(family), family)).max() > 1e-3


def test_an_instruction_that_the_template_has_no_place_for_is_refused(load):
    with pytest.raises(InvalidRequestError, match="takes no instruction"):
        load(FAMILIES["zerank-2"], prompt=OTHER).rerank(QUERY, TEXTS)


def test_the_difference_of_two_answers_is_taken_in_float32(folder):
    """In bfloat16 the difference of two logits would be rounded to eight bits once more."""
    import torch
    from sentence_transformers.cross_encoder.modules import LogitScore

    from rerank_core.inference.backends.torch import TorchBackend
    from rerank_core.inference.encoding import Block

    class Logits(torch.nn.Module):
        transformer_task = "text-generation"
        modality_config = ()
        device = "cpu"

        def __init__(self):
            super().__init__()
            self.tokenizer = SimpleNamespace(model_input_names=())
            self.model = SimpleNamespace(config=SimpleNamespace(model_type="none"))

        def forward(self, features):
            return features | {"causal_logits": torch.tensor([[[8.0625, 0.0078125]]], dtype=torch.bfloat16)}

    class Model(torch.nn.Sequential):
        device = "cpu"

    backend = TorchBackend(Model(Logits(), LogitScore(0, 1)))
    one = np.ones((1, 1), np.int64)
    assert backend.run(Block(one, one, one)).tolist() == [8.0625 - 0.0078125]
    backend.close()


def test_lighton_through_its_own_modules_on_its_hybrid_layers(hub, tmp_path):
    """Three layers of four are recurrent: padding on the left must not reach their state."""
    import torch
    import transformers
    from sentence_transformers import CrossEncoder

    if not hasattr(transformers, "Qwen3_5ForCausalLM"):
        pytest.skip("this version of transformers does not know the architecture")
    spec = REGISTRY["LightOn-rerank-PW-4B"]
    folder = language_model(
        tmp_path, answers=(*spec.answers, "yes", "no"), template=_CHAT_TEMPLATE, max_tokens=MAX_TOKENS, family="Qwen3_5"
    )
    hub.publish(spec.repository, answering(folder, spec.answers), spec.revision)
    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    expected = model.predict([(QUERY, text) for text in TEXTS], batch_size=1)
    reranker = Reranker(spec.name, device="cpu", max_tokens=MAX_TOKENS)
    np.testing.assert_allclose(logits(reranker), expected, atol=1e-4, rtol=0)
    alone = [reranker.rerank(QUERY, [text])[0].logit for text in TEXTS]
    np.testing.assert_allclose(logits(reranker), alone, atol=1e-4, rtol=0)


def test_ettins_scores_are_its_heads_and_no_probabilities(checkpoint, hub):
    spec = REGISTRY["ettin-reranker-32m-v1"]
    folder = checkpoint("ettin")
    hub.publish(spec.repository, folder, spec.revision)
    reranker = Reranker(spec.name, device="cpu", max_tokens=64)
    np.testing.assert_allclose(logits(reranker), logits(Reranker(folder, device="cpu")), atol=1e-5, rtol=0)
    assert reranker.loaded.probability == "uncalibrated"


@pytest.mark.parametrize("answers", [("Yes", "No"), ("1", "0")])
def test_answers_that_a_checkpoint_states_itself_are_used(tmp_path, answers):
    import torch
    from sentence_transformers import CrossEncoder

    language_model(tmp_path, answers=(*answers, "yes", "no"), template=_CHAT_TEMPLATE, max_tokens=MAX_TOKENS)
    answering(tmp_path, answers)
    model = CrossEncoder(str(tmp_path), device="cpu", activation_fn=torch.nn.Identity())
    expected = model.predict([(QUERY, text) for text in TEXTS])
    np.testing.assert_allclose(logits(Reranker(tmp_path, device="cpu")), expected, atol=1e-5, rtol=0)


def test_one_answer_of_an_unknown_model_has_no_probability(tmp_path):
    language_model(tmp_path, answers=("Yes", "yes", "no"), template=_CHAT_TEMPLATE, max_tokens=MAX_TOKENS)
    reranker = Reranker(answering(tmp_path, ("Yes",)), device="cpu")
    reranker.warm_up()
    assert reranker.loaded.probability == "uncalibrated"


def test_a_script_of_none_of_the_models_languages_is_said_once(caplog):
    with caplog.at_level(logging.WARNING, "rerank_core"), Reranker() as reranker:
        reranker.warm_up()
        reranker.scorer._loaded.shared.warned_of_script = False  # by another test of this process
        reranker.score("什么是机器学习", ["机器学习是人工智能的一个分支。"])
        reranker.score("什么是机器学习", ["天气很好。"])
    said = [record.getMessage() for record in caplog.records if "script" in record.getMessage()]
    assert len(said) == 1
    assert "was not trained on texts in Chinese script (its languages: en)" in said[0]
    assert "机" not in said[0]
