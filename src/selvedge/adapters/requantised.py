"""Rewrite a model file (GGUF) in another quantisation, with the `gguf` package alone.

What was already left at a higher precision, as norms and the embedding table, stays as it is; what
is quantised in blocks is read as numbers and written anew. Nothing is won that the source had lost:
eight bits of a four-bit file are as good as the four, larger, and quicker on some machines.

It refuses to know which models there are and where files are kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import gguf

VERSION: Final = 1
"""Raise it whenever the same source would give another file: it is part of the file's name."""
KINDS: Final = ("Q4_0", "Q4_1", "Q8_0")
"""What can be written."""
_FILE_TYPES: Final = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7}
_OWN_KEYS: Final = ("GGUF.", "general.architecture", "general.file_type")


class Unwritable(Exception):
    """The file cannot be rewritten so; the text says why."""


def rewrite(source: Path, target: Path, kind: str, *, was: str) -> None:
    """Write the file ``source``, whose blocks are ``was``, as ``kind`` to ``target``.

    Raises Unwritable, OSError if the disk refuses, or ImportError without the package `gguf`.
    """
    import gguf  # noqa: PLC0415 (the engine extra, optional)

    if kind not in KINDS:
        raise Unwritable(f"it cannot be written as {kind}, only as {', '.join(KINDS)}")
    try:
        reader = gguf.GGUFReader(source)
    except ValueError as error:
        raise Unwritable(f"it is no GGUF file: {error}") from error
    architecture = str(_contents(reader.fields["general.architecture"]))
    writer = gguf.GGUFWriter(path=None, arch=architecture)
    writer.add_file_type(_FILE_TYPES[kind])
    _copy_fields(reader, writer)
    old, new = gguf.GGMLQuantizationType[was], gguf.GGMLQuantizationType[kind]
    for tensor in reader.tensors:
        if tensor.tensor_type is not old:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        numbers = gguf.dequantize(tensor.data, old)
        writer.add_tensor(tensor.name, gguf.quantize(numbers, new), raw_dtype=new)
    try:
        writer.write_header_to_file(path=target)
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    """Everything that the file says of itself, but what this one says anew."""
    for field in reader.fields.values():
        if field.name.startswith(_OWN_KEYS):
            continue
        inner = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(field.name, _contents(field), field.types[0], sub_type=inner)


def _contents(field: Any) -> Any:  # gguf gives whatever type the file says
    return field.contents()
