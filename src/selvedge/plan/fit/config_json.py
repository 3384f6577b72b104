"""A model's own `config.json`, as the hub has it, read as an architecture.

The file is others' and has hundreds of keys: those that decide are read under the names that the
families use, the rest is passed over. What cannot be counted (layers without attention) is refused
by name, for a number that leaves them out would be wrong.
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
_NAMES: Final = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "n_head_kv", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate": ("intermediate_size", "ffn_hidden_size", "n_inner"),
    "vocab": ("vocab_size",),
    "context": ("max_position_embeddings", "n_positions", "max_seq_len"),
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
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadPlan(f"{file} is not JSON: {error}.") from error
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
        return Architecture(
            source=str(self._file),
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=self._number("head_dim") or hidden // heads,
            intermediate=dense,
            vocab=self._need("vocab"),
            context_tokens_max=self._number("context") or 2048,
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
            strange = [str(one) for one in kinds if one not in _ATTENTIONS]
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
        method = str(given.get("quant_method", "")) if isinstance(given, dict) else ""
        named = {"gptq": "INT4", "compressed-tensors": "INT8"}.get(method, method.upper())
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
                return self._whole(known)
        return None

    def _whole(self, known: str) -> int:
        found = self._keys.get(known)
        least = 0 if known in ("n_shared_experts", "first_k_dense_replace") else 1
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._bad(known, f"{found!r} is not a whole number; correct it")
        if not least <= found <= _NUMBER_MAX:
            raise self._bad(known, f"{found} is not from {least} to {_NUMBER_MAX}; correct it")
        return found

    def _bad(self, name: str, words: str) -> BadPlan:
        return BadPlan(f"{self._file}: {name}: {words}.")


_NEW_FALCON: Final = "new_decoder_architecture"
