"""A report: its figures in the order in which they are read."""

import platform
from dataclasses import dataclass
from typing import Any

from tools.report import figures, floors, ranks
from tools.report.bandwidth import bandwidth
from tools.report.cases import Group, Names, group_steps
from tools.report.headline import counted, headline
from tools.report.load import Data
from tools.report.planner import environment_rows, planner, said_of, summary_rows
from tools.report.speedup import speedup
from tools.report.tables import Figure, Table, given, write
from tools.report.traces import Trace

_COMMANDS_SHOWN = 2
_WARNINGS_SHOWN = 3
_FIRST = ("name", "processor", "cpu", "cores", "system")  # of what is said of a machine


@dataclass(frozen=True)
class Report:
    title: str
    headline: list[str]  # sentences
    figures: list[Figure]


def build(
    data: Data, traces: list[Trace], peaks: floors.Peaks, title: str, full_names: bool
) -> Report:
    """`full_names`: each row of a table says all of its case, for programs."""
    groups = group_steps(data.steps)
    names = Names(groups, full_names)
    made = [_summary(data, groups, traces), _environment(data)]
    if data.failures or data.interrupted:
        made.append(_failures(data))
    if groups:
        made.append(figures.step_time(groups, names))
        if over_tp := speedup(groups, names):
            made.append(over_tp)
        made += [figures.phases(groups, names), figures.exposed(groups, names)]
    if data.transfers:
        made.append(bandwidth(data, full_names))
    if groups:
        made.append(figures.roofline(groups, names, peaks))
    skew = ranks.skew(groups, names)
    if skew:
        made.append(skew)
    made += ranks.timelines(groups, names, traces)
    made += planner(data.plans)
    return Report(title, headline(data, groups) + said_of(data.plans), made)


def _listed(values: Any) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values)) or "none"


def _verified(data: Data) -> str:
    checked = [s.result["equivalence"] for s in data.steps if s.result.get("equivalence")]
    if not checked:
        return "not verified in these runs"
    good = sum(1 for report in checked if report.get("ok"))
    return f"{good} of {len(checked)} verified runs agree with the unsharded step"


def _counted(data: Data) -> str:
    good = sum(1 for step in data.steps if step.result["bytes"].get("ok"))
    return f"{good} of {len(data.steps)} runs moved exactly the bytes they must"


def _summary(data: Data, groups: list[Group], traces: list[Trace]) -> Figure:
    cases = [group.case for group in groups]
    table = Table([given("what"), given("value")])
    rows = table.rows
    files = data.sources + [trace.file for trace in traces]
    if len(files) > 4:
        files = [files[0], "…", f"{files[-1]}: {len(files)} files"]
    rows.append(["files", ", ".join(files)])
    if cases:
        rows.append(["training steps", f"{len(data.steps)} runs of {len(cases)} cases"])
        rows.append(["modes", _listed(case.mode for case in cases)])
        rows.append(["tokens × in → out", _listed(case.size for case in cases)])
        rows.append(["element types", _listed(case.dtype for case in cases)])
        rows.append(["tp × dp", _listed(f"{case.tp} × {case.dp}" for case in cases)])
        rows.append(["results", _verified(data)])
        rows.append(["bytes", _counted(data)])
    alone = [t for t in data.transfers if t.within == "collectives"]
    if alone:
        kinds = _listed(t.kind for t in alone)
        rows.append(["collectives by themselves", f"{len(alone)} sizes: {kinds}"])
        rows.append(["wrong elements", str(sum(t.wrong or 0 for t in alone))])
    rows += summary_rows(data.plans)
    backends = [case.backend for case in cases] + [t.backend for t in data.transfers]
    rows.append(["backends", _listed(backends)])
    rows.append(["failed", counted(len(data.failures))])
    return Figure("summary", "What was run", "", "", table)


def _failures(data: Data) -> Figure:
    rows = [[what, why] for what, why in data.failures]
    rows += [[what, "interrupted before all was measured"] for what in data.interrupted]
    return Figure(
        "failures",
        "What failed",
        "",
        "These runs have no numbers below, some of them only, or numbers of which a check failed.",
        Table([given("run"), given("why")], rows),
    )


def _environment(data: Data) -> Figure:
    table = Table([given("fact"), given("value")])
    for number, host in enumerate(data.hosts, start=1):
        prefix = f"machine {number}, " if len(data.hosts) > 1 else ""
        for fact in sorted(host, key=lambda fact: (*_FIRST, fact).index(fact)):
            value = host[fact]
            if isinstance(value, dict):
                for name, inner in value.items():
                    table.rows.append([f"{prefix}{fact}: {name}", str(inner)])
            elif value not in (None, ""):
                table.rows.append([f"{prefix}{fact}", str(value)])
    table.rows += environment_rows(data.plans)
    origins = [of.origin for of in (*data.steps, *data.transfers, *data.plans)]
    dates = sorted({origin.date for origin in origins if origin.date})
    if dates:
        span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        table.rows.append(["runs began", span])
    loads = [origin.load for origin in origins if origin.load is not None]
    if loads:
        span = write(loads[0]) if len(set(loads)) == 1 else f"{min(loads):.4g} to {max(loads):.4g}"
        table.rows.append(["load before them", span])
    for warning in data.warnings[:_WARNINGS_SHOWN]:
        table.rows.append(["warning", warning])
    if len(data.warnings) > _WARNINGS_SHOWN:
        more = len(data.warnings) - _WARNINGS_SHOWN
        table.rows.append(["warning", f"and {more} more, in the files"])
    for command in data.commands[:_COMMANDS_SHOWN]:
        table.rows.append(["command", command])
    more = len(data.commands) - _COMMANDS_SHOWN
    if more > 0:
        table.rows.append(["command", f"and {more} more, in the sweep's file"])
    table.rows.append(["this page made with Python", platform.python_version()])
    return Figure("environment", "Environment", "", "", table)
