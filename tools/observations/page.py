"""The statements and what became of them, as a page or on a terminal."""

import math
import textwrap
from dataclasses import dataclass
from typing import Any

from tools.observations import decide
from tools.observations.decide import Interval
from tools.observations.evaluate import Decided, Verdict
from tools.observations.statement import Settings

COMMAND = "bazel run //tools:observations -- --format=markdown --output=docs/observations.md"


@dataclass(frozen=True)
class Machine:
    """One machine's measurements, decided."""

    settings: Settings
    facts: dict[str, Any]
    when: str
    rounds: int
    common: list[str]
    verdicts: list[Verdict]

    @property
    def name(self) -> str:
        return "CPU" if self.settings.backend == "sim" else "GPUs"


def _short(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _measured(d: Decided) -> str:
    """Of what the rule asks about. A count has no spread, and unbounded a rule decides nothing."""
    if isinstance(d.condition.rule, decide.Exactly):
        return f"{d.at.median:.7g}"
    return f"{_short(d.at.median)} (too few rounds)" if math.isinf(d.at.low) else spread(d.at)


def spread(at: Interval) -> str:
    if at.low == at.high or math.isinf(at.low):  # no spread, or one that is unknown
        return _short(at.median)
    return f"{_short(at.median)} [{_short(at.low)}, {_short(at.high)}]"


def _rule(d: Decided) -> str:
    match d.condition.rule:
        case decide.Above(threshold):
            return f"above {_short(threshold)}"
        case decide.Within(lowest, highest):
            return f"{_short(lowest)} to {_short(highest)}"
        case decide.Differs():
            return "not 1"
        case decide.Exactly(other_than):
            return f"not {_short(other_than)}, a count"
    raise AssertionError(d.condition.rule)


def _numbers(d: Decided) -> str:
    return ", ".join(
        f"{number.name} {spread(at)} {number.unit}".strip()
        for number, at in zip(d.condition.numbers, d.numbers)
    )


def _verdict_lines(machine: Machine, verdict: Verdict) -> list[str]:
    lines = [f"On the {machine.name}: **{verdict.outcome}**.", ""]
    if verdict.decided:
        lines += ["| condition | asked | measured | outcome | numbers |", "|" + " --- |" * 5]
        for d in verdict.decided:
            cells = [d.condition.name, _rule(d), _measured(d), d.outcome, _numbers(d)]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return [*lines, verdict.reason, ""]


def to_markdown(machines: list[Machine]) -> str:
    lines = [
        "# The observations, tested",
        "",
        "An example program that splits one linear layer over two GPUs came with a list of "
        "observations about tensor-parallel training. Each is put to the test here by running "
        "`bench`; a rule, and nobody's judgement, turns what was measured into an outcome. This page "
        "is what the tool wrote:",
        "",
        "```bash",
        COMMAND,
        "```",
        "",
        "On a machine without Bazel, `python3 -m tools.observations --bench=bin/bench --json=FILE` "
        "measures with the bench of the bundle, and `--from=FILE` adds that to the page.",
        "",
        "## The rule",
        "",
        "All numbers are measured: medians over the rounds, and in brackets an interval that misses "
        "the true median in at most 5 of 100 cases, all conditions of a statement together. In a round "
        "every run happens once, in an order drawn anew, and a ratio is formed within its round. The "
        "interval lies between two of the sorted values (the sign test's), which asks for no "
        "distribution.",
        "",
        "* *holds*: the whole interval is what the statement asks for.",
        "* *does not hold*: none of it is.",
        "* *not distinguishable*: the spread covers both. That two are equal can't be shown so.",
        "* *holds when*: in these conditions, and not, or not distinguishably, in the others.",
        "",
        "## The machines",
        "",
    ]
    for machine in machines:
        facts = "; ".join(f"{name} {value}" for name, value in machine.facts.items())
        flags = f", `{' '.join(machine.common)}`" if machine.common else ""
        lines.append(
            f"* {machine.name} (`--backend={machine.settings.backend}`): {facts}. "
            f"{machine.rounds} rounds, {machine.when}{flags}."
        )
    heads = [machine.name for machine in machines]
    lines += ["", "## Outcomes", "", "| statement | " + " | ".join(heads) + " |"]
    lines.append("|" + " --- |" * (1 + len(machines)))
    statements = [verdict.statement for verdict in machines[0].verdicts]
    for i, statement in enumerate(statements):
        outcomes = [machine.verdicts[i].outcome for machine in machines]
        lines.append(f"| {statement.says} | " + " | ".join(outcomes) + " |")
    lines.append("")
    for i, statement in enumerate(statements):
        lines += [f"## {statement.says.rstrip('.')}", ""]
        for machine in machines:
            verdict = machine.verdicts[i]
            lines += [f"Asked: {verdict.statement.tested}.", ""]
            lines += _verdict_lines(machine, verdict)
    return "\n".join(_wrapped(line) for line in lines)


def _wrapped(line: str) -> str:
    """Prose as the other pages have it; tables stay whole."""
    if line.startswith(("|", "#")) or line == COMMAND:
        return line
    indent = "  " if line.startswith("* ") else ""
    return textwrap.fill(
        line, 104, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def to_text(machines: list[Machine]) -> str:
    lines: list[str] = []
    for machine in machines:
        lines += [f"{machine.name}, {machine.rounds} rounds, {machine.when} (measured)", ""]
        for verdict in machine.verdicts:
            lines.append(verdict.statement.says)
            lines.append(f"  {verdict.outcome.upper()}")
            lines.append(f"  asked: {verdict.statement.tested}")
            for d in verdict.decided:
                lines.append(
                    f"    {d.condition.name}: {_measured(d)}, asked {_rule(d)}: {d.outcome}"
                )
                lines.append(f"      {_numbers(d)}")
            lines += [f"  {verdict.reason}", ""]
    return "\n".join(lines)
