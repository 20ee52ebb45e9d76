"""The page of a report, and what becomes of input that is not as it should be."""

import json
import pathlib
import re
import unittest
from collections.abc import Callable

from tests.tools.report.tool import SWEEP, ReportCase, run_report
from tools.common.files import encode
from tools.common.program import UserError
from tools.report.build import build
from tools.report.floors import Peaks
from tools.report.load import load
from tools.report.render import to_csv, to_html, to_markdown


class ReportTest(ReportCase):
    def test_the_page_is_whole_and_every_chart_says_what_it_is(self) -> None:
        page = self.page(SWEEP)
        self.assertEqual(page.open, [])
        self.assertEqual(len(page.ids), len(set(page.ids)))
        for id in ("step-time", "phases", "exposed", "busbw", "roofline", "skew", "timeline"):
            self.assertIn(id, page.charts)
            self.assertIn(id, page.tables)
            self.assertIn(page.basis[id], ("measured", "measured and predicted"))
        self.assertLessEqual({"summary", "failures", "environment"}, page.tables)
        sections = [id for id in page.ids if f"{id}-title" in page.ids]
        self.assertEqual(sections[:2], ["summary", "environment"])
        self.assertEqual(set(json.loads(page.scripts["charts"])), page.charts)

    def test_the_page_asks_for_nothing_from_elsewhere(self) -> None:
        page = self.page(SWEEP)
        for tag, name, value in page.attributes:
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                self.assertRegex(value, r"^(#|data:)", f"<{tag} {name}>")
        text = (self.folder / "report.html").read_text()
        self.assertIn("default-src 'none'", text)
        self.assertNotRegex(text, r"@import|url\(\s*['\"]?(http|//)")
        # Chart.js names its home in the comment of its licence, and nothing else does.
        for address in re.findall(r"https?://[^\s\"'<>)]+", text):
            self.assertIn(
                address.rstrip(".,"),
                ("https://www.chartjs.org", "https://github.com/kurkle/color#readme"),
            )

    def test_odd_traces_get_a_timeline_or_one_line(self) -> None:
        merged = self.folder / "merged.json"
        trace = self.folder / "trace.json.gz"
        trace.write_bytes(b"\x1f\x8b\x08\x00nothing of gzip")
        result = run_report(SWEEP, f"--trace={trace}", f"--merged_trace={merged}")
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertRegex(result.stderr, r"\Areport: .*trace.json.gz: not a whole trace: .*\n\Z")
        self.assertFalse(merged.exists())
        result = run_report(SWEEP, f"--merged_trace={merged}")
        self.assertRegex(result.stderr, r"\Areport: --merged_trace: there are no traces .*\n\Z")

    def test_text_from_a_file_is_no_markup(self) -> None:
        path, wrote = self.bench("--mode=row")
        wrote["host"]["gemm"] = "</script><script>alert(1)</script> | <b>"
        wrote["results"][0]["ranks"]["ops"][0]["name"] = "</script><b>"
        pathlib.Path(path).write_text(json.dumps(wrote))
        page = self.page(path)
        self.assertEqual(len(page.scripts), 3)
        self.assertNotIn("<b>", (self.folder / "report.html").read_text())
        markdown = run_report(path, "--format=markdown").stdout
        self.assertIn("\\| <b>", markdown)

    def test_bad_input_gets_one_line_and_leaves_the_old_report_alone(self) -> None:
        out = self.folder / "report.html"
        out.write_text("the old one")
        torn = self.folder / "torn.jsonl"
        torn.write_text(pathlib.Path(SWEEP).read_text()[:-50])
        result = run_report(str(torn), f"--output={out}")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^report: .*torn\.jsonl, line 13 is not whole JSON.*\n$")
        self.assertEqual(result.stdout, "")
        self.assertEqual(out.read_text(), "the old one")
        self.assertEqual(
            sorted(p.name for p in self.folder.iterdir()), ["report.html", "torn.jsonl"]
        )

    def test_a_transformers_step_is_told_by_its_model(self) -> None:
        path, wrote = self.bench_model("--recompute", "--micro_batches=2", "--clip=0")
        case = load([pathlib.Path(path)]).steps[0].case
        self.assertEqual(case.size, "llama-tiny 2×16, 2 micro-batches, recompute, not clipped")
        flops = wrote["results"][0]["flops"]["model"]
        self.assertEqual(case.flops_per_rank, flops / 2)
        self.assertEqual(self.page(path).open, [])
        self.assertIn(case.size, (self.folder / "report.html").read_text())
        rows = self.numbers(path)
        self.assertEqual({row["model"] for row in rows}, {case.size})
        self.assertRegex(run_report(path, "--format=markdown").stdout, "A step takes [0-9.]+ ms at llama-tiny ")
        rates = [row for row in rows if row["unit"] == "tokens/s"]
        self.assertEqual(len(rates), 1)
        median = wrote["results"][0]["step_ms"]["median"]
        self.assertAlmostEqual(float(rates[0]["value"]), 32e3 / median, places=3)

    def test_odd_values_get_one_line(self) -> None:
        path, wrote = self.bench("--mode=row")
        self.hold_odd_values(path, wrote, lambda at: "quantities" not in at)
        path, wrote = self.bench_model()
        result = wrote["results"][0]  # one op will do: a page of all takes long
        for rows in (result["ranks"]["ops"], result["bytes"]["collectives"]):
            del rows[1:]
        self.hold_odd_values(path, wrote, lambda at: "model" in at or "flops" in at)

    def hold_odd_values(self, path: str, wrote: dict, takes: Callable[[tuple], bool]) -> None:
        odd = [None, True, "text", [], {}, [1], -1, 0, "BIG", "HALF"]
        deep = {"results": "[" * 100000}
        for text in (json.dumps(deep).replace('"', "", 2), "[" * 100000):
            pathlib.Path(path).write_text(text)
            self.assertRegex(run_report(path).stderr, r"\Areport: [^\n]*\n\Z")

        def places(value: object, at: tuple = ()) -> list[tuple]:
            if isinstance(value, dict):
                return [at] + [p for k, v in value.items() for p in places(v, (*at, k))]
            if isinstance(value, list) and value:
                return [at, *places(value[0], (*at, 0))]
            return [at]

        # In one process: a report takes a quarter of a second to start.
        for at in places(wrote)[1:]:
            if not takes(at):
                continue
            for value in odd:
                changed = json.loads(json.dumps(wrote))
                inner = changed
                for key in at[:-1]:
                    inner = inner[key]
                inner[at[-1]] = value
                text = json.dumps(changed).replace('"BIG"', "9" * 400).replace("HALF", "\\ud800")
                pathlib.Path(path).write_text(text)
                try:
                    data = load([pathlib.Path(path)])
                except UserError as error:
                    self.assertNotIn("\n", str(error))
                    continue
                to_csv(build(data, [], Peaks(), "title", full_names=True))
                made = build(data, [], Peaks(), "title", full_names=False)
                to_markdown(made)
                encode(to_html(made))

    def test_an_output_that_cannot_be_written_is_named(self) -> None:
        result = run_report(SWEEP, f"--output={self.folder}/nowhere/report.html")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^report: cannot write .*nowhere.*\n$")

    def test_an_output_that_is_an_input_or_another_is_refused(self) -> None:
        before = pathlib.Path(SWEEP).read_bytes()
        sweep, trace = self.folder / "sweep.jsonl", self.folder / "trace.json"
        sweep.write_bytes(before)
        trace.write_text("a trace")
        page = f"--output={self.folder}/page.html"
        for flags, said in (
            ([f"--output={sweep}"], "--output would overwrite .*sweep.jsonl, which input names"),
            (
                [f"--trace={trace}", f"--merged_trace={trace}", page],
                "--merged_trace would overwrite .*trace.json, which --trace names",
            ),
            (
                [f"--trace={trace}", page, f"--merged_trace={self.folder}/page.html"],
                "--output and --merged_trace both name .*page.html",
            ),
        ):
            result = run_report(str(sweep), *flags)
            self.assertEqual((result.returncode, result.stdout), (1, ""))
            self.assertRegex(result.stderr, rf"\Areport: {said}, .*\n\Z")
        self.assertEqual((sweep.read_bytes(), trace.read_text()), (before, "a trace"))
        self.assertFalse((self.folder / "page.html").exists())


if __name__ == "__main__":
    unittest.main()
