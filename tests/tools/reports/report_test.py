"""The report as a user runs it: on what bench writes now, and on the file of a sweep."""

import csv
import html.parser
import io
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import unittest

_SWEEP = "tests/tools/reports/sweep.jsonl"


def run_report(*arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "BUILD_WORKING_DIRECTORY"}
    return subprocess.run(
        ["tools/report", *arguments], capture_output=True, text=True, env=environment
    )


class Page(html.parser.HTMLParser):
    """What the tests ask about a page."""

    VOID = {"meta", "link", "br", "hr", "img", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.basis: dict[str, str] = {}  # of a section with a chart
        self.tables: set[str] = set()
        self.charts: set[str] = set()
        self.scripts: dict[str, str] = {}
        self.section = self.script = ""
        self.in_basis = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list) -> None:
        values = {name: value or "" for name, value in attributes}
        self.attributes += [(tag, name, value) for name, value in values.items()]
        self.ids += [values["id"]] if "id" in values else []
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = values["id"]
        if tag == "table":
            self.tables.add(self.section)
        if tag == "canvas":
            self.charts.add(self.section)
        if tag == "script":
            self.script = values.get("id", f"script {len(self.scripts)}")
        self.in_basis = values.get("class") == "basis"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self.script] = self.scripts.get(self.script, "") + data
        if self.in_basis:
            self.basis[self.section] = data
            self.in_basis = False


class ReportTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def page(self, *arguments: str) -> Page:
        out = self.folder / "report.html"
        result = run_report(*arguments, f"--output={out}")
        self.assertEqual(result.returncode, 0, result.stderr)
        return Page(out.read_text())

    def numbers(self, *arguments: str) -> list[dict[str, str]]:
        result = run_report(*arguments, "--format=csv")
        self.assertEqual(result.returncode, 0, result.stderr)
        return list(csv.DictReader(io.StringIO(result.stdout)))

    def bench(self, *flags: str) -> tuple[str, dict]:
        out = str(self.folder / "bench.json")
        command = ["tools/bench", "--steps=3", "--tokens=9", "--in_features=31"]
        command += ["--out_features=17", f"--json={out}", *flags]
        subprocess.run(command, check=True, capture_output=True)
        return out, json.loads(pathlib.Path(out).read_text())

    def test_the_page_is_whole_and_every_chart_says_what_it_is(self) -> None:
        page = self.page(_SWEEP)
        self.assertEqual(page.open, [])
        self.assertEqual(len(page.ids), len(set(page.ids)))
        for id in ("step-time", "phases", "exposed", "busbw", "roofline", "skew", "timeline"):
            self.assertIn(id, page.charts)
            self.assertIn(id, page.tables)
            self.assertIn(page.basis[id], ("measured", "measured and predicted"))
        self.assertLessEqual({"summary", "failures", "environment"}, page.tables)
        self.assertEqual(set(json.loads(page.scripts["charts"])), page.charts)

    def test_the_page_asks_for_nothing_from_elsewhere(self) -> None:
        page = self.page(_SWEEP)
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

    def test_csv_has_the_numbers_of_bench_to_the_last_digit(self) -> None:
        path, wrote = self.bench("--mode=both", "--tp=3")
        rows = self.numbers(path)
        for result in wrote["results"]:
            got = {
                (row["figure"], row["quantity"]): float(row["value"])
                for row in rows
                if f"mode={result['mode']};" in row["case"] and "op=" not in row["case"]
            }
            step = result["step_ms"]
            self.assertEqual(got["step-time", "median"], step["median"])
            self.assertEqual(got["step-time", "min"], step["min"])
            self.assertEqual(got["step-time", "p99"], step["p99"])
            self.assertEqual(got["step-time", "products alone"], result["products_ms"])
            backward = result["phases"]["backward"]
            self.assertEqual(got["phases", "backward: compute"], backward["compute_ms"])
            communication = sum(p["communication_ms"] for p in result["phases"].values())
            self.assertEqual(got["exposed", "communication"], communication)
        by_rank = [
            float(row["value"])
            for row in rows
            if row["figure"] == "skew"
            and row["quantity"] == "duration"
            and "mode=row;" in row["case"]
        ]
        ops = wrote["results"][0]["ranks"]["ops"]
        self.assertEqual(by_rank, [us for op in ops for us in op["time_us"]])
        busbw = {float(r["value"]) for r in rows if r["quantity"] == "busbw"}
        collectives = [c for r in wrote["results"] for c in r["bytes"]["collectives"]]
        self.assertEqual(busbw, {c["busbw_gbps"] for c in collectives})

    def test_repeats_become_their_median(self) -> None:
        records = [json.loads(line) for line in pathlib.Path(_SWEEP).read_text().splitlines()]
        medians = [
            record["bench"]["results"][0]["step_ms"]["median"]
            for record in records
            if record["tool"] == "bench"
            and (record["point"]["mode"], record["point"]["tokens"]) == ("row", 64)
        ]
        self.assertEqual(len(medians), 2)
        row = next(
            row
            for row in self.numbers(_SWEEP)
            if row["figure"] == "step-time"
            and row["quantity"] == "median"
            and "mode=row; tokens × in → out=64×" in row["case"]
        )
        self.assertEqual(float(row["value"]), statistics.median(medians))
        self.assertEqual(row["basis"], "measured")

    def test_markdown_has_the_numbers_of_bench(self) -> None:
        path, wrote = self.bench("--mode=column")
        result = run_report(path, "--format=markdown")
        self.assertEqual(result.returncode, 0, result.stderr)
        section = result.stdout.split("## Step time by mode and size (measured)")[1]
        head, _, row = [line for line in section.splitlines() if line.startswith("|")][:3]
        cells = dict(zip(map(str.strip, head.split("|")), map(str.strip, row.split("|"))))
        self.assertEqual(cells["median, ms"], f"{wrote['results'][0]['step_ms']['median']:.4g}")
        self.assertEqual(cells["mode"], "column")

    def test_floors_are_predicted_and_computed(self) -> None:
        path, _ = self.bench("--mode=row", "--tp=2")
        rows = self.numbers(path, "--peak_tflops=0.5", "--link_gbps=4")
        got = {r["quantity"]: r for r in rows if r["figure"] == "roofline"}
        self.assertEqual(got["GEMM floor"]["basis"], "predicted")
        self.assertEqual(got["link floor"]["basis"], "predicted")
        self.assertEqual(got["step"]["basis"], "measured")
        flops_per_rank = 6 * 9 * 31 * 17 / 2
        self.assertEqual(float(got["GEMM floor"]["value"]), flops_per_rank / 0.5e9)
        # Of y a rank sends its half once, of dx a half twice: fp32.
        sent_per_rank = (9 * 17 * 4) / 2 + 9 * 31 * 4
        self.assertEqual(float(got["link floor"]["value"]), sent_per_rank / 4e6)
        page = self.page(path, "--peak_tflops=0.5", "--link_gbps=4")
        self.assertEqual(page.basis["roofline"], "measured and predicted")
        self.assertNotIn("GEMM floor", {r["quantity"] for r in self.numbers(path)})

    def test_a_known_device_brings_its_floors_and_their_source(self) -> None:
        path, wrote = self.bench("--mode=row", "--tp=2", "--dtype=bf16")
        wrote["host"]["gpu 0"] = "NVIDIA H200, 140 GiB, compute capability 9.0"
        pathlib.Path(path).write_text(json.dumps(wrote))
        rows = [row for row in self.numbers(path) if row["figure"] == "roofline"]
        floor = next(row for row in rows if row["quantity"] == "GEMM floor")
        self.assertEqual(float(floor["value"]), 6 * 9 * 31 * 17 / 2 / (989.4 * 1e9))
        self.assertIn("data sheet", floor["case"])

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
        torn.write_text(pathlib.Path(_SWEEP).read_text()[:-50])
        result = run_report(str(torn), f"--output={out}")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^report: .*torn\.jsonl, line 13 is not whole JSON.*\n$")
        self.assertEqual(result.stdout, "")
        self.assertEqual(out.read_text(), "the old one")
        self.assertEqual(
            sorted(p.name for p in self.folder.iterdir()), ["report.html", "torn.jsonl"]
        )

    def test_an_output_that_cannot_be_written_is_named(self) -> None:
        result = run_report(_SWEEP, f"--output={self.folder}/nowhere/report.html")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"^report: cannot write .*nowhere.*\n$")


if __name__ == "__main__":
    unittest.main()
