"""The numbers of a report: those of what bench writes now, and of the file of a sweep."""

import json
import pathlib
import shutil
import statistics
import unittest

from tests.tools.report.tool import SWEEP, ReportCase, run_report


class NumbersTest(ReportCase):
    def test_csv_has_the_numbers_of_bench_to_the_last_digit(self) -> None:
        path, wrote = self.bench("--mode=both", "--tp=3")
        rows = self.numbers(path)
        for result in wrote["results"]:
            got = {
                (row["figure"], row["quantity"]): float(row["value"])
                for row in rows
                if row["mode"] == result["mode"] and not row["op"]
            }
            step = result["step_ms"]
            self.assertEqual(got["step-time", "median"], step["median"])
            self.assertEqual(got["step-time", "min"], step["min"])
            self.assertNotIn(("step-time", "p99"), got)  # of three steps that is the maximum
            self.assertEqual(got["step-time", "max"], max(result["step_ms_all"]))
            self.assertEqual(got["step-time", "products alone"], result["products_ms"])
            backward = result["phases"]["backward"]
            self.assertEqual(got["phases", "backward: compute"], backward["compute_ms"])
            communication = sum(p["communication_ms"] for p in result["phases"].values())
            self.assertEqual(got["exposed", "communication"], communication)
        by_rank = [
            float(row["value"])
            for row in rows
            if row["figure"] == "skew" and row["quantity"] == "duration" and row["mode"] == "row"
        ]
        ops = wrote["results"][0]["ranks"]["ops"]
        self.assertEqual(by_rank, [us for op in ops for us in op["time_us"]])
        busbw = {float(r["value"]) for r in rows if r["quantity"] == "busbw"}
        collectives = [c for r in wrote["results"] for c in r["bytes"]["collectives"]]
        self.assertEqual(busbw, {c["busbw_gbps"] for c in collectives})

    def test_csv_has_one_fact_a_column_and_says_where_the_numbers_are_from(self) -> None:
        path, wrote = self.bench("--mode=row", "--tp=3")
        # As bench says it now or will: at the top, in host, or in run.
        wrote["host"] |= {"name": 'a;b,"c"', "processor": "P 1"}
        run = {"date": "2025-01-31T23:59:59Z", "load": 0.25, "warnings": ["was busy"]}
        wrote |= {"commit": "abc123", "run": run}
        pathlib.Path(path).write_text(json.dumps(wrote))
        text = run_report(path, "--format=markdown").stdout
        self.assertIn("| warning | was busy |", text)
        self.assertIn("| load before them | 0.25 |", text)
        rows = self.numbers(path)
        self.assertEqual(
            {row["figure"] for row in rows},
            {"step-time", "phases", "exposed", "busbw", "roofline", "skew", "timeline"},
        )
        config = wrote["config"]
        facts = (
            "backend",
            "tokens",
            "in_features",
            "out_features",
            "dtype",
            "tp",
            "dp",
            "algorithm",
            "reduction",
        )
        for row in rows:
            self.assertEqual([row[name] for name in facts], [str(config[name]) for name in facts])
            self.assertEqual(row["mode"], "row")
            self.assertEqual(
                (row["host"], row["processor"], row["commit"], row["date"], row["load"]),
                ('a;b,"c"', "P 1", "abc123", "2025-01-31T23:59:59Z", "0.25"),
            )
            float(row["value"])
            self.assertNotIn(None, row)
        skew = [row for row in rows if row["figure"] == "skew"]
        self.assertEqual({row["rank"] for row in skew}, {"0", "1", "2"})
        self.assertIn(("dx", "collective"), {(row["op"], row["action"]) for row in skew})
        # Of another machine or commit it is another case, and no repeat.
        other = self.folder / "other.json"
        for change in ({"commit": "def"}, {"host": {"name": "other"}}):
            other.write_text(json.dumps(wrote | change))
            steps = [row for row in self.numbers(path, str(other)) if row["figure"] == "step-time"]
            self.assertEqual(
                [row["value"] for row in steps if row["quantity"] == "runs"], ["1", "1"]
            )
        other.write_text(json.dumps(wrote))
        steps = [row for row in self.numbers(path, str(other)) if row["figure"] == "step-time"]
        self.assertEqual([row["value"] for row in steps if row["quantity"] == "runs"], ["2"])

    def test_a_table_has_its_number_right_after_tp(self) -> None:
        one, two = self.folder / "one.json", self.folder / "two.json"
        for path, tp in ((one, 1), (two, 2)):
            shutil.move(self.bench("--mode=row", f"--tp={tp}", "--dtype=bf16")[0], path)
        result = run_report(str(one), str(two), "--format=markdown")
        heads = [line for line in result.stdout.splitlines() if line.startswith("| mode |")]
        self.assertGreaterEqual(len(heads), 5)
        for head, main in zip(
            heads, ("median, ms", "speed-up", "step, ms", "exposed, ms", "step, ms")
        ):
            self.assertTrue(head.startswith(f"| mode | tokens × in → out | tp | {main} |"), head)

    def test_speed_up_is_of_the_medians(self) -> None:
        paths, medians = [], []
        for tp in (1, 2, 4):
            path, wrote = self.bench("--mode=row", f"--tp={tp}")
            paths.append(shutil.move(path, self.folder / f"{tp}.json"))
            medians.append(wrote["results"][0]["step_ms"]["median"])
        rows = [row for row in self.numbers(*map(str, paths)) if row["figure"] == "speed-up"]
        got = [float(row["value"]) for row in rows if row["quantity"] == "speed-up"]
        self.assertEqual(got, [medians[0] / median for median in medians])
        ideal = [float(row["value"]) for row in rows if row["quantity"] == "of the ideal"]
        self.assertEqual(ideal, [100 * got[i] / tp for i, tp in enumerate((1, 2, 4))])
        self.assertEqual({row["over tp"] for row in rows}, {"1"})
        self.assertIn("speed-up", self.page(*map(str, paths)).charts)
        self.assertNotIn("speed-up", self.page(str(paths[0])).charts)

    def test_the_headline_says_which_mode_wins(self) -> None:
        path, wrote = self.bench("--mode=both", "--tp=2")
        wrote["host"] |= {"name": "here", "processor": "P 1"}
        row, column = wrote["results"]
        column["step_ms"]["median"], row["step_ms"]["median"] = 2.0, 3.0

        def said(*inputs: str, **more: object) -> str:
            if not inputs:
                pathlib.Path(path).write_text(json.dumps(wrote | more))
            return run_report(*(inputs or [path]), "--format=markdown").stdout.splitlines()[2]

        cores = wrote["host"]["cores"]
        where = f"at 9×31→17, fp32, tp 2, dp 1, on here, P 1, {cores} cores"
        both = f"3 ms a step in row mode and 2 ms in column mode {where}"
        wrote.pop("row_over_column", None)
        self.assertEqual(said(), f"{both}; which mode wins, 6 repeats or more would tell.")
        # bench's own ratio, of steps in turns.
        ratio = {"median": 1.5, "low": 1.4, "high": 1.6}
        wins = f"Column mode wins by 33 % of a step (29 % to 38 %): 2 ms against 3 ms in row mode {where}."
        self.assertEqual(said(row_over_column=ratio), wins)
        same = f"The two modes are not distinguishable: {both}."
        self.assertEqual(said(row_over_column=ratio | {"low": 0.9}), same)
        for odd in (None, "x", -1, [1]):
            self.assertIn("6 repeats", said(row_over_column=ratio | {"low": odd}))
        # Repeats, by the ratio of each.
        repeats = []
        for i in range(6):
            row["step_ms"]["median"] = 2.9 + 0.05 * i
            repeats.append(str(self.folder / f"{i}.json"))
            pathlib.Path(repeats[-1]).write_text(json.dumps(wrote))
        self.assertIn("6 repeats or more", said(*repeats[1:]))
        self.assertIn(
            "Column mode wins by 34 % of a step (31 % to 37 %): 2 ms against 3.025 ms",
            said(*repeats),
        )
        row["step_ms"]["median"] = 1.9
        pathlib.Path(repeats[-1]).write_text(json.dumps(wrote))
        self.assertIn("not distinguishable", said(*repeats))
        # At tp 1 nothing is split, and nothing to be won.
        unsplit = self.bench("--mode=both", "--tp=1")[0]
        self.assertNotIn("wins", said(unsplit))
        row["step_ms"]["median"] = 3.0
        row["equivalence"]["ok"] = False
        row["bytes"]["ok"] = False
        self.assertEqual(
            said(row_over_column=ratio),
            f"{wins} 1 of 2 verified runs are not found to agree with the unsharded "
            "step. 1 of 2 runs moved other bytes than they must.",
        )
        self.assertIn(
            "Column mode wins", (self.page(path), self.folder / "report.html")[1].read_text()
        )

    def test_every_slice_of_a_long_trace_is_in_the_table(self) -> None:
        events = [{"ph": "X", "name": "ProfilerStep#1", "pid": 0, "tid": 1, "ts": 0, "dur": 9999}]
        events += [
            {
                "ph": "X",
                "name": f"k{i}",
                "cat": "kernel",
                "pid": 0,
                "tid": 1,
                "ts": i,
                "dur": 1 + i % 2,
            }
            for i in range(3000)
        ]
        trace = self.folder / "trace.json"
        trace.write_text(json.dumps({"traceEvents": events}))
        rows = self.numbers(SWEEP, f"--trace={trace}")
        self.assertEqual(len([r for r in rows if r["figure"] == "timeline"]), 2 * 3000)
        charts = json.loads(self.page(SWEEP, f"--trace={trace}").scripts["charts"])
        bars = [bar for series in charts["timeline"]["series"] for bar in series["bars"]]
        self.assertEqual(len(bars), 2000)
        self.assertEqual(sum(end - begin == 2 for _, begin, end, _ in bars), 1500)
        text = (self.folder / "report.html").read_text()
        self.assertIn("The chart shows the 2,000 longest of 3,000 ops, the table all.", text)

    def test_merges_the_traces_of_bench(self) -> None:
        self.bench("--mode=row", "--tp=3", "--profile", f"--trace_dir={self.folder}")
        traces = [str(path) for path in self.folder.glob("profiler_logs_rank_*_row/*.json")]
        merged = self.folder / "merged.json"
        result = run_report(SWEEP, "--trace", *traces, "--format=csv", f"--merged_trace={merged}")
        self.assertEqual(result.returncode, 0, result.stderr)
        wrote = json.loads(merged.read_text())
        whole = [json.loads(pathlib.Path(path).read_text()) for path in traces]
        self.assertEqual(len(wrote["traceEvents"]), sum(len(t["traceEvents"]) for t in whole))
        tracks = {}
        for event in wrote["traceEvents"]:
            if event["name"] == "thread_name":
                self.assertNotIn((event["pid"], event["tid"]), tracks)
                tracks[event["pid"], event["tid"]] = event["args"]["name"]
        self.assertEqual(len(tracks), 9)

    def test_repeats_become_their_median(self) -> None:
        records = [json.loads(line) for line in pathlib.Path(SWEEP).read_text().splitlines()]
        medians = [
            record["bench"]["results"][0]["step_ms"]["median"]
            for record in records
            if record["tool"] == "bench"
            and (record["point"]["mode"], record["point"]["tokens"]) == ("row", 64)
        ]
        self.assertEqual(len(medians), 2)
        row = next(
            row
            for row in self.numbers(SWEEP)
            if row["figure"] == "step-time"
            and row["quantity"] == "median"
            and (row["mode"], row["tokens"]) == ("row", "64")
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
        self.assertIn("data sheet", floor["source of peak and link"])


if __name__ == "__main__":
    unittest.main()
