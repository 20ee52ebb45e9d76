"""Runs bench, again and again, in rounds: in each round every run once, in an order drawn anew."""

import json
import os
import pathlib
import platform
import random
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import Any, Callable

from tools.common import program
from tools.common.origin import origin_of
from tools.common.program import UserError, reason


@dataclass(frozen=True, order=True)
class Shape:
    tokens: int
    in_features: int
    out_features: int
    dtype: str

    @staticmethod
    def parse(text: str) -> "Shape":
        """Of "20x1000x1000:fp32". Raises ValueError."""
        sizes, _, dtype = text.partition(":")
        tokens, in_features, out_features = (int(size) for size in sizes.split("x"))
        if min(tokens, in_features, out_features) < 1 or not dtype:
            raise ValueError
        return Shape(tokens, in_features, out_features, dtype)

    @property
    def flags(self) -> list[str]:
        return [
            f"--tokens={self.tokens}",
            f"--in_features={self.in_features}",
            f"--out_features={self.out_features}",
            f"--dtype={self.dtype}",
        ]

    def __str__(self) -> str:
        return f"{self.tokens}×{self.in_features}→{self.out_features} {self.dtype}"


@dataclass(frozen=True)
class Run:
    """One run of bench, in one mode; `key` names it in the statements."""

    key: str
    flags: list[str]


def step_run(key: str, mode: str, shape: Shape, *more: str, tp: int = 2, dp: int = 1) -> Run:
    return Run(key, [f"--mode={mode}", f"--tp={tp}", f"--dp={dp}", *shape.flags, *more])


def bench_once(bench: pathlib.Path, flags: list[str]) -> dict[str, Any]:
    """What bench wrote to --json, and how often the system took a core from it. Raises UserError."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "result.json")
        command = [str(bench), *flags, f"--json={out}"]
        errors = pathlib.Path(folder, "stderr")
        with errors.open("wb") as stderr:
            try:
                child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
            except OSError as error:
                raise UserError(f"cannot run {bench}: {reason(error)}") from error
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:  # Ctrl-C: bench must not go on alone
                child.kill()
                child.wait()
                raise
            child.returncode = os.waitstatus_to_exitcode(status)
        # 3: it ran, and a bound was too wide to tell whether it was right; times are times.
        if child.returncode not in (0, 3) or not out.exists():
            said = errors.read_text(errors="replace").strip().splitlines()
            last = said[-1] if said else "it said nothing"
            raise UserError(
                f"bench ended with {child.returncode}: {last} ({' '.join(command[:-1])})"
            )
        try:
            result = json.loads(out.read_text())
            result["results"][0]["step_ms"]
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise UserError(f"{bench} wrote no result of bench to --json: {error!r}") from error
    result["taken_off_a_core"] = usage.ru_nivcsw
    return result


def _kept(result: dict[str, Any]) -> dict[str, Any]:
    """What the statements ask for: a file of all runs stays readable."""
    of_mode, origin = result["results"][0], origin_of(result)
    if "ranks" not in of_mode:
        raise UserError("this bench reports nothing by rank: it is older than this tool")
    return {
        "config": result["config"],
        "taken_off_a_core": result["taken_off_a_core"],
        "date": origin.date,
        "load": origin.load,
        **{what: of_mode[what] for what in ("step_ms", "phases", "bytes", "ranks")},
    }


def _machine(result: dict[str, Any]) -> dict[str, Any]:
    """What stays the same from run to run, as bench says it: rounds of equal machines add up."""
    facts: dict[str, Any] = {"system": f"{platform.system()} {platform.machine()}"}
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                facts["cpu"] = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    origin = origin_of(result)
    said = {"host": origin.host, "cpu": origin.processor, "commit": origin.commit}
    facts |= {name: value for name, value in said.items() if value}
    host = result["host"] if isinstance(result["host"], dict) else {}
    return facts | {
        name: host[name] for name in host if name not in ("name", "processor", "date", "load")
    }


def run_rounds(
    bench: pathlib.Path,
    runs: list[Run],
    common: list[str],
    rounds: int,
    seed: int,
    said: Callable[[str], None],
) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
    """The machine, a record a run (round, key, and what bench said of it), and why not all rounds
    are there, or None: what was measured before a bench failed, or Ctrl-C, is not lost. Errors:
    UserError where not even one round is whole."""
    draw = random.Random(seed)
    records: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    begin = time.monotonic()
    for number in range(rounds):
        of_round: list[dict[str, Any]] = []
        try:
            for run in draw.sample(runs, len(runs)):
                result = bench_once(bench, [*run.flags, *common])
                facts = facts or _machine(result)
                of_round.append({"round": number, "key": run.key, **_kept(result)})
        except (UserError, KeyboardInterrupt) as error:
            if not records:
                raise
            return facts, records, str(error) or "interrupted"
        records += of_round
        seconds = time.monotonic() - begin
        said(f"round {number + 1} of {rounds}, {len(runs)} runs each, {seconds:.0f} s so far")
    return facts, records, None


def say(text: str) -> None:
    program.say("observations", text)
