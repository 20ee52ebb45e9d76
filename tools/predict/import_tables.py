"""Turns published tables of GPU times into measurements that the predict tool fits and scores.

The tables are those of PyPI's aiconfigurator-core (Apache-2.0), which is installed apart, with
pyarrow; nothing of it is in this tree:

    python3 -m venv V && V/bin/pip install aiconfigurator-core==0.12.0 pyarrow
    V/bin/python tools/predict/import_tables.py --gpu=h100 --out=DIR

writes DIR/h100.fit.json (400 products, and the collectives of two GPUs) and DIR/h100.heldout.json
(all other products, and the collectives of 4 and 8). Which products are measured is decided before
looking at a time, from the list of sizes alone: a Halton sequence over the three sizes, so that they
are spread evenly, as a calibration could choose them.

--law prints instead what the law for more members than two (backends/predict/fit.cc) predicts of
each GPU type with its constants taken from the other types alone.
"""

import argparse
import collections
import importlib.util
import json
import math
import pathlib

# Where in the package, and which collector: of those that timed bf16 with the most shapes.
TABLES = {
    "a100": ("a100_sxm", "gemm/sglang/0.5.10", "comm/nccl/2.27.3"),
    "h100": ("h100_sxm", "gemm/trtllm/1.3.0rc20", "comm/nccl/2.29.2"),
    "h200": ("h200_sxm", "gemm/trtllm/1.3.0rc20", "comm/nccl/2.29.2"),
    "b200": ("b200_sxm", "gemm/trtllm/1.3.0rc20", "comm/nccl/2.29.2"),
}
KINDS = {
    "all_reduce": "all_reduce",
    "all_gather": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}
FITTED_PRODUCTS = 400


def read(gpu, which, name):
    import pyarrow.parquet as parquet

    package = importlib.util.find_spec("aiconfigurator_core")
    if package is None:
        raise SystemExit("aiconfigurator-core is not installed: see the head of this file")
    folder = pathlib.Path(package.submodule_search_locations[0]) / "systems/data"
    return parquet.read_table(folder / TABLES[gpu][0] / TABLES[gpu][which] / name).to_pydict()


def products(gpu):
    """{(m, n, k): microseconds}, of repeats their geometric mean."""
    table = read(gpu, 1, "gemm_perf.parquet")
    times = collections.defaultdict(list)
    columns = (table[key] for key in ("gemm_dtype", "m", "n", "k", "latency"))
    for dtype, m, n, k, latency in zip(*columns):
        if dtype == "bfloat16":
            times[m, n, k].append(math.log(latency * 1e3))
    return {shape: math.exp(sum(logs) / len(logs)) for shape, logs in times.items()}


def collectives(gpu):
    """[(kind, members, bytes, microseconds)] of fp16; the tables count elements."""
    table = read(gpu, 2, "nccl_perf.parquet")
    columns = (table[key] for key in ("nccl_dtype", "op_name", "num_gpus", "message_size", "latency"))
    return [(KINDS[op], members, 2 * elements, latency * 1e3)
            for dtype, op, members, elements, latency in zip(*columns) if dtype == "half"]


def halton(number, base):
    """The number's digits behind the point, the last first (Halton, 1960): as even as can be."""
    value, digit = 0, 1
    while number:
        digit /= base
        value += digit * (number % base)
        number //= base
    return value


def spread(sizes):
    """[(where in 0..1, size)]: midway between even steps from size to size and even logarithms."""
    sizes = sorted(sizes)
    logs = [math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0]) for size in sizes]
    return [((i / (len(sizes) - 1) + log) / 2, size)
            for i, (size, log) in enumerate(zip(sizes, logs))]


def choose(shapes):
    """The shapes to fit on. Any first part of them is like the whole."""
    axes = [(base, spread(set(sizes))) for base, sizes in zip((2, 3, 5), zip(*shapes))]
    chosen = {}
    number = 0
    while len(chosen) < FITTED_PRODUCTS:
        number += 1
        shape = tuple(
            min(axis, key=lambda at: abs(at[0] - halton(number, base)))[1] for base, axis in axes)
        if shape in shapes:
            chosen[shape] = True
    return list(chosen)


def write(gpu, out):
    times = products(gpu)
    fitted = choose(times)
    held_out = set(times) - set(fitted)
    calls = collectives(gpu)
    where = f"{gpu}, tables of aiconfigurator-core"

    def measurements(shapes, members):
        return {
            "where": where,
            "products": [["bf16", *shape, times[shape]] for shape in shapes],
            "collectives": [list(call) for call in calls if call[1] in members],
        }

    out.mkdir(parents=True, exist_ok=True)
    (out / f"{gpu}.fit.json").write_text(json.dumps(measurements(fitted, {2})))
    (out / f"{gpu}.heldout.json").write_text(
        json.dumps(measurements(sorted(held_out), {4, 8})))
    print(f"{gpu}: fit on {len(fitted)} products, held out {len(held_out)}")


# The law of backends/predict/fit.cc, so that its constants can be taken from other types alone.


def between(curve, size):
    points = sorted(curve.items())
    if size <= points[0][0]:
        return points[0][1]
    for (a, at), (b, bt) in zip(points, points[1:]):
        if size <= b:
            return at * (bt / at)**(math.log(size / a) / math.log(b / a))
    return points[-1][1] * size / points[-1][0]


def law(curves, gpu, kind, members, size, own, adding_switch):
    def work(p):
        return (2 if kind == "all_reduce" else 1) * (p - 1) / p + own / p

    hops = {"all_reduce": 2 * (members - 2), "all_to_all": 0}.get(kind, members - 2)
    first = lambda k: min(curves[k, 2].items())[1]
    hop = max(0, first("all_reduce") - first("all_gather"))
    more = work(members) / work(2)
    if kind == "all_reduce" and members >= 8 and gpu != "a100":
        more = min(more, adding_switch)
    return between(curves[kind, 2], size * more) + hops * hop


def errors(curves, gpu, kind, members, own, adding_switch):
    return [
        abs(math.log(law(curves, gpu, kind, members, size, own, adding_switch) / us))
        for size, us in curves[kind, members].items()
    ]


def leave_one_out():
    curves = {gpu: collections.defaultdict(dict) for gpu in TABLES}
    for gpu in TABLES:
        for kind, members, size, us in collectives(gpu):
            curves[gpu][kind, members][size] = us
    mean = lambda values: sum(values) / len(values)
    for gpu in TABLES:
        others = [other for other in TABLES if other != gpu]
        all_errors = []
        used = {}
        for kind in KINDS.values():

            def off(own, adding_switch=1e9):
                return mean([
                    mean(errors(curves[o], o, kind, p, own, adding_switch)) for o in others
                    for p in (4, 8)
                    if not (kind == "all_reduce" and p == 8 and o != "a100" and adding_switch > 2)
                ])

            own = min((i / 20 for i in range(21)), key=off)
            switch = min((1 + i / 20 for i in range(21)), key=lambda s: off(own, s))
            used[kind] = own if kind != "all_reduce" else (own, switch)
            for p in (4, 8):
                all_errors += errors(curves[gpu], gpu, kind, p, own, switch)
        print(f"{gpu}: geomean {math.expm1(mean(all_errors)):.1%}, "
              f"max {math.expm1(max(all_errors)):.0%}, of {len(all_errors)}; constants {used}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--gpu", choices=TABLES, action="append")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--law", action="store_true")
    arguments = parser.parse_args()
    if arguments.law:
        leave_one_out()
        return
    for gpu in arguments.gpu or TABLES:
        write(gpu, arguments.out)


if __name__ == "__main__":
    main()
