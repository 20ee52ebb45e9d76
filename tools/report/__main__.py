"""Makes a report of what sweep, bench and collectives measured, and predict predicted."""

import argparse
import sys

from tools.common.files import resolve
from tools.common.program import Parser, UserError, check_outputs, run, write_each
from tools.report.build import build
from tools.report.floors import DEVICES, Peaks
from tools.report.load import load
from tools.report.merge import merge
from tools.report.render import to_csv, to_html, to_markdown
from tools.report.traces import load_traces

_WRITERS = {"html": to_html, "markdown": to_markdown, "csv": to_csv}


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _parse(argv: list[str]) -> argparse.Namespace:
    known = ", ".join(device.name for device in DEVICES)
    parser = Parser(
        prog="report",
        description="Makes one page of what sweep, bench and collectives measured: step time by mode "
        "and size, phases, exposed communication, bus bandwidth, roofline, rank skew, a timeline of "
        "one step, and the environment; of what predict compared, step time, memory and the fewest GPUs. "
        "The page needs no network. Every figure says whether it is "
        "measured or predicted, and has its numbers in a table.",
        epilog="Exit status: 0, or 1 with one line that says which input is wrong, and where.",
    )
    parser.add_argument(
        "input",
        nargs="+",
        help="a sweep's JSONL, or what bench, collectives or predict --sweep wrote to --json",
    )
    parser.add_argument(
        "--trace",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="traces of bench --profile, one a rank, for the timeline. Without, the timeline is "
        "drawn from the times of the ops in bench's JSON",
    )
    parser.add_argument(
        "--merged_trace",
        metavar="FILE",
        help="also write the traces of --trace as one trace of all ranks, for Perfetto",
    )
    parser.add_argument("--format", choices=sorted(_WRITERS), default="html")
    parser.add_argument("--output", metavar="FILE", help="where to write it; default: stdout")
    parser.add_argument("--title", default="Tensor-parallel training step: report")
    floors = parser.add_argument_group("floors of the roofline (predicted)")
    floors.add_argument(
        "--peak_tflops",
        type=_positive,
        metavar="N",
        help=f"what one rank's matrix units can do, in TFLOP/s; known without: {known}",
    )
    floors.add_argument(
        "--link_gbps",
        type=_positive,
        metavar="N",
        help="what one rank can send, in 10^9 bytes a second",
    )
    return parser.parse_args(argv)


def _main() -> int:
    arguments = _parse(sys.argv[1:])
    if arguments.merged_trace and not arguments.trace:
        raise UserError("--merged_trace: there are no traces to merge; name them with --trace")
    check_outputs(
        {"--output": arguments.output, "--merged_trace": arguments.merged_trace},
        {"input": arguments.input, "--trace": arguments.trace},
    )
    data = load([resolve(path) for path in arguments.input])
    traces = load_traces([resolve(path) for path in arguments.trace])
    peaks = Peaks(arguments.peak_tflops, arguments.link_gbps)
    full = arguments.format == "csv"
    texts = {}
    if arguments.merged_trace:
        texts[arguments.merged_trace] = merge([resolve(path) for path in arguments.trace])
    report = build(data, traces, peaks, arguments.title, full_names=full)
    text = _WRITERS[arguments.format](report)
    if arguments.output:
        texts[arguments.output] = text
    else:
        sys.stdout.write(text)
    return write_each("report", texts)


if __name__ == "__main__":
    sys.exit(run("report", _main))
