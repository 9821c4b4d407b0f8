"""Gradients of weights, gathered over the passes of one step.

A step of latent training calls each linear layer once for every thought, with one row of a sequence each time. Autograd
answers every call with a product as large as the weight and adds it to the others: for one row that is all memory
traffic. Here the rows of short calls wait, and one product at the end gives the same sum; the rows of long calls are
added to the gradient where they are, without a tensor between.

The result is the gradient, summed in another order. Only plain linear layers (torch's and GPT-2's Conv1D) that learn
are taken; hooks on their weights do not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LONG = 512
"""Rows from which on a call's product is worth its own; measured on a CPU at widths 256 to 768."""


class WeightGradients:
    """The rows that wait, by layer. For one step on one thread."""

    def __init__(self) -> None:
        self._waiting: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    @contextmanager
    def gathered(self, module: nn.Module) -> Iterator[None]:
        """While it lasts, linear layers inside `module` leave their gradients here; at its end they are complete.

        Forward and backward both belong inside. After an error the gradients are those of no step.
        """
        layers = [layer for layer in module.modules() if _is_linear(layer) and layer.weight.requires_grad]
        for layer in layers:
            layer.forward = partial(_linear, layer, self)
        try:
            yield
            self._add_up()
        finally:
            self._waiting.clear()
            for layer in layers:
                del layer.forward

    @torch.no_grad()
    def add(self, layer: nn.Module, inputs: Tensor, gradient: Tensor) -> None:
        """Takes the rows of one call: inputs [n, in] and the gradient of its outputs [n, out]."""
        if inputs.shape[0] >= _LONG:
            _add_product(layer, inputs, gradient)
        else:
            self._waiting.setdefault(layer, []).append((inputs, gradient))

    @torch.no_grad()
    def _add_up(self) -> None:
        for layer, rows in self._waiting.items():
            inputs, gradients = zip(*rows, strict=True)
            _add_product(layer, torch.cat(inputs), torch.cat(gradients))


class _Linear(torch.autograd.Function):
    """inputs @ weight + bias, with the gradient of the weight left to `WeightGradients`."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: nn.Module, gradients: WeightGradients) -> Tensor:
        if torch.is_autocast_enabled(inputs.device.type):
            inputs = inputs.to(torch.get_autocast_dtype(inputs.device.type))
        rows = inputs.reshape(-1, inputs.shape[-1])
        ctx.save_for_backward(rows)
        ctx.layer, ctx.gradients = layer, gradients
        weight, bias = _weight_in_out(layer).to(rows.dtype), layer.bias
        assert bias is None or isinstance(bias, Tensor)
        outputs = rows @ weight if bias is None else torch.addmm(bias.to(rows.dtype), rows, weight)
        return outputs.view(*inputs.shape[:-1], outputs.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        (rows,) = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        ctx.gradients.add(ctx.layer, rows, flat)
        weight = _weight_in_out(ctx.layer).to(flat.dtype)
        return (flat @ weight.t()).view(*gradient.shape[:-1], rows.shape[-1]), None, None


def _linear(layer: nn.Module, gradients: WeightGradients, inputs: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        plain: Tensor = type(layer).forward(layer, inputs)
        return plain
    if not inputs.requires_grad:
        # The function has to be on the tape although only the weight, which it does not take, is learnt.
        inputs = inputs.detach().requires_grad_()
    result: Tensor = _Linear.apply(inputs, layer, gradients)
    return result


def _is_linear(layer: nn.Module) -> bool:
    # By name, so that transformers need not be imported for the one class.
    return type(layer) is nn.Linear or type(layer).__qualname__ == "Conv1D"


def _weight_in_out(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.t() if isinstance(layer, nn.Linear) else weight


def _add_product(layer: nn.Module, inputs: Tensor, gradient: Tensor) -> None:
    left, right = (gradient, inputs) if isinstance(layer, nn.Linear) else (inputs, gradient)
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if weight.grad is None:
        weight.grad = (left.t() @ right).to(weight.dtype)
    elif weight.grad.dtype == left.dtype:
        weight.grad.addmm_(left.t(), right)
    else:
        weight.grad += left.t() @ right
    if isinstance(bias, Tensor) and bias.requires_grad:
        summed = gradient.sum(0, dtype=bias.dtype)
        bias.grad = summed if bias.grad is None else bias.grad + summed
