"""Write a BERT sentence encoder from safetensors as an ONNX graph, mean and norm included.

Half the time of the same model in llama.cpp on one sentence and one core. Only operators of the
standard (opset 20), in plain form; onnxruntime fuses what it can. Query, key and value are one
product, and the scale of the attention is in the query's weights. In goes a batch of piece numbers,
a mask of 1.0 and 0.0 and the positions; out come unit vectors.

It refuses what it would compute wrongly, with `bert_gguf`'s checks: another architecture, another
pooling, an absent tensor.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from selvedge.adapters.bert_gguf import Unconvertible, require_bert

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSION = 1
"""Raise it whenever the same source would give another file: it is part of the file's name."""
INPUTS = ("pieces", "mask", "positions")
OUTPUT = "vectors"


def convert(source: Path, target: Path) -> None:
    """Write the encoder in the directory ``source`` to the file ``target``.

    Raises Unconvertible, OSError if the disk refuses, or ImportError without the cache extra.
    """
    import safetensors.numpy  # noqa: PLC0415 (the cache extra, optional)

    layers, heads = require_bert(source)
    try:
        weights = safetensors.numpy.load_file(source / "model.safetensors")
        model = _Graph(weights, heads).encoder(layers)
    except KeyError as error:
        raise Unconvertible(f"model.safetensors has no {error}") from error
    target.write_bytes(model)


