"""Make a model narrower: heads and neurons are taken out one after the other, and the rest makes up for them.

Structured pruning by the optimal brain surgeon's rule (Kurtic et al. 2023, "ZipLM", eq. 2 and 3): the group of
inputs goes whose loss changes a linear layer's output least on sample texts, given that the weights of all others
are moved to make up for it. Layers are pruned first to last, each on the states that the pruned ones before it give.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from .model import EncoderLayer, RerankMini
from .tokenizer import Block

RIDGE = 1e-3
"""Added to the inputs' second moments, as a share of their mean, so that they can be inverted."""

AT_ONCE = 8
"""Of thousands of neurons, so many go before the others' importance is counted anew."""


def prune_inputs(weight: Tensor, moments: Tensor, width: int, keep: int, at_once: int = 1) -> tuple[Tensor, Tensor]:
    """Take groups of neighbouring inputs out of a linear layer until ``keep`` groups are left.

    Args:
        weight: [outputs, inputs].
        moments: the inputs' second moments over sample texts [inputs, inputs].
        width: inputs of a group.
        keep: groups to keep.
        at_once: groups to take out before the others' importance is counted anew.

    Returns:
        The numbers of the groups kept, ascending, and the weight of their inputs [outputs, keep * width].
    """
    weight = weight.double()
    kept = torch.arange(weight.shape[1] // width)
    ridge = RIDGE * moments.diagonal().double().mean() * torch.eye(len(moments), dtype=torch.float64)
    inverse = torch.linalg.inv(moments.double() + ridge)
    while len(kept) > keep:
        own = inverse.view(len(kept), width, len(kept), width).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        grouped = weight.view(len(weight), len(kept), width).transpose(0, 1)
        loss = torch.einsum("goi,gij,goj->g", grouped, torch.linalg.inv(own), grouped)
        leaving = torch.zeros(len(kept), dtype=torch.bool)
        leaving[loss.argsort()[: min(at_once, len(kept) - keep)]] = True
        out = leaving.repeat_interleave(width)
        share = torch.linalg.solve(inverse[out][:, out], inverse[out][:, ~out])
        weight = weight[:, ~out] - weight[:, out] @ share
        inverse = inverse[~out][:, ~out] - inverse[~out][:, out] @ share
        kept = kept[~leaving]
    return kept, weight.float()


def second_moments(inputs: Iterable[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """The sum of outer products of all real tokens' inputs, given block by block as [batch, s, inputs]."""
    tokens = (block[mask] for block, mask in zip(inputs, masks, strict=True))
    return torch.stack([each.T @ each for each in tokens]).sum(0)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer of these parameters."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    return layer


def keep_heads(layer: EncoderLayer, moments: Tensor, keep: int) -> None:
    """Prune the attention of ``layer`` to so many heads."""
    heads, width = layer.heads, layer.head_size
    kept, weight = prune_inputs(layer.attention_output.weight, moments, width, keep)
    projection = layer.query_key_value
    layer.query_key_value = linear(
        projection.weight.view(3, heads, width, -1)[:, kept].flatten(0, 2),
        projection.bias.view(3, heads, width)[:, kept].flatten(),
    )
    layer.attention_output = linear(weight, layer.attention_output.bias)
    layer.door = nn.Parameter(layer.door.detach()[kept].clone())
    layer.heads = keep


def keep_neurons(layer: EncoderLayer, moments: Tensor, keep: int) -> None:
    """Prune the feed-forward part of ``layer`` to so many neurons."""
    kept, weight = prune_inputs(layer.down.weight, moments, 1, keep, at_once=AT_ONCE)
    layer.up = linear(layer.up.weight[kept], layer.up.bias[kept])
    layer.down = linear(weight, layer.down.bias)


def keep_layers(model: RerankMini, layers: Sequence[int]) -> None:
    """Leave out all other layers of ``model``."""
    model.layers = nn.ModuleList([model.layers[number] for number in layers])
    model.shape = replace(model.shape, layers=len(layers))


@torch.no_grad()
def prune(model: RerankMini, blocks: Sequence[Block], heads: int, intermediate: int) -> None:
    """Prune ``model`` in place to so many heads and neurons a layer, fitted to ``blocks`` of its inputs."""
    masks = [attention_mask.bool() for _, attention_mask, _ in blocks]
    embedded = [model.embed(*block) for block in blocks]
    states = [entry[0] for entry in embedded]
    asides = [entry[1:] for entry in embedded]

    for layer in model.layers:
        if not isinstance(layer, EncoderLayer):
            raise TypeError(layer)
        contexts = (layer.attend(each, *aside) for each, aside in zip(states, asides, strict=True))
        keep_heads(layer, second_moments(contexts, masks), heads)
        states = [
            layer.add_context(each, layer.attend(each, *aside)) for each, aside in zip(states, asides, strict=True)
        ]
        keep_neurons(layer, second_moments(map(layer.neurons, states), masks), intermediate)
        states = [layer.add_neurons(each, layer.neurons(each)) for each in states]
    model.shape = replace(model.shape, heads=heads, intermediate=intermediate)
