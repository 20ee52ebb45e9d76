"""The table that a sweep ends with: what its points took."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterator
from typing import Any

from tools.sweep.points import Point, spelled
from tools.sweep.records import Record

_MOST_ROWS = 24
_NAMES = {"in_features": "in", "out_features": "out"}


def render(points: list[Point], records: list[Record]) -> list[str]:
    """Lines: a table for each tool, of the points that have results, in the order of `points`."""
    by_key: dict[str, list[Record]] = {}
    for record in records:
        by_key.setdefault(record["key"], []).append(record)
    lines: list[str] = []
    for kind, head, measured in (
            ("layer", ["runs", "step ms", "min", "max"], _steps),
            ("model", ["runs", "step ms", "min", "max", "tokens/s"], _steps_and_tokens),
            ("collectives", ["runs", "bytes", "time us", "busbw GB/s"], _largest)):
        known = [(point, measured(by_key.get(point.key, []))) for point in points
                 if _kind(point) == kind]
        rows = [(point, cells) for point, cells in known if cells]
        if rows:
            lines += ["", *_table(head, rows)]
    return lines


def _kind(point: Point) -> str:
    if point.tool == "collectives":
        return "collectives"
    return "model" if "model" in point.point else "layer"


def _results(records: list[Record], tool: str) -> Iterator[list[dict[str, Any]]]:
    for record in records:
        results = record.get(tool, {}).get("results")
        if results:
            yield results


def _steps(records: list[Record]) -> list[str]:
    """The median over the runs of the median step, and the runs' lowest and highest."""
    try:
        medians = [float(results[0]["step_ms"]["median"])
                   for results in _results(records, "bench")]
    except (KeyError, TypeError, ValueError):  # of another version of the tool
        return []
    if not medians:
        return []
    times = (statistics.median(medians), min(medians), max(medians))
    return [str(len(medians)), *(f"{ms:.4g}" for ms in times)]


def _steps_and_tokens(records: list[Record]) -> list[str]:
    """The same, and the median over the runs of the tokens a second."""
    cells = _steps(records)
    try:
        rates = [float(results[0]["tokens_per_second"])
                 for results in _results(records, "bench")]
    except (KeyError, TypeError, ValueError):
        rates = []
    return cells and [*cells, f"{statistics.median(rates):.0f}" if rates else "-"]


def _largest(records: list[Record]) -> list[str]:
    """Of the largest size, medians over the runs."""
    try:
        rows = [results[-1] for results in _results(records, "collectives")]
        times = [float(row["time_us"]["median"]) for row in rows]
        rates = [float(row["busbw_gbps"]) for row in rows]
        nbytes = [str(row["bytes"]) for row in rows]
    except (KeyError, TypeError, ValueError):
        return []
    if not rows:
        return []
    return [str(len(rows)), nbytes[0], f"{statistics.median(times):.4g}",
            f"{statistics.median(rates):.3g}"]


def _table(head: list[str], rows: list[tuple[Point, list[str]]]) -> list[str]:
    """Columns for what the points differ in; a line above for what they share."""
    names = list(rows[0][0].point)
    differs = [name for name in names if len({str(point.point[name]) for point, _ in rows}) > 1]
    shared = ", ".join(f"{_NAMES.get(name, name)} {spelled(rows[0][0].point[name])}"
                       for name in names if name not in differs)
    cells = [[_NAMES.get(name, name) for name in differs] + head]
    cells += [[spelled(point.point[name]) for name in differs] + measured
              for point, measured in rows[:_MOST_ROWS]]
    widths = [max(map(len, column)) for column in zip(*cells)]
    texts = [not all(cell.replace(".", "").isdigit() for cell in column[1:])
             for column in zip(*cells)]
    lines = textwrap.wrap(f"{rows[0][0].tool}: {shared} (measured)", 100, subsequent_indent="  ",
                          break_on_hyphens=False)
    for row in cells:
        parts = [cell.ljust(width) if text else cell.rjust(width)
                 for cell, width, text in zip(row, widths, texts)]
        lines.append("  " + "  ".join(parts).rstrip())
    if len(rows) > _MOST_ROWS:
        lines.append(f"  and {len(rows) - _MOST_ROWS} more, in the file")
    return lines
