#!/usr/bin/env python3
"""Holds the traces of `bench --profile` against the parser of TensorBoard's profiler plugin.

Runs the bench in both modes over two ranks, loads every folder that it wrote as the plugin does,
and asks for what each view of the plugin shows: there must be something in it, and it must be
right where the bench's own report says what is right. Needs torch-tb-profiler and tensorboard.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# The plugin parses in processes of its own, which write to this one's log if they are forked.
os.environ.setdefault("TORCH_PROFILER_START_METHOD", "fork")

# pylint: disable=wrong-import-position
from torch_tb_profiler import io
from torch_tb_profiler.profiler import RunLoader

RANKS = 2
STEPS = 5  # as many as are traced
VIEWS = ["Overview", "Operator", "Kernel", "Trace"]
COLLECTIVES = {"gloo:all_gather", "gloo:all_reduce"}  # in each of the modes
TOLERANCE = 0.02  # between the plugin's sums and the report's


class Failure(Exception):
    """What a view lacks."""


def expect(truth: object, what: str) -> None:
    if not truth:
        raise Failure(what)


def run_bench(bench: Path, folder: Path) -> dict:
    command = [bench, "--profile", f"--trace_dir={folder}", f"--json={folder}/bench.json"]
    command += [f"--tp={RANKS}", f"--steps={STEPS}", "--mode=both", "--verify=off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"the bench failed: {done.stderr}")
    report = json.loads((folder / "bench.json").read_text())
    return {result["mode"]: result for result in report["results"]}


def check_overview(profile) -> float:
    """Of communication, the time that no computation hides, which may be none on a rank."""
    steps = profile.overview["steps"]
    expect(len(steps["rows"]) == STEPS, "Overview: not every step")
    costs = {row["name"]: row["value"] for row in profile.overview["performance"][0]["children"]}
    expect(costs.get("Kernel", 0) > 0, f"Overview: no time of Kernel: {costs}")
    expect("Communication" in costs, f"Overview: no Communication: {costs}")
    expect(profile.gpu_summary, "Overview: no device")
    return costs["Communication"]


def check_operators(profile) -> None:
    rows = {row["name"]: row for row in profile.operation_table_by_name["data"]}
    expect(COLLECTIVES <= rows.keys(), f"Operator: no collectives among {sorted(rows)}")
    for name, row in rows.items():
        expect(row["calls"] == STEPS, f"Operator: {name} was called {row['calls']} times")
        expect(row["device_total_duration"] > 0, f"Operator: {name} ran no kernel")
    expect(any(name.startswith("gemm ") for name in rows), "Operator: no product")
    by_shape = profile.operation_table_by_name_input["data"]
    expect(all(row["input_shape"] for row in by_shape), "Operator: an op without shapes")
    expect(profile.operation_pie_by_name["device_total_time"]["rows"], "Operator: no pie")


def kernel_microseconds(profile) -> float:
    """Of all kernels; checks that each knows its op."""
    table = profile.kernel_op_table["data"]
    names = [column["name"] for column in table["columns"]]
    rows = [dict(zip(names, row)) for row in table["rows"]]
    expect(rows, "Kernel: no rows")
    for row in rows:
        expect(row["Operator"] != "N/A", f"Kernel: {row['Name']} belongs to no op")
        expect(row["Grid"] == "[1, 1, 1]", f"Kernel: {row['Name']} has the grid {row['Grid']}")
    expect(profile.kernel_pie["total"]["rows"], "Kernel: no pie")
    expect(profile.kernel_table["data"]["rows"], "Kernel: no table by name")
    return sum(row["Total Duration (us)"] for row in rows)


def check_trace(profile, folder: Path) -> None:
    path = Path(profile.trace_file_path)
    expect(path.parent == folder, "Trace: the file is another one")
    events = json.loads(path.read_text())["traceEvents"]
    expect(any(event.get("ph") == "X" for event in events), "Trace: no slices")
    starts = {event["id"] for event in events if event.get("ph") == "s"}
    ends = {event["id"] for event in events if event.get("ph") == "f"}
    expect(starts and starts == ends, "Trace: arrows that lead nowhere")


def check_distributed(run, workers: int) -> None:
    profile = run.get_profile("All", run.get_spans("All")[0])
    expect(profile is not None, "Distributed: there is no such view")
    expect(len(profile.comm_ops["data"]) == workers, "Distributed: not every worker")
    for worker, table in profile.comm_ops["data"].items():
        names = [column["name"] for column in table["columns"]]
        rows = {row[0]: dict(zip(names, row)) for row in table["rows"]}
        expect(rows.keys() == COLLECTIVES, f"Distributed: {worker} has {sorted(rows)}")
        for row in rows.values():
            for key in ("Calls", "Total Size (bytes)", "Total Latency (us)"):
                expect(row[key] > 0, f"Distributed: {row['Name']} without {key}")
    for graph in (profile.steps_to_overlap, profile.steps_to_wait):
        expect(len(graph["data"]) == STEPS + 1, "Distributed: not every step")
        for bars in graph["data"].values():
            expect(len(bars) == workers, "Distributed: not every worker in every step")
    expect(profile.gpu_info, "Distributed: no device")
    devices = [info for node in profile.gpu_info["data"].values() for info in node.values()]
    expect(len(devices) == workers, "Distributed: not every device")


def check_folder(folder: Path, workers: int) -> tuple[list[float], float]:
    """Of each worker, the microseconds of its kernels; of all, the Overview's Communication."""
    with tempfile.TemporaryDirectory() as cache:
        run = RunLoader(folder.name, str(folder), io.Cache(cache)).load()
    expect(run is not None and run.profiles, "nothing was parsed")
    names = run.get_workers("Overview")
    expect(len(names) == workers, f"it has the workers {names}")
    totals = []
    exposed = 0.0
    for name in names:
        profile = run.get_profile(name, run.get_spans(name)[0])
        views = [view.display_name for view in profile.views]
        expect(set(VIEWS) <= set(views), f"{name} has only the views {views}")
        exposed += check_overview(profile)
        check_operators(profile)
        check_trace(profile, folder)
        totals.append(kernel_microseconds(profile))
    check_distributed(run, workers)
    return totals, exposed


