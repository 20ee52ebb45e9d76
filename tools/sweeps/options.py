"""The command line of a sweep, and the YAML file that may stand for it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from sweeps.presets import PRESETS
from sweeps.records import SweepError

MODES = ("row", "column")
BACKENDS = ("sim", "nccl")
DTYPES = ("fp64", "fp32", "bf16", "fp16", "tf32")
ALGORITHMS = ("auto", "ring", "tree", "halving_doubling", "direct")
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all")

_DESCRIPTION = """\
Runs bench (or collectives) for each combination of what is listed, in an order drawn by --order_seed,
and appends one JSON object a run to a file. Interrupted, it goes on from there when it is started
again: runs that are in the file are not repeated. Lists have commas between: --tp=2,4."""

_EPILOG = """\
A YAML file holds the same names: `preset: llama3-8b`, `tp: [2, 4]`, `repeats: 3`; the command line
wins over it. Exit status: 0 if every run of the sweep has its result, 1 if one has not or the input
was wrong, 130 if interrupted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SweepError(f"{message}; see --help")


def _list_of(convert: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(convert(word.strip()) for word in text.split(",")))

    return parse


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}': it must be among {', '.join(names)}")
        return text

    return parse


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': it must be a whole number, at least {least}")
        return int(text)

    return parse


def _shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d{1,18})x(\d{1,18})x(\d{1,18})", text)
    if not match or "0" in (sizes := [str(int(size)) for size in match.groups()]):
        raise argparse.ArgumentTypeError(f"'{text}': it must be TOKENSxINxOUT, such as 20x1000x1000")
    tokens, in_features, out_features = map(int, sizes)
    return tokens, in_features, out_features


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1e6:
        raise argparse.ArgumentTypeError(f"'{text}': it must be a number of seconds, above 0")
    return value


def _flags(text: str) -> tuple[str, ...]:
    try:
        flags = tuple(shlex.split(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}': {error}") from error
    for flag in flags:
        if not flag.startswith("--") or flag.startswith("--json"):
            raise argparse.ArgumentTypeError(f"'{flag}': it must be --name=value, and not --json")
    return flags


def _add_points(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("points (their combinations)")
    group.add_argument("--preset", type=_list_of(_one_of(*PRESETS)),
                       help=f"{', '.join(PRESETS)}; without shapes or collectives either: seed")
    group.add_argument("--shape", type=_list_of(_shape), default=(), help="TOKENSxINxOUT of a linear layer")
    group.add_argument("--tokens", type=_list_of(_at_least(1)), help="of a preset's layers (2048; of the seed's 20)")
    group.add_argument("--backend", type=_list_of(_one_of(*BACKENDS)), default=("sim",), help="sim, nccl (sim)")
    group.add_argument("--mode", type=_list_of(_one_of(*MODES)), default=MODES, help="row, column (both)")
    group.add_argument("--tp", type=_list_of(_at_least(1)), default=(2,), help="(2)")
    group.add_argument("--dp", type=_list_of(_at_least(1)), default=(1,), help="(1)")
    group.add_argument("--dtype", type=_list_of(_one_of(*DTYPES)),
                       help="fp64, fp32, bf16, fp16, tf32 (fp32, or the preset's)")
    group.add_argument("--algorithm", type=_list_of(_one_of(*ALGORITHMS)), default=("auto",),
                       help="of the simulator's all_reduce: " + ", ".join(ALGORITHMS) + " (auto)")
    group.add_argument("--collective", type=_list_of(_one_of(*COLLECTIVES)),
                       help="time collectives alone: " + ", ".join(COLLECTIVES))
    group.add_argument("--min_bytes", type=_at_least(1), default=1 << 10, help="of collectives (1024)")
    group.add_argument("--max_bytes", type=_at_least(1), default=64 << 20, help="of collectives (64 MiB)")
    group.add_argument("--factor", type=_at_least(2), default=4, help="from one size to the next (4)")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("runs")
    group.add_argument("--repeats", type=_at_least(1), default=1, help="runs of each point (1)")
    group.add_argument("--order_seed", type=_at_least(0), default=0, help="draws the order of each repeat (0)")
    group.add_argument("--timeout", type=_seconds, default=600.0, help="seconds after which a run is ended (600)")
    group.add_argument("--bench_flags", type=_flags, default=(), metavar="'--steps=50 ...'",
                       help="passed on to bench")
    group.add_argument("--collectives_flags", type=_flags, default=(), metavar="'--steps=50 ...'",
                       help="passed on to collectives")
    group.add_argument("--bench", default="", help="the bench to run, where it is not beside this program")
    group.add_argument("--collectives", default="", help="likewise collectives")
    group.add_argument("--output", default="sweep.jsonl", help="the file to append to (sweep.jsonl)")


def _make_parser() -> _Parser:
    parser = _Parser(prog="sweep", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False,
                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="", metavar="FILE.yaml", help="take what is not given here from this file")
    _add_points(parser)
    _add_runs(parser)
    return parser


def resolve(path: str) -> str:
    """A path as the user meant it: `bazel run` starts programs elsewhere."""
    return os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), path)


def _read_yaml(path: str, names: set[str]) -> dict[str, str]:
    """The file's settings, spelled as on the command line, by name."""
    try:
        import yaml
    except ImportError as error:
        raise SweepError("--config needs Python's yaml module (Debian: python3-yaml)") from error
    try:
        with open(resolve(path), encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except OSError as error:
        raise SweepError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SweepError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SweepError(f"{path}: it must be names with values, such as 'tp: [2, 4]'")
    settings = {}
    for name, value in content.items():
        if name not in names:
            raise SweepError(f"{path}: '{name}' is no setting; those are {', '.join(sorted(names))}")
        values = value if isinstance(value, list) else [value]
        if not values or not all(type(item) in (str, int, float) for item in values):
            raise SweepError(f"{path}: '{name}' must be a text, a number or a list of those")
        settings[name] = (" " if name.endswith("_flags") else ",").join(map(str, values))
    return settings


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The settings of a sweep, paths made absolute. Errors: SweepError. --help exits with 0."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    if options.config:
        # Defaults that are texts are converted and checked as arguments are.
        parser.set_defaults(**_read_yaml(options.config, set(vars(options)) - {"config"}))
        options = parser.parse_args(arguments)
    if options.max_bytes < options.min_bytes:
        raise SweepError(f"--max_bytes={options.max_bytes}: it must be at least --min_bytes={options.min_bytes}")
    for name in ("bench", "collectives"):
        if path := getattr(options, name):
            setattr(options, name, resolve(path))
    options.output = resolve(options.output)
    return options
