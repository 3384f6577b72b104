"""Rewrite a BERT sentence encoder from safetensors as a GGUF file that llama.cpp serves.

Written from the GGUF specification's key names and the tensor names of the `gguf` package. The
result computes the same vectors: matrices in half precision, biases, norms, positions and token
types in single precision, attention that looks both ways, and the mean of all tokens as the
sentence.

The vocabulary changes its notation. WordPiece marks a piece that *continues* a word (`##ing`);
llama.cpp marks a piece that *begins* one, with U+2581 in front, and leaves the others bare.

It refuses to know where the files come from and where the result is kept, and it refuses what it
would translate wrongly: another architecture, another pooling, an absent tensor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gguf
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Raise it whenever the same source would give another file: it is part of the file's name."""

WORD_START = "\u2581"

# Numbers of the GGUF specification.
FILE_MOSTLY_F16 = 1
POOLING_MEAN = 1
TOKEN_NORMAL, TOKEN_CONTROL, TOKEN_UNUSED = 1, 3, 5


class Unconvertible(Exception):
    """The source is not what this module translates; the text says which part."""


_GLOBAL = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}

_PER_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}

_SINGLE_PRECISION = {"position_embd.weight", "token_types.weight"}

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, slots=True)
class _Shape:
    """The hyperparameters of an encoder, as its `config.json` names them."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    type_vocab_size: int
    vocab_size: int
    layer_norm_eps: float


def convert(source: Path, target: Path, *, name: str) -> None:
    """Write the encoder in the directory `source` to the file `target`, which is overwritten.

    `source` holds `model.safetensors`, `config.json`, `vocab.txt` and
    `1_Pooling/config.json`. Raises Unconvertible, OSError if the disk refuses, or ImportError
    without the packages `gguf` and `safetensors`.
    """
    import gguf  # noqa: PLC0415 (the engine extra, optional)

    shape = _read_shape(source)
    _require_mean_pooling(source)
    tokens = _read_tokens(source, shape.vocab_size)
    tensors = _read_tensors(source / "model.safetensors", shape)
    writer = gguf.GGUFWriter(path=None, arch="bert")
    _add_shape(writer, shape, name)
    _add_vocabulary(writer, tokens, shape)
    for tensor_name, tensor in tensors.items():
        writer.add_tensor(tensor_name, tensor)
    try:
        writer.write_header_to_file(path=target)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def require_bert(source: Path) -> tuple[int, int]:
    """Layers and heads of the encoder in a directory; raises Unconvertible where it is another."""
    shape = _read_shape(source)
    _require_mean_pooling(source)
    return shape.num_hidden_layers, shape.num_attention_heads


def _read_object(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise Unconvertible(f"{path.name} is not JSON") from error
    if not isinstance(found, dict):
        raise Unconvertible(f"{path.name} is not an object")
    return found


def _read_shape(source: Path) -> _Shape:
    config = _read_object(source / "config.json")
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, required in expected.items():
        if config.get(key) != required:
            raise Unconvertible(f"config.json has {key} {config.get(key)!r}, not {required!r}")
    numbers: dict[str, int | float] = {}
    for key in _Shape.__dataclass_fields__:
        value = config.get(key)
        if not isinstance(value, int | float) or value <= 0:
            raise Unconvertible(f"config.json has {key} {value!r}")
        numbers[key] = value
    eps = float(numbers.pop("layer_norm_eps"))
    return _Shape(**{key: int(value) for key, value in numbers.items()}, layer_norm_eps=eps)


def _require_mean_pooling(source: Path) -> None:
    pooling = _read_object(source / "1_Pooling" / "config.json")
    modes = {key for key, on in pooling.items() if key.startswith("pooling_mode_") and on is True}
    if modes != {"pooling_mode_mean_tokens"}:
        raise Unconvertible(f"its pooling is {sorted(modes)}, not the mean of the tokens")


def _read_tokens(source: Path, count: int) -> list[str]:
    tokens = (source / "vocab.txt").read_text(encoding="utf-8").split("\n")
    while tokens and not tokens[-1]:
        tokens.pop()
    if len(tokens) != count:
        raise Unconvertible(f"vocab.txt has {len(tokens)} tokens, not {count}")
    absent = [token for token in _SPECIAL if token not in tokens]
    if absent:
        raise Unconvertible(f"vocab.txt has no {absent[0]}")
    return tokens


def _tensor_names(layers: int) -> dict[str, str]:
    names = dict(_GLOBAL)
    for layer in range(layers):
        for theirs, ours in _PER_LAYER.items():
            for part in ("weight", "bias"):
                names[f"encoder.layer.{layer}.{theirs}.{part}"] = f"blk.{layer}.{ours}.{part}"
    return names


def _read_tensors(path: Path, shape: _Shape) -> dict[str, NDArray[np.floating]]:
    import safetensors  # noqa: PLC0415 (the engine extra, optional)

    tensors: dict[str, NDArray[np.floating]] = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for theirs, ours in _tensor_names(shape.num_hidden_layers).items():
                tensor: NDArray[np.floating] = file.get_tensor(theirs)
                halved = tensor.ndim == 2 and ours not in _SINGLE_PRECISION
                tensors[ours] = tensor.astype("float16" if halved else "float32")
    except safetensors.SafetensorError as error:
        raise Unconvertible(f"{path.name}: {error}") from error
    if tensors["token_embd.weight"].shape != (shape.vocab_size, shape.hidden_size):
        raise Unconvertible("the embedding table does not have the shape of config.json")
    return tensors


def _add_shape(writer: gguf.GGUFWriter, shape: _Shape, name: str) -> None:
    writer.add_type("model")
    writer.add_name(name)
    writer.add_license("apache-2.0")
    writer.add_file_type(FILE_MOSTLY_F16)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_layer_norm_eps(shape.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_uint32("bert.pooling_type", POOLING_MEAN)


def _add_vocabulary(writer: gguf.GGUFWriter, tokens: list[str], shape: _Shape) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_llama_token(token) for token in tokens])
    writer.add_token_types([_token_type(token) for token in tokens])
    writer.add_token_type_count(shape.type_vocab_size)
    pad, unknown, start, end, mask = (tokens.index(token) for token in _SPECIAL)
    writer.add_pad_token_id(pad)
    writer.add_unk_token_id(unknown)
    writer.add_bos_token_id(start)
    writer.add_eos_token_id(end)
    writer.add_sep_token_id(end)
    writer.add_mask_token_id(mask)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(True)


def _is_bracketed(token: str) -> bool:
    return len(token) > 2 and token.startswith("[") and token.endswith("]")


def _llama_token(token: str) -> str:
    """`[CLS]` -> `[CLS]`, `##ing` -> `ing`, `word` -> `▁word`."""
    if _is_bracketed(token):
        return token
    if token.startswith("##"):
        return token[2:]
    return WORD_START + token


def _token_type(token: str) -> int:
    if token in _SPECIAL:
        return TOKEN_CONTROL
    return TOKEN_UNUSED if _is_bracketed(token) else TOKEN_NORMAL
