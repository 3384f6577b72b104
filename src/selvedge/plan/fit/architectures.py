"""What a model is made of, as numbers: enough to count its weights and its memory of context.

Rows of `architectures.toml`, or a `config.json` as the hub has it. Weights are counted in two
parts, because quantisation treats them differently: matrices of the layers, and what stays in 16
bits (embeddings, the head, norms, routers).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.plan.fit.names import nearest, shortened
from selvedge.plan.history import BadPlan


class Latent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Latent attention (DeepSeek's MLA): context is kept as one narrow vector per layer."""

    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    q_rank: int | None = None


class Counted(msgspec.Struct, frozen=True):
    """Parameters, by how they are stored and shared."""

    attention: int
    """Matrices of attention, but those of keys and values."""
    key_value: int
    """Matrices of keys and values: each GPU needs a head, whatever the number of GPUs."""
    dense: int
    """Of the layers without experts, and experts that all tokens pass."""
    experts: int
    """Of experts that are chosen."""
    kept: int
    """Embeddings and head: 16 bits in formats for GPUs."""
    small: int
    """Norms, biases, routers: 16 bits, on every GPU."""

    @property
    def total(self) -> int:
        """All of them."""
        layers = self.attention + self.key_value + self.dense + self.experts
        return layers + self.kept + self.small


class Architecture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A decoder. Sizes are elements; zero or False where it has none of the kind."""

    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context_tokens_max: int
    intermediate: int = 0
    parameters: int | None = None
    """As the makers' files hold; None: counted."""
    native: str = "BF16"
    gated: bool = True
    """Three matrices in a dense part, not two."""
    tied: bool = False
    window: int | None = None
    windowed_layers: int = 0
    experts: int = 0
    experts_active: int = 0
    expert_intermediate: int = 0
    experts_shared: int = 0
    dense_layers: int = 0
    """Of a model with experts: the first layers that have none."""
    latent: Latent | None = None
    attention_bias: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    qk_norm: bool = False
    sinks: bool = False
    norms_per_layer: int = 2
    norms_last: int = 1
    aliases: tuple[str, ...] = ()

    @property
    def full_layers(self) -> int:
        """Layers that look at the whole context."""
        return self.layers - self.windowed_layers

    def count(self) -> Counted:
        """Its parameters, by part."""
        attention, key_value, small = self._attention()
        dense_layers = self.dense_layers if self.experts else self.layers
        expert_layers = self.layers - dense_layers
        one = (3 if self.gated else 2) * self.hidden
        dense = dense_layers * one * self.intermediate
        dense += expert_layers * one * self.expert_intermediate * self.experts_shared
        experts = expert_layers * self.experts * one * self.expert_intermediate
        small += self.norms_per_layer * self.hidden * self.layers + self.norms_last * self.hidden
        small += expert_layers * self.experts * self.hidden
        if self.router_bias or self.expert_bias:
            small += expert_layers * self.experts
        if self.expert_bias:
            bias = 2 * self.expert_intermediate + self.hidden
            small += expert_layers * self.experts * bias
        kept = self.vocab * self.hidden * (1 if self.tied else 2)
        return Counted(attention, key_value, dense, experts, kept, small)

    def active_parameters(self) -> int:
        """Those that one token passes: of experts the chosen ones."""
        counted = self.count()
        share = self.experts_active / self.experts if self.experts else 0.0
        return counted.total - counted.experts + int(counted.experts * share)

    def _attention(self) -> tuple[int, int, int]:
        """Matrices, those of keys and values, and small things, of all layers."""
        if self.latent is not None:
            return self._latent(self.latent)
        width = self.heads * self.head_dim
        narrow = 2 * self.kv_heads * self.head_dim
        small = 0
        if self.attention_bias:
            small += width + narrow + self.hidden
        if self.qk_norm:
            small += 2 * self.head_dim
        if self.sinks:
            small += self.heads
        matrices = 2 * self.hidden * width
        return self.layers * matrices, self.layers * self.hidden * narrow, self.layers * small

    def _latent(self, latent: Latent) -> tuple[int, int, int]:
        width = latent.nope_dim + latent.rope_dim
        both = latent.nope_dim + latent.value_dim
        matrices = self.heads * latent.value_dim * self.hidden
        matrices += latent.kv_rank * self.heads * both
        narrow = self.hidden * (latent.kv_rank + latent.rope_dim)
        small = latent.kv_rank
        if latent.q_rank is None:
            matrices += self.hidden * self.heads * width
        else:
            matrices += latent.q_rank * self.heads * width
            narrow += self.hidden * latent.q_rank
            small += latent.q_rank
        return self.layers * matrices, self.layers * narrow, self.layers * small


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reviewed: str
    models: dict[str, Architecture]


@functools.cache
def read_architectures() -> Mapping[str, Architecture]:
    """The table of the package."""
    text = resources.files("selvedge.plan.fit").joinpath("architectures.toml").read_text("utf-8")
    return MappingProxyType(msgspec.convert(tomllib.loads(text), _Table).models)


def find_architecture(name: str) -> tuple[str, Architecture]:
    """A row by its name or another name of it, whatever the case. Raises `BadPlan`."""
    models = read_architectures()
    wanted = name.casefold()
    for known, row in models.items():
        if wanted in (known.casefold(), *(alias.casefold() for alias in row.aliases)):
            return known, row
    meant = nearest(name, [*models, *(alias for row in models.values() for alias in row.aliases)])
    words = f"known are {', '.join(models)}; of another, name its config.json{meant}"
    raise BadPlan(f"model {shortened(name)} is not in the table; {words}.")


UNGATED: Final = frozenset(
    {
        *("falcon", "RefinedWeb", "RefinedWebModel", "gpt2", "gpt_neox", "gptj", "bloom"),
        *("opt", "phi", "starcoder2", "mpt", "gpt_bigcode"),
    }
)
"""Kinds of models (`model_type`) whose dense part has two matrices."""