class _Graph:
    """Nodes and weights, as they are written down; every result has a number for a name."""

    def __init__(self, weights: dict[str, NDArray[np.float32]], heads: int) -> None:
        self._weights = weights
        self._heads = heads
        self._nodes: list[Any] = []  # onnx's protobuf classes, made at run time
        self._constants: dict[str, Any] = {}
        self._count = 0

    def encoder(self, layers: int) -> bytes:
        """The whole graph, serialised."""
        from onnx import TensorProto, helper  # noqa: PLC0415

        x = self._embedded()
        bias = self._attention_bias()
        for layer in range(layers):
            x = self._layer(x, bias, f"encoder.layer.{layer}.")
        self._pooled(x)
        size = self._weight("embeddings.word_embeddings.weight").shape[1]
        whole, real = TensorProto.INT64, TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "sentence encoder",
            [
                helper.make_tensor_value_info("pieces", whole, ["sentences", "length"]),
                helper.make_tensor_value_info("mask", real, ["sentences", "length"]),
                helper.make_tensor_value_info("positions", whole, ["length"]),
            ],
            [helper.make_tensor_value_info(OUTPUT, real, ["sentences", size])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 20)]
        made: bytes = helper.make_model(
            graph, opset_imports=opsets, ir_version=9
        ).SerializeToString()
        return made

    def _embedded(self) -> str:
        words = self._weight("embeddings.word_embeddings.weight")
        places = self._weight("embeddings.position_embeddings.weight")
        kinds = self._weight("embeddings.token_type_embeddings.weight")
        word = self._do("Gather", self._constant("words", words), "pieces")
        place = self._do("Gather", self._constant("places", places + kinds[0]), "positions")
        return self._norm(self._do("Add", word, place), "embeddings.LayerNorm")

    def _attention_bias(self) -> str:
        mask = self._do("Unsqueeze", "mask", self._whole("axes 1 2", [1, 2]))
        gaps = self._do("Sub", self._real("one", 1.0), mask)
        return self._do("Mul", gaps, self._real("far", -1e9))

    def _layer(self, x: str, bias: str, name: str) -> str:
        attended = self._attend(x, bias, f"{name}attention.self.")
        out = self._linear(attended, f"{name}attention.output.dense")
        x = self._norm(self._do("Add", x, out), f"{name}attention.output.LayerNorm")
        inner = self._do("Gelu", self._linear(x, f"{name}intermediate.dense"))
        out = self._linear(inner, f"{name}output.dense")
        return self._norm(self._do("Add", x, out), f"{name}output.LayerNorm")

    def _attend(self, x: str, bias: str, name: str) -> str:
        import numpy as np  # noqa: PLC0415

        width = self._weight(f"{name}query.weight").shape[0]
        each = width // self._heads
        scale = np.float32(1 / np.sqrt(each))
        parts = ("query", "key", "value")
        factors = (scale, np.float32(1), np.float32(1))
        matrix = np.concatenate(
            [self._weight(f"{name}{p}.weight").T * f for p, f in zip(parts, factors, strict=True)],
            axis=1,
        )
        vector = np.concatenate(
            [self._weight(f"{name}{p}.bias") * f for p, f in zip(parts, factors, strict=True)]
        )
        product = self._do("MatMul", x, self._constant(f"{name}weight", matrix))
        together = self._do("Add", product, self._constant(f"{name}bias", vector))
        query, key, value = self._split(together)
        split = self._whole("heads", [0, 0, self._heads, each])
        query = self._turn(self._do("Reshape", query, split), [0, 2, 1, 3])
        key = self._turn(self._do("Reshape", key, split), [0, 2, 3, 1])
        value = self._turn(self._do("Reshape", value, split), [0, 2, 1, 3])
        scores = self._do("Add", self._do("MatMul", query, key), bias)
        shares = self._do("Softmax", scores, axis=-1)
        mixed = self._turn(self._do("MatMul", shares, value), [0, 2, 1, 3])
        return self._do("Reshape", mixed, self._whole("width", [0, 0, width]))

    def _pooled(self, x: str) -> None:
        """The mean of all real pieces, with length one."""
        mask = self._do("Unsqueeze", "mask", self._whole("axes 2", [2]))
        axis = self._whole("axes 1", [1])
        total = self._do("ReduceSum", self._do("Mul", x, mask), axis, keepdims=0)
        count = self._do("ReduceSum", mask, axis, keepdims=0)
        mean = self._do("Div", total, count)
        length = self._do("ReduceL2", mean, axis, keepdims=1)
        self._do("Div", mean, length, into=OUTPUT)

    def _linear(self, x: str, name: str) -> str:
        matrix = self._constant(f"{name}.weight", self._weight(f"{name}.weight").T)
        bias = self._constant(f"{name}.bias", self._weight(f"{name}.bias"))
        return self._do("Add", self._do("MatMul", x, matrix), bias)

    def _norm(self, x: str, name: str) -> str:
        scale = self._constant(f"{name}.weight", self._weight(f"{name}.weight"))
        shift = self._constant(f"{name}.bias", self._weight(f"{name}.bias"))
        return self._do("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    def _turn(self, x: str, order: list[int]) -> str:
        return self._do("Transpose", x, perm=order)

    def _split(self, x: str) -> list[str]:
        from onnx import helper  # noqa: PLC0415

        outs = [self._name() for _ in range(3)]
        self._nodes.append(helper.make_node("Split", [x], outs, axis=2, num_outputs=3))
        return outs

    def _do(self, kind: str, *inputs: str, into: str = "", **settings: Any) -> str:  # per operator
        from onnx import helper  # noqa: PLC0415

        out = into or self._name()
        self._nodes.append(helper.make_node(kind, list(inputs), [out], **settings))
        return out

    def _name(self) -> str:
        self._count += 1
        return f"x{self._count}"

    def _weight(self, name: str) -> NDArray[np.float32]:
        return self._weights[name]

    def _constant(self, name: str, values: Any) -> str:  # an array of either kind
        import numpy as np  # noqa: PLC0415
        from onnx import numpy_helper  # noqa: PLC0415

        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _whole(self, name: str, values: list[int]) -> str:
        import numpy as np  # noqa: PLC0415

        return self._constant(name, np.array(values, np.int64))

    def _real(self, name: str, value: float) -> str:
        import numpy as np  # noqa: PLC0415

        return self._constant(name, np.array(value, np.float32))
