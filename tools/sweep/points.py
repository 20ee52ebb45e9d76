"""The points of a sweep: which there are, and in which order they run."""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tools.common.program import UserError
from tools.sweep.options import COLLECTIVES, OF_MODELS, flag_name
from tools.sweep.presets import PRESETS, Preset

_Layer = tuple[str, int, int, int]  # a name ("" for none), tokens, in_features, out_features


def spelled(value: Any) -> str:
    """As on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Point:
    """One thing to measure: a tool, and what it is told. See records.py for the names."""

    tool: str
    point: dict[str, Any]
    flags: tuple[str, ...]
    layers: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        return [f"--{name}={spelled(value)}" for name, value in self.point.items()] + list(
            self.flags)

    @property
    def key(self) -> str:
        return " ".join([self.tool, *self.arguments])


def _engines(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Where and how many ranks. Only the simulator has algorithms to choose from."""
    for backend, tp, dp, algorithm in itertools.product(
            options.backend, options.tp, options.dp, options.algorithm):
        yield {"backend": backend, "tp": tp, "dp": dp,
               "algorithm": algorithm if backend == "sim" else "auto"}


def _linear(options: argparse.Namespace, layers: list[_Layer],
            dtypes: tuple[str, ...]) -> Iterator[Point]:
    for engine, (name, *sizes), dtype, mode in itertools.product(
            _engines(options), layers, dtypes, options.mode):
        shape = dict(zip(("tokens", "in_features", "out_features"), sizes))
        point = {"mode": mode, **engine, **shape, "dtype": dtype}
        yield Point("bench", point, options.bench_flags, (name,) if name else ())


def _transformers(options: argparse.Namespace, dtypes: tuple[str, ...]) -> Iterator[Point]:
    given = {name: getattr(options, name) for name in OF_MODELS
             if getattr(options, name) is not None}
    for model, engine, dtype, values in itertools.product(
            options.model, list(_engines(options)), dtypes, itertools.product(*given.values())):
        yield Point("bench", {"model": model, **engine, "dtype": dtype, **dict(zip(given, values))},
                    options.bench_flags)


def _collective(options: argparse.Namespace, dtypes: tuple[str, ...]) -> Iterator[Point]:
    for engine, dtype, collective in itertools.product(
            _engines(options), dtypes, options.collective or COLLECTIVES):
        # Only all_reduce heeds --algorithm: the others would run again for each.
        algorithm = engine["algorithm"] if collective == "all_reduce" else "auto"
        point = {**engine, "algorithm": algorithm, "dtype": dtype, "collective": collective,
                 "min_bytes": options.min_bytes, "max_bytes": options.max_bytes,
                 "factor": options.factor}
        yield Point("collectives", point, options.collectives_flags)


def _of_preset(name: str, preset: Preset, options: argparse.Namespace) -> Iterator[Point]:
    dtypes = options.dtype or preset.dtype
    if not preset.layers:
        return _collective(options, dtypes)
    layers = [(f"{name}.{layer}", tokens, *sizes)
              for layer, sizes in preset.layers.items()
              for tokens in options.tokens or preset.tokens]
    return _linear(options, layers, dtypes)


def _check_flags(point: Point) -> None:
    """A flag that says again what the point says would run another point than the file names."""
    seen = set(point.point)
    for flag in point.flags:
        name = flag_name(flag)
        if name in point.point:
            raise UserError(f"--{point.tool}_flags: {flag}: the sweep itself sets --{name}; give "
                            "it to the sweep")
        if name in seen:
            raise UserError(f"--{point.tool}_flags: --{name} is there more than once")
        seen.add(name)


def plan(options: argparse.Namespace) -> list[Point]:
    """Every point once; layers of the same size are one point with several names. Errors:
    UserError."""
    presets = options.preset
    if presets is None:
        presets = () if options.shape or options.model or options.collective else ("seed",)
    dtypes = options.dtype or ("fp32",)
    points = list(_linear(options, [("", *shape) for shape in options.shape], dtypes))
    points += _transformers(options, dtypes)
    if options.collective and "collectives" not in presets:
        points += _collective(options, dtypes)
    for name in presets:
        points += _of_preset(name, PRESETS[name], options)
    merged: dict[str, Point] = {}
    for point in points:
        _check_flags(point)
        known = merged.get(point.key)
        names = (*known.layers, *point.layers) if known else point.layers
        merged[point.key] = Point(point.tool, point.point, point.flags, tuple(dict.fromkeys(names)))
    return list(merged.values())


def order(points: list[Point], repeats: int, seed: int) -> list[tuple[Point, int]]:
    """All runs: every point once before any comes again, each time in an order of its own, so that
    a machine that drifts favours none. The same points, repeats and seed give the same order."""
    runs = []
    for repeat in range(repeats):
        shuffled = sorted(points, key=lambda point: point.key)
        random.Random(f"{seed}/{repeat}").shuffle(shuffled)
        runs += [(point, repeat) for point in shuffled]
    return runs
