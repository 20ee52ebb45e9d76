"""The command line of a sweep, and the YAML file that may stand for it."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from tools.common.files import resolve
from tools.common.program import Parser, UserError, reason
from tools.sweep.presets import PRESETS

MODES = ("row", "column")
BACKENDS = ("sim", "nccl")
DTYPES = ("fp64", "fp32", "bf16", "fp16", "tf32")
ALGORITHMS = ("auto", "ring", "tree", "halving_doubling", "direct")
PARTS = ("block", "mlp")
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all")

_DESCRIPTION = """\
Runs bench (or collectives) for each combination of what is listed, in an order drawn by
--order_seed, and appends one JSON object a run to a file. Interrupted, it goes on from there when
it is started again: runs that are in the file are not repeated. Lists have commas: --tp=2,4."""

_EPILOG = """\
A YAML file holds the same names: `preset: llama3-8b`, `tp: [2, 4]`, `repeats: 3`; the command line
wins over it. Exit status: 0 if every run of the sweep has its result, 1 if one has not or the input
was wrong, 130 if interrupted."""


def _bad(text: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"'{text}': it must be {allowed}")


def _list_of(convert: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(convert(word.strip()) for word in text.split(",")))

    return parse


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise _bad(text, f"among {', '.join(names)}")
        return text

    return parse


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise _bad(text, "true or false")
    return text == "true"


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text):
        raise _bad(text, "a name, such as llama-tiny")
    return text


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text) or int(text) < least:
            raise _bad(text, f"a whole number, at least {least}")
        return int(text)

    return parse


def _bytes(text: str) -> int:
    """As `collectives` reads it (ParseBytes of tools/bench/engine_flags.h)."""
    match = re.fullmatch(r"0*([0-9]{1,19})([KMGTkmgt]?)(?:B|iB)?", text)
    size = int(match[1]) << 10 * (" KMGT".index(match[2].upper()) if match[2] else 0) if match else 0
    if not 1 <= size < 1 << 63:
        raise _bad(text, "a number of bytes, at least 1, such as 4096 or 64M")
    return size


def _shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d{1,18})x(\d{1,18})x(\d{1,18})", text)
    if not match or "0" in (sizes := [str(int(size)) for size in match.groups()]):
        raise _bad(text, "TOKENSxINxOUT, such as 20x1000x1000")
    tokens, in_features, out_features = map(int, sizes)
    return tokens, in_features, out_features


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise _bad(text, "a number of seconds, above 0")
    return value


def _flags(text: str) -> tuple[str, ...]:
    try:
        flags = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from error
    for flag in flags:
        if not re.fullmatch(r"--?[A-Za-z]\w*(=.*)?", flag, re.DOTALL):
            raise _bad(flag, "--name=value")
        if flag_name(flag) == "json":
            raise _bad(flag, "another flag: sweep itself reads what --json writes")
    return flags


def flag_name(flag: str) -> str:
    """As the tools understand it, for whom - is as good as --."""
    return flag.lstrip("-").partition("=")[0]


# Of a transformer's step, as bench has them; what is not given is bench's own choice.
_OF_MODELS: dict[str, tuple[Callable[[str], Any], str]] = {
    "part": (_one_of(*PARTS), "one layer's block or mlp alone (the whole step)"),
    "batch": (_at_least(1), "sequences a step (16)"),
    "sequence": (_at_least(1), "tokens of each (128)"),
    "micro_batches": (_at_least(1), "that a step's batch is cut into (1)"),
    "sequence_parallel": (_truth, "true, false (false)"),
    "recompute": (_truth, "true, false (false)"),
    "overlap": (_truth, "true, false (false)"),
    "strands": (_at_least(1), "micro-batches that are under way at a time (1)"),
}
OF_MODELS = tuple(_OF_MODELS)


def _add_lists(parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
    group = parser.add_argument_group(title)

    def lists(name: str, convert: Callable[[str], Any], default: Any, text: str) -> None:
        group.add_argument(name, type=_list_of(convert), default=default, metavar="A,B", help=text)

    return lists


def _add_models(parser: argparse.ArgumentParser) -> None:
    lists = _add_lists(parser, "transformers, as points beside or instead of layers")
    lists("--model", _name, (), "their sizes, by bench's names: llama-tiny, llama3-8b, ...")
    for name, (convert, text) in _OF_MODELS.items():
        lists(f"--{name}", convert, None, text)


def _add_points(parser: argparse.ArgumentParser) -> None:
    lists = _add_lists(parser, "points (every combination of what is listed)")

    lists("--preset", _one_of(*PRESETS), None,
          ", ".join(PRESETS) + " (seed, unless there are shapes, models or collectives)")
    lists("--shape", _shape, (), "of a linear layer, TOKENSxINxOUT")
    lists("--tokens", _at_least(1), None, "of a preset's layers (2048; the seed's: 20)")
    lists("--backend", _one_of(*BACKENDS), ("sim",), "sim, nccl (sim)")
    lists("--mode", _one_of(*MODES), MODES, "row, column (both)")
    lists("--tp", _at_least(1), (2,), "ranks over which layers are split (2)")
    lists("--dp", _at_least(1), (1,), "ranks over which the batch is split (1)")
    lists("--dtype", _one_of(*DTYPES), None, ", ".join(DTYPES) + " (fp32, or the preset's)")
    lists("--algorithm", _one_of(*ALGORITHMS), ("auto",),
          "of the simulator's all_reduce: " + ", ".join(ALGORITHMS) + " (auto)")
    lists("--collective", _one_of(*COLLECTIVES), None,
          "times collectives alone: " + ", ".join(COLLECTIVES))
    group = parser.add_argument_group("sizes of collectives")
    for name, convert, default, text in (
            ("--min_bytes", _bytes, 1 << 10, "of collectives (1K)"),
            ("--max_bytes", _bytes, 64 << 20, "of collectives (64M)"),
            ("--factor", _at_least(2), 4, "of collectives, from one size to the next (4)")):
        group.add_argument(name, type=convert, default=default, metavar="N", help=text)


def _add_runs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("runs")

    def one(name: str, convert: Callable[[str], Any], default: Any, shown: str, text: str) -> None:
        group.add_argument(name, type=convert, default=default, metavar=shown, help=text)

    one("--repeats", _at_least(1), 1, "N", "runs of each point (1)")
    one("--order_seed", _at_least(0), 0, "N", "draws the order of each repeat (0)")
    one("--timeout", _seconds, 600.0, "SECONDS", "after which a run is ended (600)")
    one("--bench_flags", _flags, (), "'--steps=50 ...'", "passed on to bench")
    one("--collectives_flags", _flags, (), "'--steps=50 ...'", "passed on to collectives")
    one("--bench", str, "", "PATH", "the bench to run, where it is not beside this program")
    one("--collectives", str, "", "PATH", "likewise collectives")
    one("--output", str, "sweep.jsonl", "FILE", "to append to (sweep.jsonl)")


def _make_parser() -> Parser:
    parser = Parser(prog="sweep", usage="sweep [--name=value ...]", description=_DESCRIPTION,
                    epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="", metavar="FILE.yaml",
                        help="take what is not given here from this file")
    _add_points(parser)
    _add_models(parser)
    _add_runs(parser)
    return parser


def _yaml_scalars(path: str) -> Any:
    """The file with every scalar as the text that stands there, for the parser of the command line
    to read, as if it stood there: YAML 1.1 itself reads 010 as 8, `no` as false and 1_0 as 10."""
    try:
        import yaml
    except ImportError as error:
        raise UserError("--config needs Python's yaml module (Debian: python3-yaml)") from error

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            found = [self.construct_object(key, deep=True) for key, _ in node.value]
            for key, (where, _) in reversed(list(zip(found, node.value))):
                if found.count(key) > 1:
                    line = where.start_mark.line + 1
                    raise UserError(f"{path}, line {line}: '{key}' is there {found.count(key)} "
                                    "times; write one list, such as 'tp: [2, 4]'")
            return super().construct_mapping(node, deep)

    try:
        with open(resolve(path), encoding="utf-8") as file:
            return yaml.load(file, Loader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error


def _read_yaml(path: str, names: set[str]) -> dict[str, str]:
    """The file's settings, spelled as on the command line, by name."""
    content = _yaml_scalars(path)
    if not isinstance(content, dict):
        raise UserError(f"{path}: it must be names with values, such as 'tp: [2, 4]'")
    settings = {}
    for name, value in content.items():
        if name not in names:
            known = ", ".join(sorted(names))
            raise UserError(f"{path}: '{name}' is no setting; those are {known}")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(item, str) for item in values):
            raise UserError(f"{path}: '{name}' must be a text, a number or a list of those")
        if any("\0" in item for item in values):
            raise UserError(f"{path}: '{name}' holds a zero byte")
        settings[name] = (" " if name.endswith("_flags") else ",").join(values)
    return settings


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The settings of a sweep. Errors: UserError. --help exits with 0."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.config:
        # Defaults that are texts are converted and checked as arguments are.
        parser.set_defaults(**_read_yaml(options.config, set(vars(options)) - {"config"}))
        options = parser.parse_args(arguments)
    if options.max_bytes < options.min_bytes:
        raise UserError(f"--max_bytes={options.max_bytes}: it must be at least "
                         f"--min_bytes={options.min_bytes}")
    for name in OF_MODELS:
        if getattr(options, name) is not None and not options.model:
            raise UserError(f"--{name}: transformers have it; name one with --model")
    return options