def check_mode(folder: Path, mode: str, result: dict) -> float:
    """The Overview's Communication of all ranks."""
    folders = {f"profiler_logs_rank_{rank}_{mode}": 1 for rank in range(RANKS)}
    folders[f"profiler_logs_all_ranks_{mode}"] = RANKS
    for name, workers in folders.items():
        try:
            totals, exposed = check_folder(folder / name, workers)
        except Failure as failure:
            raise Failure(f"{name}: {failure}") from None
    phases = result["profile"]["phases"].values()
    wanted = sum(phase["compute_ms"] + phase["communication_ms"] for phase in phases)
    mean_ms = sum(totals) / len(totals) / STEPS / 1000
    sums = (f"a step's kernels take {mean_ms:.4f} ms in the plugin's Kernel view and "
            f"{wanted:.4f} ms in the bench's report")
    expect(abs(mean_ms - wanted) <= TOLERANCE * wanted, f"{mode}: {sums}")
    print(f"{mode}: every view has its data; {sums}")
    return exposed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path, help="the program, such as bazel-bin/tools/bench/bench")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            log = Path(scratch) / "plugin.log"
            handler = logging.FileHandler(log)
            handler.setLevel(logging.WARNING)
            logging.getLogger("pytorch_profiler").addHandler(handler)
            results = run_bench(arguments.bench, Path(scratch))
            expect(results.keys() == {"row", "column"}, f"the bench ran {sorted(results)}")
            exposed = sum(
                check_mode(Path(scratch), mode, result) for mode, result in results.items()
            )
            expect(exposed > 0, "Overview: no time of Communication in either mode")
            complaints = log.read_text()
            expect(not complaints, f"the plugin complains:\n{complaints}")
    except (Failure, OSError) as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
