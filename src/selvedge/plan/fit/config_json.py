"""A model's own `config.json`, as the hub has it, read as an architecture.

The file is others' and has hundreds of keys: those that decide are read under the names that the
families use, the rest is passed over. What cannot be counted (layers without attention) is refused
by name, for a number that leaves them out would be wrong. So is what cannot be: heads that do not
divide, more experts chosen than there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from selvedge.plan.fit.architectures import UNGATED, Architecture, Latent
from selvedge.plan.fit.quantisations import FORMATS
from selvedge.plan.history import BadPlan

_BYTES_MAX: Final = 4 * 1024 * 1024
_NUMBER_MAX: Final = 10**9
_MOST: Final = {
    "layers": 10_000,
    "hidden": 10**6,
    "heads": 10_000,
    "kv_heads": 10_000,
    "head_dim": 65_536,
    "intermediate": 10**8,
    "vocab": 10**8,
    "experts": 65_536,
    "active": 65_536,
    "expert_intermediate": 10**8,
    "shared": 1000,
}
"""Beyond these it is no model but a mistake."""
_CONTEXT_UNSAID: Final = 2048
_OTHER_LAYERS: Final = (
    *("attn_layer_period", "attn_type_list", "full_attention_interval", "hybrid_override_pattern"),
    *("layers_block_type", "linear_attn_config", "mamba_d_state", "ssm_cfg", "state_size"),
)
"""Keys of models in which some layers keep no context token by token."""
_SOME_LAYERS: Final = (
    *("decoder_sparse_step", "expert_layer_period", "interleave_moe_layer_step"),
    "moe_layer_freq",
)
"""Every how many layers there are experts."""
_NAMES: Final = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "n_head_kv", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate": ("intermediate_size", "ffn_hidden_size", "n_inner"),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "experts": ("num_local_experts", "n_routed_experts", "num_experts"),
    "active": ("num_experts_per_tok", "experts_per_token", "moe_top_k"),
    "expert_intermediate": ("moe_intermediate_size",),
    "shared": ("n_shared_experts",),
    "dense_layers": ("first_k_dense_replace",),
    "window": ("sliding_window",),
}
_ATTENTIONS: Final = {"full_attention": False, "sliding_attention": True}


def read_config(path: Path) -> tuple[str, Architecture]:
    """The name and the architecture. A folder stands for the file in it. Raises `BadPlan`."""
    file = path / "config.json" if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            data = opened.read(_BYTES_MAX + 1)
        found = msgspec.json.decode(data)
    except OSError as error:
        words = f"cannot be read ({error.strerror}); name the model's config.json"
        raise BadPlan(f"{file} {words}.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadPlan(f"{file} is not JSON: {error}; fetch it again.") from error
    if len(data) > _BYTES_MAX or not isinstance(found, dict):
        raise BadPlan(f"{file} is no config.json of a model: an object of at most 4 MiB.")
    inner = found.get("text_config")
    keys = {**found, **inner} if isinstance(inner, dict) else found
    return file.parent.resolve().name or "own", _Config(file, keys).architecture()


class _Config:
    """The keys of one file, with what is said when one is wrong."""

    def __init__(self, file: Path, keys: Mapping[str, object]) -> None:
        self._file = file
        self._keys = keys

    def architecture(self) -> Architecture:
        """All of it. Raises `BadPlan`."""
        kind = str(self._keys.get("model_type", ""))
        self._refuse_others()
        layers, hidden, heads = self._need("layers"), self._need("hidden"), self._need("heads")
        experts = self._number("experts") or 0
        own = self._number("expert_intermediate")
        dense = self._number("intermediate") or (4 * hidden if kind in UNGATED else 0)
        windowed, window = self._windows(layers)
        if experts and own is None:
            own, dense = dense, 0
        if not experts and not dense:
            raise self._bad("intermediate_size", "is missing; add it")
        kv_heads = self._number("kv_heads")
        if kv_heads is None or (self._says("multi_query") and not self._says(_NEW_FALCON)):
            kv_heads = 1 if self._says("multi_query") else heads
        context = self._number("context")
        unsaid = f" (no max_position_embeddings: {_CONTEXT_UNSAID} taken)" if not context else ""
        found = Architecture(
            source=f"{self._file}{unsaid}",
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=self._number("head_dim") or hidden // heads,
            intermediate=dense,
            vocab=self._need("vocab"),
            context_tokens_max=context or _CONTEXT_UNSAID,
            native=self._native(),
            gated=kind not in UNGATED,
            tied=self._says("tie_word_embeddings", kind in UNGATED),
            window=window,
            windowed_layers=windowed,
            experts=experts,
            experts_active=self._number("active") or (1 if experts else 0),
            expert_intermediate=own or 0,
            experts_shared=self._number("shared") or 0,
            dense_layers=(self._number("dense_layers") or 0) if experts else 0,
            latent=self._latent(),
            attention_bias=self._says("attention_bias"),
            qk_norm=kind.startswith("qwen3"),
        )
        self._check(found)
        return found

    def _refuse_others(self) -> None:
        """What is no decoder whose every layer keeps its context."""
        for name in _OTHER_LAYERS:
            if self._keys.get(name) is not None:
                raise self._bad(name, "has layers that keep no context token by token; not counted")
        if self._keys.get("is_encoder_decoder") is True:
            raise self._bad("is_encoder_decoder", "it is no decoder alone; it is not counted here")
        for name in _SOME_LAYERS:
            every = self._keys.get(name)
            if every not in (None, 1) and not isinstance(every, bool):
                raise self._bad(name, f"{every!r}: experts in some layers only are not counted")

    def _check(self, found: Architecture) -> None:
        """What does not hang together."""
        kv_heads, kinds = found.kv_heads, self._keys.get("layer_types")
        if found.latent is None and (kv_heads > found.heads or found.heads % kv_heads):
            words = f"{kv_heads} do not divide the {found.heads} attention heads; correct one"
            raise self._bad(_NAMES["kv_heads"][0], words)
        if kinds is not None and (not isinstance(kinds, list) or len(kinds) != found.layers):
            words = f"it is no list of {found.layers} kinds; name each layer's"
            raise self._bad("layer_types", words)
        if found.experts_active > max(found.experts, 1):
            words = f"{found.experts_active} of {found.experts} experts; correct one"
            raise self._bad(_NAMES["active"][0], words)
        if found.dense_layers > found.layers:
            words = f"{found.dense_layers} exceed the {found.layers} layers; correct one"
            raise self._bad(_NAMES["dense_layers"][0], words)

    def _latent(self) -> Latent | None:
        names = ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim")
        if self._keys.get(names[0]) is None:
            return None
        rank, rope, nope, value = (self._whole(name) for name in names)
        q_rank = self._keys.get("q_lora_rank")
        return Latent(
            kv_rank=rank,
            rope_dim=rope,
            nope_dim=nope,
            value_dim=value,
            q_rank=None if q_rank is None else self._whole("q_lora_rank"),
        )

    def _windows(self, layers: int) -> tuple[int, int | None]:
        """How many layers slide, and over how many tokens."""
        window = self._number("window")
        kinds = self._keys.get("layer_types")
        if isinstance(kinds, list):
            strange = [str(one) for one in kinds if str(one) not in _ATTENTIONS]
            if strange:
                words = f"{strange[0]!r} keeps no context token by token; it is not counted here"
                raise self._bad("layer_types", words)
            sliding = sum(_ATTENTIONS[one] for one in kinds)
            return (sliding, window) if window is not None else (0, None)
        if window is None or self._keys.get("use_sliding_window") is False:
            return 0, None
        pattern = self._keys.get("sliding_window_pattern")
        if isinstance(pattern, int) and pattern > 1:
            return layers - layers // pattern, window
        return layers, window

    def _native(self) -> str:
        given = self._keys.get("quantization_config")
        if not isinstance(given, dict):
            return "BF16"
        method = str(given.get("quant_method", ""))
        named = _of_bits(given) if method in ("gptq", "compressed-tensors") else method.upper()
        return named if named in FORMATS else "BF16"

    def _says(self, name: str, default: bool = False) -> bool:
        found = self._keys.get(name, default)
        if not isinstance(found, bool):
            raise self._bad(name, f"{found!r} is not true or false; correct it")
        return found

    def _need(self, name: str) -> int:
        found = self._number(name)
        if found is None:
            raise self._bad(_NAMES[name][0], "is missing; add it")
        return found

    def _number(self, name: str) -> int | None:
        for known in _NAMES[name]:
            if self._keys.get(known) is not None:
                return self._whole(known, _MOST.get(name, _NUMBER_MAX))
        return None

    def _whole(self, known: str, most: int = _NUMBER_MAX) -> int:
        found = self._keys.get(known)
        least = 0 if known in ("n_shared_experts", "first_k_dense_replace") else 1
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._bad(known, f"{str(found)[:40]!r} is not a whole number; correct it")
        if not least <= found <= most:
            raise self._bad(known, f"{str(found)[:20]} is not from {least} to {most}; correct it")
        return found

    def _bad(self, name: str, words: str) -> BadPlan:
        return BadPlan(f"{self._file}: {name}: {words}.")


def _of_bits(given: Mapping[str, object]) -> str:
    """What a quantiser's own words say of its weights: bits, and whether they are floats."""
    bits, kind = given.get("bits", 4 if given.get("quant_method") == "gptq" else 8), "int"
    groups = given.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            bits, kind = weights.get("num_bits"), str(weights.get("type"))
    if bits == 8:
        return "FP8" if kind == "float" else "INT8"
    return "INT4" if bits == 4 else "BF16"


_NEW_FALCON: Final = "new_decoder_architecture"
