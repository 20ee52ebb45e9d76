"""Turns text into the ids of a model's tokens, and back, by the model's tokenizer.json."""

from __future__ import annotations

import argparse
import pathlib
import sys
from typing import Any

from tools.common.files import resolve, write
from tools.common.program import Parser, UserError, check_outputs, reason, run, say
from tools.tokens.ids import decode_bin, decode_npy, encode_bin, encode_npy

_TOOL = "tokens"
_INSTALL = (
    "the package tokenizers of PyPI is needed, which this Python lacks: python3 -m venv ENV && "
    "ENV/bin/pip install tokenizers, and then ENV/bin/python -m tools.tokens ..."
)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog=_TOOL,
        description="Turns a text into the ids of its tokens, in a file that train reads, or such a "
        "file back into text, by Hugging Face's library `tokenizers`. The whole text is in memory "
        "meanwhile. No ids are added at its begin or end.",
        epilog=f"From the repository's root; {_INSTALL}.",
    )
    parser.add_argument("what", choices=["encode", "decode"])
    parser.add_argument("input", help="a text in UTF-8; to decode, a .npy or .bin file")
    parser.add_argument("output", help="a .npy or .bin file (nanoGPT's); to decode, a text")
    parser.add_argument("--tokenizer", required=True, metavar="FILE", help="tokenizer.json")
    return parser.parse_args(argv)


def _load_tokenizer(name: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UserError(_INSTALL) from error
    try:
        return Tokenizer.from_buffer(_read(name))
    except ValueError as error:
        raise UserError(f"{name} is no tokenizer.json: {error}") from error


def _read(name: str) -> bytes:
    try:
        return resolve(name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {name}: {reason(error)}") from error


def _by_ending(name: str, npy: Any, binary: Any) -> Any:
    ending = pathlib.Path(name).suffix
    if ending not in (".npy", ".bin"):
        raise UserError(f"{name} must end in .npy or .bin, which says what the file is")
    return npy if ending == ".npy" else binary


def _convert(options: argparse.Namespace, tokenizer: Any) -> tuple[bytes, str]:
    """What to write, and what it is."""
    if options.what == "encode":
        encode = _by_ending(options.output, encode_npy, encode_bin)
        ids = tokenizer.encode(_read(options.input).decode(), add_special_tokens=False).ids
        return encode(ids), f"{len(ids)} tokens of a vocabulary of {tokenizer.get_vocab_size()}"
    decode = _by_ending(options.input, decode_npy, decode_bin)
    text = tokenizer.decode(decode(_read(options.input)), skip_special_tokens=False)
    return text.encode(), f"{len(text)} characters"


def _main(argv: list[str]) -> int:
    options = _parse(argv)
    check_outputs(
        {"output": options.output},
        {"input": [options.input], "--tokenizer": [options.tokenizer]},
    )
    tokenizer = _load_tokenizer(options.tokenizer)
    try:
        data, what = _convert(options, tokenizer)
    except ValueError as error:
        raise UserError(f"{options.input}: {error}") from error
    try:
        write(resolve(options.output), data)
    except OSError as error:
        raise UserError(f"cannot write {options.output}: {reason(error)}") from error
    say(_TOOL, f"wrote {options.output}: {what}")
    return 0


if __name__ == "__main__":
    sys.exit(run(_TOOL, lambda: _main(sys.argv[1:])))
