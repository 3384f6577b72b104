"""The catalogue of models that comes with the package (`models.yaml`), and what a fleet file takes
from it.

A row is what the maker says of a model. It refuses to know what a model costs (the price book), how
fast it is (measured, never listed), and where weights lie.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Final, Literal

import msgspec
from ruamel.yaml import YAML

from selvedge.fabric import BadRelease, ModelKind

_FILE: Final = importlib.resources.files("selvedge.adapters") / "models.yaml"
_KV_BYTES: Final = 2
"""Of one number in an engine's memory of context, unless that is quantised as well."""


class Quantisation(msgspec.Struct, frozen=True):
    """A way to write weights: its bits per weight in thousandths, and who reads it.

    Bits are of the format with its scales; a file has a little more, for what it leaves as it was.
    """

    name: str
    millibits: int
    engines: Literal["gpu", "llama.cpp", "both"]
    meaning: str


QUANTISATIONS: Final[Mapping[str, Quantisation]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Quantisation("BF16", 16_000, "both", "as trained"),
            Quantisation("F16", 16_000, "both", "half precision"),
            Quantisation("FP8", 8_000, "gpu", "8-bit floats, made while loading"),
            Quantisation("AWQ", 4_250, "gpu", "4 bits, activation-aware, groups of 128"),
            Quantisation("MXFP4", 4_250, "both", "4-bit floats in blocks of 32, as released"),
            Quantisation("Q8_0", 8_500, "llama.cpp", "8 bits in blocks of 32"),
            Quantisation("Q4_K_M", 4_850, "llama.cpp", "4 bits in superblocks, parts in 6"),
            Quantisation("Q4_1", 5_000, "llama.cpp", "4 bits in blocks of 32, with an offset"),
            Quantisation("Q4_0", 4_500, "llama.cpp", "4 bits in blocks of 32"),
        )
    }
)


class KnownModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row. Parameters and tokens are whole numbers; what is left out does not apply."""

    kind: ModelKind
    parameters: int
    context_tokens_max: int
    licence: str
    active_parameters: int | None = None
    source: str | None = None
    gguf: str | None = None
    layers: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    quantisations: tuple[str, ...] = ()
    base: str | None = None
    adapter_rank: int | None = None
    bundled: str | None = None
    about: str | None = None

    @property
    def kv_bytes_per_token(self) -> int | None:
        """What one token of context takes of an engine's memory; None where it is not this easy."""
        if self.layers is None or self.kv_heads is None or self.head_dim is None:
            return None
        return 2 * self.layers * self.kv_heads * self.head_dim * _KV_BYTES

    def weights_bytes(self, quantisation: str) -> int:
        """About how large the weights are, written so."""
        return self.parameters * QUANTISATIONS[quantisation].millibits // 8_000


class ModelCatalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All rows, and the day on which somebody last looked through them."""

    reviewed: date
    models: dict[str, KnownModel]

    def model(self, name: str) -> KnownModel:
        """A row by name. Raises `BadRelease` with the names there are."""
        found = self.models.get(name)
        if found is None:
            words = f"{name!r} is not in the catalogue; 'selvedge model list' shows what is"
            raise BadRelease("catalogue", words)
        return found

    def adapters_of(self, name: str) -> list[str]:
        """The rows that are loaded upon this one."""
        return [one for one, row in self.models.items() if row.base == name]


def read_catalogue() -> ModelCatalogue:
    """The rows that come with the package."""
    found = YAML(typ="safe", pure=True).load(_FILE.read_text("utf-8"))
    return msgspec.convert(found, ModelCatalogue)


def fill_models(found: object) -> None:
    """Give the models of a fleet file, as read, what the catalogue says of them.

    What the file says itself goes before. Raises `BadRelease` with the field.
    """
    models = found.get("models") if isinstance(found, dict) else None
    named = {
        name: entry
        for name, entry in (models.items() if isinstance(models, dict) else ())
        if isinstance(entry, dict) and isinstance(entry.get("catalogue"), str)
    }
    if not named:
        return
    catalogue = read_catalogue()
    for name, entry in named.items():
        try:
            row = catalogue.model(entry["catalogue"])
        except BadRelease as error:
            raise BadRelease(f"models.{name}.catalogue", str(error).partition(": ")[2]) from error
        _check_quantisation(name, entry, row)
        entry.setdefault("kind", row.kind)
        entry.setdefault("context_tokens_max", row.context_tokens_max)
        if row.quantisations:
            entry.setdefault("quantisation", row.quantisations[0])
        if row.base is not None:
            entry.setdefault("base", _base_of(name, row.base, models))


def _check_quantisation(name: str, entry: Mapping[str, object], row: KnownModel) -> None:
    asked = entry.get("quantisation")
    if asked is not None and row.quantisations and asked not in row.quantisations:
        words = f"{asked!r} is not one of {', '.join(row.quantisations)}"
        raise BadRelease(f"models.{name}.quantisation", words)


def _base_of(name: str, base: str, models: object) -> str:
    """The model of this file that an adapter's base is."""
    assert isinstance(models, dict)
    for other, entry in models.items():
        if isinstance(entry, dict) and entry.get("catalogue") == base:
            return str(other)
    words = f"it is an adapter of {base!r}; add a model with 'catalogue: {base}', or name 'base'"
    raise BadRelease(f"models.{name}.base", words)
