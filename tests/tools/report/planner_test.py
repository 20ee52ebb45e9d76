"""The planner's figures: the numbers that predict wrote, each of them marked as predicted."""

import json
import pathlib
import unittest

from tests.tools.report.tool import ReportCase, run_report
from tools.common.program import UserError
from tools.report.build import build
from tools.report.floors import Peaks
from tools.report.load import load
from tools.report.render import to_csv, to_html, to_markdown

_FIGURES = {"plan-step-time", "plan-memory", "plan-frontier"}


class PlannerTest(ReportCase):
    def test_every_number_is_one_of_predict_and_says_that_it_is_predicted(self) -> None:
        path, wrote = self.predict()
        rows = self.numbers(path)
        self.assertEqual({row["figure"] for row in rows}, _FIGURES)
        self.assertEqual({row["basis"] for row in rows}, {"predicted"})

        def got(figure: str, quantity: str) -> list[float]:
            of = [r for r in rows if (r["figure"], r["quantity"]) == (figure, quantity)]
            return [float(row["value"]) for row in of]

        configurations = wrote["configurations"]
        closed = [c["closed_ms"] for c in configurations]
        self.assertEqual(len(closed), 2 * (2 + 4 + 4))  # tp 1 has nothing to cut in sequences
        self.assertEqual(got("plan-step-time", "step, closed form"), closed)
        replayed = [c["step_ms"] for c in configurations if c["step_ms"] is not None]
        self.assertEqual(len(replayed), 2)
        self.assertEqual(got("plan-step-time", "step, replayed"), replayed)
        memory = [c["memory_bytes"] / 2**30 for c in configurations]
        self.assertEqual(got("plan-memory", "memory of the fullest rank"), memory)

    def test_the_page_is_whole_and_says_predicted(self) -> None:
        path, wrote = self.predict()
        page = self.page(path)
        self.assertEqual(page.open, [])
        self.assertEqual(page.charts, _FIGURES)
        self.assertLessEqual(_FIGURES, page.tables)
        self.assertEqual({page.basis[id] for id in _FIGURES}, {"predicted"})
        charts = json.loads(page.scripts["charts"])
        for chart in charts.values():
            for series in chart["series"]:
                self.assertRegex(series["name"], "predicted|what a device has")
        text = (self.folder / "report.html").read_text()
        self.assertIn(wrote["machine"]["unvalidated"], text)
        self.assertIn("Predicted for llama-tiny 2×512, bf16 on h100x8-ib400, unvalidated: ", text)

    def test_a_plan_is_named_by_all_that_makes_it(self) -> None:
        more = ("--micro_batches=2", "--strands=2", "--algorithm=ring", "--straggler=1:1.5")
        path, _ = self.predict(*more, "--link=0-1:0.5", "--nomasters")
        self.assertEqual(
            load([pathlib.Path(path)]).plans[0].step,
            "2×512, bf16, 2 micro-batches, 2 strands, overlap, no masters, algorithm ring, "
            "straggler 1:1.5, link 0-1:0.5",
        )

    def test_the_frontier_has_who_is_faster_than_all_with_as_many_gpus_or_fewer(self) -> None:
        path, wrote = self.predict()
        made = [
            {"tp": tp, "dp": dp, "closed_ms": ms, "fits": fits}
            for tp, dp, ms, fits in (
                (1, 1, 1.0, False),  # does not fit
                (2, 1, 9.0, True),
                (1, 2, 8.0, True),  # faster with as many
                (4, 1, 8.0, True),
                (2, 2, 5.0, True),
                (4, 2, 6.0, True),  # slower with more
                (8, 1, 5.0, True),  # no faster with more
            )
        ]
        rest = {"sequence_parallel": False, "recompute": False, "memory_bytes": 1e9, "step_ms": None}
        wrote["configurations"] = [rest | c for c in made]
        pathlib.Path(path).write_text(json.dumps(wrote))
        rows = [r for r in self.numbers(path) if r["figure"] == "plan-frontier"]
        times = [(r["tp"], r["dp"], r["value"]) for r in rows if r["unit"] == "ms"]
        self.assertEqual(times, [("1", "2", "8.0"), ("2", "2", "5.0")])
        faster = [float(r["value"]) for r in rows if "times faster" in r["quantity"]]
        self.assertEqual(faster, [1, 1.6])
        charts = json.loads(self.page(path).scripts["charts"])
        # Of each mesh that fits, and none that does not.
        points = [p for s in charts["plan-step-time"]["series"] for p in s["points"]]
        self.assertEqual(sorted(y for _, y in points), [5, 5, 6, 8, 8, 9])
        # Where none fits, all.
        for c in wrote["configurations"]:
            c["fits"] = False
        pathlib.Path(path).write_text(json.dumps(wrote))
        rows = [r for r in self.numbers(path) if r["figure"] == "plan-frontier"]
        self.assertEqual([r["value"] for r in rows if r["unit"] == "ms"], ["1.0"])
        self.assertIn("none fits", run_report(path, "--format=markdown").stdout)

    def test_two_machines_are_two_plans(self) -> None:
        path, _ = self.predict()
        other = pathlib.Path(path).rename(self.folder / "other.json")
        path, _ = self.predict("--machine=preset:b200x8")
        page = self.page(path, str(other))
        self.assertEqual(page.charts, _FIGURES | {f"{id}-2" for id in _FIGURES})
        self.assertEqual(len(page.ids), len(set(page.ids)))

    def test_odd_values_get_one_line(self) -> None:
        path, wrote = self.predict()
        del wrote["configurations"][2:]

        def places(value: object, at: tuple = ()) -> list[tuple]:
            if isinstance(value, dict):
                return [at] + [p for k, v in value.items() for p in places(v, (*at, k))]
            if isinstance(value, list) and value:
                return [at, *places(value[0], (*at, 0))]
            return [at]

        refused = 0
        for at in places(wrote)[1:]:
            for value in (None, True, "text", "<b>", [], {}, [1], -1, 0, 0.5, 1e308):
                changed = json.loads(json.dumps(wrote))
                inner = changed
                for key in at[:-1]:
                    inner = inner[key]
                inner[at[-1]] = value
                pathlib.Path(path).write_text(json.dumps(changed))
                try:
                    data = load([pathlib.Path(path)])
                except UserError as error:
                    self.assertNotIn("\n", str(error))
                    refused += 1
                    continue
                to_csv(build(data, [], Peaks(), "title", full_names=True))
                made = build(data, [], Peaks(), "title", full_names=False)
                to_markdown(made)
                self.assertNotIn("<b>", to_html(made))
        self.assertGreater(refused, 100)


if __name__ == "__main__":
    unittest.main()
