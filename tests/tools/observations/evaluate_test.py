"""Statements decided from records made by hand: what is true of them is what comes out."""

import unittest
from typing import Any

from tools.observations.evaluate import Verdict, as_json, evaluate, rounds_of
from tools.observations.measure import Shape
from tools.observations.page import Machine, to_markdown, to_text
from tools.observations.statement import Settings, runs
from tools.observations.statements import statements

_SETTINGS = Settings("sim", [Shape(20, 1000, 1000, "fp32"), Shape(512, 64, 32, "fp32")], 2)
_ROUNDS = 10


def op(name: str, action: str, phase: str, us: list[float], sent: list[int]) -> dict[str, Any]:
    return {
        "name": name,
        "action": action,
        "phase": phase,
        "time_us": us,
        "done_us": list(us),
        "bytes_sent": sent,
        "longest_over_shortest": max(us) / min(us),
        "done_spread_us": max(us) - min(us),
    }


def record(run: Any, drift: float) -> dict[str, Any]:
    """As bench would write it; `drift` makes everything of the round slower alike."""
    flags = dict(flag[2:].split("=") for flag in run.flags)
    tp, dp = int(flags["tp"]), int(flags["dp"])
    row = flags["mode"] == "row"
    ranks = tp * dp
    even = int(flags["tokens"]) * int(flags["out_features"]) % ranks == 0
    phase = {"compute_ms": drift, "communication_ms": 0.0, "exposed_communication_ms": 0.5 * drift}
    none = {"compute_ms": 0.0, "communication_ms": 0.0, "exposed_communication_ms": 0.0}
    collective_us = (20.0 if row else 10.0) * drift  # an all-reduce in row mode
    return {
        "config": {
            "tokens": int(flags["tokens"]),
            "in_features": int(flags["in_features"]),
            "out_features": int(flags["out_features"]),
            "dtype": flags["dtype"],
            "tp": tp,
            "dp": dp,
        },
        "taken_off_a_core": 0,
        "step_ms": {"median": (4.0 if row else 10.0) * drift, "min": 0, "p99": 0},
        "phases": {
            "forward": phase,
            "backward": {**phase, "compute_ms": 2 * drift},
            "gradient_sync": phase if dp > 1 else none,
            "optimizer": {**none, "compute_ms": 0.1 * drift},
        },
        "bytes": {"collectives": [{"phase": "backward", "time_us": collective_us}]},
        "ranks": {
            "step_ms": [drift] * ranks,
            "ops": [
                op(
                    "xw",
                    "collective",
                    "forward",
                    [1.0] * ranks,
                    [400 if even else 400 + 4 * (rank % 2) for rank in range(ranks)],
                ),
                op("dx.shard", "gemm", "backward", [30.0 * drift] * ranks, [0] * ranks),
                op(
                    "dx",
                    "collective",
                    "backward",
                    [collective_us * (1 + rank) for rank in range(ranks)],
                    [0] * ranks,
                ),
                op("w.updated", "sgd", "optimizer", [5.0 * drift] * ranks, [0] * ranks),
            ],
        },
    }


def measured(rounds: int = _ROUNDS) -> list[dict[str, Any]]:
    return [
        {"round": number, "key": run.key, **record(run, 1 + 0.01 * number)}
        for number in range(rounds)
        for run in runs(_SETTINGS)
    ]


def verdicts(records: list[dict[str, Any]]) -> dict[str, Verdict]:
    rounds = rounds_of(records)
    return {s.id: evaluate(s, rounds) for s in statements(_SETTINGS)}


class EvaluateTest(unittest.TestCase):
    def test_each_statement_comes_out_as_the_records_have_it(self) -> None:
        found = verdicts(measured())
        outcomes = {id: verdict.outcome for id, verdict in found.items()}
        both = "20×1000→1000 fp32", "512×64→32 fp32"
        self.assertEqual(
            outcomes,
            {
                "row-against-column": "holds",  # 2.5
                "bottleneck": "does not hold",  # 1 to 3.1
                "latency": "holds",  # 2
                "throughput": "holds when: size, row mode; size, column mode; "
                f"mode, {both[0]}; mode, {both[1]}",
                "ring": "holds when: the array does not divide",
                "leader": "holds",
                "symmetry": "does not hold",
                "memory": "not distinguishable",
                "forward": "does not hold",
                "durations": "holds",
                "gradient-sync": f"holds when: dp 2, {both[0]}; dp 2, {both[1]}",
                "switching": "does not hold",
            },
        )
        self.assertEqual(len(found), 12)

    def test_throughput_names_what_it_depends_on(self) -> None:
        verdict = verdicts(measured())["throughput"]
        found = {d.condition.name: d.outcome for d in verdict.decided}
        self.assertEqual(found.pop("algorithm of the all-reduce"), "not distinguishable")
        self.assertEqual(set(found.values()), {"holds"})

    def test_drift_that_all_runs_of_a_round_share_does_not_widen_a_ratio(self) -> None:
        at = verdicts(measured())["row-against-column"].decided[0].at
        self.assertAlmostEqual(at.low, 2.5)
        self.assertAlmostEqual(at.high, 2.5)

    def test_one_odd_round_of_ten_counts_for_one_of_four_conditions_and_not_for_a_single_one(
        self,
    ) -> None:
        records = measured()
        for record in records:
            if record["round"] == 5:
                for c in record["bytes"]["collectives"]:
                    c["time_us"] = 15.0  # of both modes: their ratio is 1
        self.assertEqual(verdicts(records)["latency"].outcome, "not distinguishable")
        for record in records:
            if record["round"] == 5 and record["key"] == "crowded":
                record["ranks"]["ops"][1]["longest_over_shortest"] = 3.0
        self.assertEqual(verdicts(records)["switching"].outcome, "does not hold")

    def test_too_few_rounds_decide_nothing_but_counts(self) -> None:
        outcomes = {id: verdict.outcome for id, verdict in verdicts(measured(rounds=3)).items()}
        self.assertEqual(outcomes.pop("ring"), "holds when: the array does not divide")
        self.assertEqual(
            outcomes.pop("gradient-sync"),
            "does not hold (1 of 3 conditions; the others are not distinguishable)",
        )
        self.assertEqual(set(outcomes.values()), {"not distinguishable"})

    def test_the_reason_is_that_of_the_outcome(self) -> None:
        found = verdicts(measured())
        self.assertIn("Where it does not hold: With dp 1", found["gradient-sync"].reason)
        self.assertIn("Where it holds: dW has", found["gradient-sync"].reason)
        self.assertNotIn("Where", found["forward"].reason)

    def test_the_page_says_all_of_it(self) -> None:
        found = verdicts(measured())
        machine = Machine(_SETTINGS, {"cpu": "x"}, "today", _ROUNDS, [], list(found.values()))
        page = to_markdown([machine, machine])
        text = to_text([machine])
        for verdict in found.values():
            self.assertIn(f"| {verdict.statement.says} | {verdict.outcome} |", page)
            self.assertIn(verdict.statement.says, text)
            for d in verdict.decided:
                self.assertIn(f"| {d.condition.name} | ", page)
        self.assertIn("2.5", page)
        written = as_json(_SETTINGS, found["latency"])
        self.assertEqual(written["conditions"][0]["quantity"]["median"], 2)


if __name__ == "__main__":
    unittest.main()
