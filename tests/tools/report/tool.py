"""The report as a user runs it, and what tests ask about its page."""

import csv
import html.parser
import io
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

SWEEP = "tests/tools/report/sweep.jsonl"


def run_report(*arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "BUILD_WORKING_DIRECTORY"}
    return subprocess.run(
        ["tools/report/report", *arguments], capture_output=True, text=True, env=environment
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


class ReportCase(unittest.TestCase):
    """Tests with a folder of their own."""

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
        return self.run_bench("--tokens=9", "--in_features=31", "--out_features=17", *flags)

    def bench_model(self, *flags: str) -> tuple[str, dict]:
        model = ("--model=llama-tiny", "--tp=2", "--batch=2", "--sequence=16", "--nopeak")
        return self.run_bench(*model, *flags)

    def predict(self, *flags: str) -> tuple[str, dict]:
        """A sweep of predict, of 20 configurations."""
        out = str(self.folder / "plan.json")
        command = ["tools/predict/predict", "--model=llama-tiny", "--sweep=tp:1..4,dp:1..2"]
        command += ["--batch=2", "--sequence=512", "--top=2", f"--json={out}", *flags]
        subprocess.run(command, check=True, capture_output=True)
        return out, json.loads(pathlib.Path(out).read_text())

    def run_bench(self, *flags: str) -> tuple[str, dict]:
        out = str(self.folder / "bench.json")
        command = ["tools/bench/bench", "--steps=3", f"--json={out}", *flags]
        subprocess.run(command, check=True, capture_output=True)
        return out, json.loads(pathlib.Path(out).read_text())
