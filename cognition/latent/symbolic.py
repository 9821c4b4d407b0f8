"""A small decoder over rows of symbols, in the form in which it is trained.

It is the decoder of `cognition.engine` with one layer, one head and no positions, under the same names, so that its
weights are served as they are. One layer is enough because depth comes from thinking: a latent step passes the last
hidden row, after the final norm, through the same layer again, and no step has an embedding of its own, so that a model
may think longer than it was trained to. Without positions and in one layer, an edge's row depends on no other row. Two
things follow that training is fast by:

- Keys and values of the prompt need no products of their own. With a single head, q (W_k z) = (q W_k) z, so a step
  multiplies its own row by W_k and reads the normed rows z, and mixes these before it multiplies by W_v. That is the
  cached attention of thoughts with its gradient, exactly (the absorption of DeepSeek-V2, arXiv 2405.04434, 2.1).
- What all steps owe the prompt is gathered, and added up in one product of matrices (`Prompt.backward`).

Not for serving, and for one layer and one head only: the engine computes the general case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding, gelu, linear

from cognition.latent.symbolic_data import Batch
from cognition.latent.tasks.prosqa_rows import Vocabulary

_HIDDEN = -1e9
"""Added to the score of a row that is not to be seen."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model, and how its embeddings begin."""

    symbols: int = 40
    width: int = 128
    mlp: int = 512
    alignment: float = 0.9
    """Which part of a symbol's first embeddings, by variance, is one vector carried through the first products, so that
    from the beginning a row attends to the edges that leave the nodes it names, and reads their other ends. 0 begins
    with nothing but chance."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens."""
        return Vocabulary(self.symbols)


class Layer(nn.Module):
    """The products of a pre-norm layer."""

    def __init__(self, width: int, mlp: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, mlp), nn.Linear(mlp, width)


@dataclass(slots=True)
class Prompt:
    """Normed rows of a batch of prompts, shape [batch, rows, width], and what the steps owe them."""

    made: Tensor
    """With the graph that made it."""
    rows: Tensor
    """The same, cut off from it."""
    bias: Tensor
    """Added to scores, shape [batch, 1, rows]: hides padding."""
    owed: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def backward(self) -> None:
        """Passes on what the steps owe the prompt. To be called once, after the backward pass of the loss."""
        if self.owed:
            left, right = (torch.cat(parts, dim=1) for parts in zip(*self.owed, strict=True))
            self.owed.clear()
            self.made.backward(left.transpose(1, 2) @ right)  # type: ignore[no-untyped-call]


