"""Decides the statements from the records of one machine."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from tools.observations.decide import FAILS, HOLDS, MISS, UNCLEAR, Interval, interval, overall
from tools.observations.quantities import Round
from tools.observations.statement import Condition, Settings, Statement

_WHERE = {
    HOLDS: "Where it holds: ",
    FAILS: "Where it does not hold: ",
    UNCLEAR: "Where it is not distinguishable: ",
}


@dataclass(frozen=True)
class Decided:
    condition: Condition
    outcome: str
    at: Interval  # of the quantity that the rule asks about
    numbers: list[Interval]  # of each of the condition's numbers


@dataclass(frozen=True)
class Verdict:
    statement: Statement
    outcome: str
    reason: str
    decided: list[Decided]


def rounds_of(records: list[dict[str, Any]]) -> list[Round]:
    by_round: dict[int, Round] = {}
    for record in records:
        by_round.setdefault(record["round"], {})[record["key"]] = record
    return [by_round[number] for number in sorted(by_round)]


def _decide(condition: Condition, rounds: list[Round], miss: float) -> Decided:
    at = interval([condition.value(r) for r in rounds], miss)
    numbers = [interval([number.of(r) for r in rounds], miss) for number in condition.numbers]
    return Decided(condition, condition.rule.decide(at), at, numbers)


def evaluate(statement: Statement, rounds: list[Round]) -> Verdict:
    conditions = statement.conditions
    decided = [_decide(c, rounds, MISS / len(conditions)) for c in conditions]
    outcome = overall([(d.condition.name, d.outcome) for d in decided])
    found = list(dict.fromkeys(d.outcome for d in decided)) or [outcome]
    texts = []
    for each in found:
        because = [d.condition.because.get(each) for d in decided if d.outcome == each] or [None]
        reasons = dict.fromkeys(reason or statement.reasons[each] for reason in because)
        texts.append((_WHERE[each] if len(found) > 1 else "") + " ".join(reasons))
    return Verdict(statement, outcome, " ".join(texts), decided)


def as_json(settings: Settings, verdict: Verdict) -> dict[str, Any]:
    def bounds(at: Interval) -> dict[str, float | None]:
        return {
            name: value if math.isfinite(value) else None
            for name, value in (("low", at.low), ("median", at.median), ("high", at.high))
        }

    return {
        "id": verdict.statement.id,
        "backend": settings.backend,
        "statement": verdict.statement.says,
        "tested": verdict.statement.tested,
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "conditions": [
            {
                "condition": d.condition.name,
                "outcome": d.outcome,
                "quantity": bounds(d.at),
                "rule": {"is": type(d.condition.rule).__name__.lower(), **asdict(d.condition.rule)},
                "numbers": [
                    {"name": number.name, "unit": number.unit, **bounds(at)}
                    for number, at in zip(d.condition.numbers, d.numbers)
                ],
            }
            for d in verdict.decided
        ],
    }
