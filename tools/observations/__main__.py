"""Puts the observations that came with an example program to the test."""

import argparse
import datetime
import json
import os
import pathlib
import sys
from typing import Any

from tools.observations.decide import rounds_needed
from tools.observations.evaluate import as_json, evaluate, rounds_of
from tools.observations.measure import Shape, run_rounds, say
from tools.observations.page import Machine, to_markdown, to_text
from tools.observations.statement import Settings, runs
from tools.observations.statements import statements
from tools.common.files import resolve
from tools.common.program import (
    INTERRUPTED,
    Parser,
    UserError,
    check_outputs,
    reason,
    run,
    write_each,
)

SCHEMA = 1
_SHAPES = {
    "sim": "20x1000x1000:fp32,256x1024x1024:fp32,512x2048x2048:fp32,512x4096x4096:fp32",
    "nccl": "20x1000x1000:fp32,2048x4096x4096:bf16,8192x8192x8192:bf16",
}


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="observations",
        description="Runs the measurements behind each of a list of statements about tensor-parallel "
        "training and prints whether it holds, with its numbers and the reason. The rule that decides "
        "is in tools/observations/decide.py. Measure on an idle machine.",
        epilog="Exit status: 0 whatever the outcomes; 1 with one line where something went wrong.",
    )
    parser.add_argument(
        "--backend",
        choices=sorted(_SHAPES),
        help="measure on this one; default: sim, or nothing where --from says what was measured",
    )
    parser.add_argument(
        "--bench", metavar="PATH", help="the bench to run; default: the one built beside this tool"
    )
    parser.add_argument("--rounds", type=_count, default=10, help="default: 10")
    parser.add_argument("--steps", type=_count, default=20, help="timed steps a run; default: 20")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the runs")
    parser.add_argument(
        "--shapes",
        metavar="LIST",
        help="tokens x in x out : dtype, smallest first; default: "
        + "; ".join(f"{backend} {shapes}" for backend, shapes in _SHAPES.items()),
    )
    parser.add_argument("--json", metavar="FILE", help="write what was measured and decided")
    parser.add_argument(
        "--from",
        dest="earlier",
        action="append",
        default=[],
        metavar="FILE",
        help="what --json wrote earlier, on this machine or another; rounds of the same machine are "
        "added up",
    )
    parser.add_argument("--format", choices=["text", "markdown"], default="text")
    parser.add_argument("--output", metavar="FILE", help="where to write it; default: stdout")
    return parser.parse_args(argv)


def _shapes(text: str) -> list[Shape]:
    try:
        return [Shape.parse(shape) for shape in text.split(",")]
    except ValueError as error:
        raise UserError(f"--shapes={text}: it must be like {_SHAPES['sim']}") from error


def _measure(arguments: argparse.Namespace, backend: str) -> dict[str, Any]:
    shapes = arguments.shapes or _SHAPES[backend]
    settings = Settings(backend, _shapes(shapes), os.cpu_count() or 1)
    beside = pathlib.Path(__file__).parent.parent / "bench" / "bench"
    bench = resolve(arguments.bench) if arguments.bench else beside
    if not bench.is_file():
        raise UserError(f"{bench}: no such file; --bench=PATH names the bench to run")
    deciding = max(len(s.conditions) for s in statements(settings))
    if arguments.rounds < rounds_needed(deciding):
        say(
            f"{arguments.rounds} rounds are too few to decide statements of {deciding} conditions; "
            f"{rounds_needed(deciding)} are enough"
        )
    common = [
        f"--backend={backend}",
        f"--steps={arguments.steps}",
        "--warmup=5",
        "--verify=off",
        "--floor=false",
    ]
    load = os.getloadavg()[0]
    begin = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    facts, records, ended = run_rounds(
        bench, runs(settings), common, arguments.rounds, arguments.seed, say
    )
    return {
        "schema": SCHEMA,
        "tool": "observations",
        "backend": backend,
        "shapes": shapes,
        "cores": settings.cores,
        "common": common,
        "when": f"{begin}, at a load of {load:.1f} before it began",
        "date": begin,
        "load": load,
        "machine": facts,
        "records": records,
        **({"incomplete": ended} if ended else {}),
    }


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        measured = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not whole JSON: {error}") from error
    if not isinstance(measured, dict) or measured.get("tool") != "observations":
        raise UserError(f"{path}: not what observations wrote to --json")
    if measured.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema {measured.get('schema')}, and this tool reads {SCHEMA}")
    return measured


def _merge(all_measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rounds of the same machine and flags one after the other."""
    merged: dict[str, dict[str, Any]] = {}
    for measured in all_measured:
        same = ("backend", "shapes", "cores", "common", "machine")
        key = json.dumps([measured[name] for name in same], sort_keys=True)
        if key not in merged:
            merged[key] = dict(measured, records=list(measured["records"]))
            continue
        records = merged[key]["records"]
        done = 1 + max(record["round"] for record in records)
        records += [dict(r, round=r["round"] + done) for r in measured["records"]]
    return list(merged.values())


def _decided(measured: dict[str, Any]) -> Machine:
    settings = Settings(measured["backend"], _shapes(measured["shapes"]), measured["cores"])
    rounds = rounds_of(measured["records"])
    return Machine(
        settings,
        measured["machine"],
        measured["when"],
        len(rounds),
        measured["common"],
        [evaluate(statement, rounds) for statement in statements(settings)],
    )


def _decided_all(all_measured: list[dict[str, Any]]) -> list[Machine]:
    try:
        return [_decided(measured) for measured in _merge(all_measured)]
    except KeyError as error:
        what = f"lacks {error}"
    except (TypeError, ValueError, AttributeError, IndexError, AssertionError) as error:
        what = f"is not as it should be ({error!r})"
    raise UserError(f"what bench or an earlier run wrote {what}: is it of another version?")


def _main() -> int:
    arguments = _parse(sys.argv[1:])
    backend = arguments.backend or (None if arguments.earlier else "sim")
    if arguments.json and not backend:
        raise UserError("--json writes what is measured, and nothing is: give --backend, too")
    check_outputs(
        {"--json": arguments.json, "--output": arguments.output},
        {"--from": arguments.earlier, "--bench": [arguments.bench]},
    )
    earlier = [_read(resolve(path)) for path in arguments.earlier]
    here = [_measure(arguments, backend)] if backend else []
    ended = here[0].get("incomplete") if here else None
    texts = {}
    if arguments.json:
        (decided,) = _decided_all(here)
        here[0]["statements"] = [as_json(decided.settings, v) for v in decided.verdicts]
        texts[arguments.json] = json.dumps(here[0], indent=1, ensure_ascii=False) + "\n"
    machines = _decided_all(here + earlier)
    text = to_markdown(machines) if arguments.format == "markdown" else to_text(machines)
    if arguments.output:
        texts[arguments.output] = text
    else:
        sys.stdout.write(text)
    status = write_each("observations", texts)
    if ended:
        say(f"{ended}; it has the whole rounds before that")
        return INTERRUPTED if ended == "interrupted" else 1
    return status


if __name__ == "__main__":
    sys.exit(run("observations", _main))