class SymbolicDecoder(nn.Module):
    """See the module. `embed`, `layers.0`, `norm`, `head` and `halt` are named as the engine reads them."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, size = shape.width, shape.vocabulary.size
        self.embed = nn.Embedding(size, width)
        self.layers = nn.ModuleList([Layer(width, shape.mlp)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, size, bias=False)
        self.halt = nn.Linear(width, 1)
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """The first weights, from torch's generator."""
        width, symbols, vocabulary = self.shape.width, self.shape.symbols, self.shape.vocabulary
        layer: Any = self.layers[0]
        scale = 0.3
        nn.init.normal_(self.embed.weight, 0.0, scale)
        nn.init.normal_(self.head.weight, 0.0, 0.05)
        for linear_layer in (layer.qkv, layer.output, layer.down):
            nn.init.zeros_(linear_layer.bias)
        layer.down.weight.mul_(0.3)
        query, key, value, output = (nn.init.orthogonal_(torch.empty(width, width)) for _ in range(4))
        layer.qkv.weight.copy_(torch.cat([query, key, value]))
        layer.output.weight.copy_(output)
        self.embed.weight[vocabulary.edge_type :] *= 0.3
        if not self.shape.alignment:
            return
        node = nn.init.orthogonal_(torch.empty(symbols, width))
        carried = node * scale * math.sqrt(width)
        sought = carried @ query.T @ key  # whose key is the query of `carried`
        begins = {
            vocabulary.root: carried,
            vocabulary.source: sought,
            vocabulary.goal: sought,
            vocabulary.target: carried @ output @ value,  # which attention gives as `carried`
            vocabulary.candidate: carried @ key.T @ query,  # whose query is the key of `carried`
        }
        part = self.shape.alignment
        for first, vectors in begins.items():
            rows = self.embed.weight[first : first + symbols]
            rows.mul_(math.sqrt(1 - part)).add_(vectors, alpha=math.sqrt(part))
        # A direction that no node has is the threshold of all of them.
        threshold = torch.randn(width)
        threshold -= (threshold @ node.T) @ node
        threshold /= threshold.norm()
        self.norm.bias.copy_(threshold)
        self.head.weight[vocabulary.node : vocabulary.node + symbols] = node - 1.5 * threshold

    def prompt(self, batch: Batch) -> Prompt:
        """The edges and the goals of a batch."""
        table, vocabulary = self.embed.weight, self.shape.vocabulary
        source, end = batch.edges.unbind(-1)
        edges = embedding(source + vocabulary.source, table) + embedding(end + vocabulary.target, table)
        goals = embedding(batch.candidates + vocabulary.goal, table).sum(1) + table[vocabulary.goals_type]
        rows = torch.cat([edges + table[vocabulary.edge_type], goals[:, None]], dim=1)
        seen = torch.cat([batch.real, batch.real.new_ones(len(goals), 1)], dim=1)
        bias = torch.zeros(seen.shape).masked_fill(~seen, _HIDDEN)[:, None]
        layer: Any = self.layers[0]
        made = layer.attention_norm(rows)
        return Prompt(made, made.detach(), bias)

    def start(self, batch: Batch) -> Tensor:
        """The rows of the roots, shape [batch, width]."""
        table, vocabulary = self.embed.weight, self.shape.vocabulary
        return table[batch.root + vocabulary.root] + table[vocabulary.start_type]

    def answer_row(self, batch: Batch) -> Tensor:
        """The rows that ask for the answer, shape [batch, width]."""
        table, vocabulary = self.embed.weight, self.shape.vocabulary
        return embedding(batch.candidates + vocabulary.candidate, table).sum(1) + table[vocabulary.answer_type]

    def pause_row(self, count: int) -> Tensor:
        """As many rows of the pause token, shape [count, width]."""
        return self.embed.weight[self.shape.vocabulary.pause].expand(count, -1)

    def step(self, row: Tensor, prompt: Prompt, past: list[Tensor], bias: Tensor | None = None) -> Tensor:
        """Computes one row more of every sequence, shape [batch, width]; its hidden row after the final norm.

        `past` holds the normed rows after the prompt, and takes this one too. `bias`, shape [batch, len(past) + 1], is
        added to the scores of these and of the row itself.
        """
        layer: Any = self.layers[0]
        width = self.shape.width
        of_query, of_key, of_value = layer.qkv.weight.split(width)
        # A key's bias adds the same to all scores, which a softmax does not see.
        bias_query, _, bias_value = layer.qkv.bias.split(width)
        normed = layer.attention_norm(row)
        past.append(normed)
        own = torch.stack(past, dim=1)
        query = linear(linear(normed, of_query, bias_query) * width**-0.5, of_key.T)[:, None]
        of_own = query @ own.transpose(1, 2)
        if bias is not None:
            of_own = of_own + bias[:, None]
        scores = torch.cat([_Scores.apply(query, prompt) + prompt.bias, of_own], dim=-1)
        shares = scores.softmax(-1)
        rows = prompt.rows.shape[1]
        mixed = _Mixed.apply(shares[..., :rows], prompt) + shares[..., rows:] @ own
        row = row + layer.output(linear(mixed[:, 0], of_value, bias_value))
        hidden: Tensor = row + layer.down(gelu(layer.up(layer.mlp_norm(row)), approximate="tanh"))
        normed_hidden: Tensor = self.norm(hidden)
        return normed_hidden

    def config(self, latent: Mapping[str, Any]) -> dict[str, Any]:
        """What config.json says of the model."""
        return {
            "architectures": ["SapienceDecoder"],
            "model_type": "sapience_decoder",
            "hidden_size": self.shape.width,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "intermediate_size": self.shape.mlp,
            "vocab_size": self.shape.vocabulary.size,
            "max_position_embeddings": 512,
            "position": "none",
            "norm": "layer",
            "norm_epsilon": 1e-5,
            "activation": "gelu_new",
            "tie_word_embeddings": False,
            "bias": True,
            "symbols": {"task": "prosqa", "count": self.shape.symbols},
            "latent": {"pause_token": self.shape.vocabulary.pause, "projection": False, "halt": True, **latent},
        }

    def parameter_count(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


def save(folder: Path, model: SymbolicDecoder, latent: Mapping[str, Any]) -> None:
    """Writes config.json and model.safetensors, float32."""
    import json

    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config(latent), indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> tuple[SymbolicDecoder, dict[str, Any]]:
    """A model that `save` wrote, and its config. Raises what reading the files raises."""
    import json

    from safetensors.torch import load_file

    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    shape = Shape(config["symbols"]["count"], config["hidden_size"], config["intermediate_size"])
    model = SymbolicDecoder(shape)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval(), config


class _Scores(torch.autograd.Function):
    """query @ rows^T, with the gradient of the rows left to `Prompt.backward`."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, prompt: Prompt) -> Tensor:
        ctx.prompt = prompt
        ctx.save_for_backward(query)
        return query @ prompt.rows.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (query,) = ctx.saved_tensors
        # Detached: a tensor with its graph in a list of that graph is never freed.
        ctx.prompt.owed.append((gradient, query.detach()))
        return gradient @ ctx.prompt.rows, None


class _Mixed(torch.autograd.Function):
    """shares @ rows, likewise."""

    @staticmethod
    def forward(ctx: Any, shares: Tensor, prompt: Prompt) -> Tensor:
        ctx.prompt = prompt
        ctx.save_for_backward(shares)
        return shares @ prompt.rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (shares,) = ctx.saved_tensors
        ctx.prompt.owed.append((shares.detach(), gradient))
        return gradient @ ctx.prompt.rows.transpose(1, 2), None
