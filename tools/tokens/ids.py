"""Files of token ids, as tp/data/tokens.h reads them: .npy of one dimension, or nanoGPT's .bin."""

from __future__ import annotations

import array
import ast
import sys

_MOST_OF_BIN = 0xFFFF
_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 64
# By a type's name in a .npy file, its name to the module array.
_CODES = {"<u2": "H", "<i4": "i"}


def _little_endian(code: str, data: bytes | list[int]) -> array.array[int]:
    values = array.array(code, data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def encode_bin(ids: list[int]) -> bytes:
    """Raises ValueError for an id that does not fit."""
    if ids and max(ids) > _MOST_OF_BIN:
        raise ValueError(f"an id is {max(ids)}, and a .bin file holds ids up to {_MOST_OF_BIN}")
    return _little_endian("H", ids).tobytes()


def encode_npy(ids: list[int]) -> bytes:
    """Of 16 bits where they do, else of 32."""
    kind = "<u2" if not ids or max(ids) <= _MOST_OF_BIN else "<i4"
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({len(ids)},), }}"
    unpadded = len(_MAGIC) + 2 + len(header) + 1
    header += " " * (-unpadded % _ALIGNMENT) + "\n"
    length = len(header).to_bytes(2, "little")
    return _MAGIC + length + header.encode() + _little_endian(_CODES[kind], ids).tobytes()


def decode_bin(data: bytes) -> list[int]:
    """Raises ValueError."""
    if len(data) % 2 != 0:
        raise ValueError(f"{len(data)} bytes are no ids of 16 bits")
    return list(_little_endian("H", data))


def decode_npy(data: bytes) -> list[int]:
    """What encode_npy made. Raises ValueError."""
    begin = len(_MAGIC) + 2
    if data[: len(_MAGIC)] != _MAGIC or len(data) < begin:
        raise ValueError("it is no .npy file of version 1.0")
    end = begin + int.from_bytes(data[len(_MAGIC) : begin], "little")
    try:
        header = ast.literal_eval(data[begin:end].decode("latin-1").strip())
        kind, (count,) = header["descr"], header["shape"]
        ids = list(_little_endian(_CODES[kind], data[end:]))
    except (KeyError, SyntaxError, TypeError, ValueError) as error:
        raise ValueError("it is not one that this tool writes") from error
    if len(ids) != count:
        raise ValueError(f"it holds {len(ids)} ids and says {count}")
    return ids
