"""The tool as a user runs it, with the real bench; how its numbers come out is not the test's."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

_QUICK = ("--rounds=1", "--steps=1", "--shapes=4x8x8:fp32,8x16x16:bf16")


def observe(*arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "BUILD_WORKING_DIRECTORY"}
    return subprocess.run(
        ["tools/observations/observations", *arguments], capture_output=True, text=True, env=environment
    )


class ObservationsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def refuse(self, said: str, *arguments: str) -> None:
        result = observe(*arguments)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertRegex(result.stderr, f"^observations: .*{said}.*\n$")
        self.assertEqual(result.stdout, "")

    def test_measures_decides_and_remembers(self) -> None:
        first = self.folder / "first.json"
        result = observe(*_QUICK, f"--json={first}")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("1 rounds are too few", result.stderr)
        measured = json.loads(first.read_text())
        self.assertEqual(len(measured["statements"]), 12)
        self.assertEqual({record["round"] for record in measured["records"]}, {0})

        # A ring's bytes are counted, so even one run tells.
        by_id = {statement["id"]: statement for statement in measured["statements"]}
        self.assertEqual(by_id["ring"]["outcome"], "holds when: the array does not divide")

        page = self.folder / "page.md"
        joined = observe(
            f"--from={first}", f"--from={first}", "--format=markdown", f"--output={page}"
        )
        self.assertEqual(joined.returncode, 0, joined.stderr)
        self.assertIn("2 rounds", page.read_text())  # of one machine, added up
        self.assertIn("# The observations, tested", page.read_text())

    def test_what_is_wrong_gets_one_line(self) -> None:
        no_json = self.folder / "no.json"
        no_json.write_text("{")
        other = self.folder / "other.json"
        other.write_text("{}")
        self.refuse("no such file", "--bench=nowhere")
        self.refuse("--shapes=4x8: it must be like", "--shapes=4x8")
        self.refuse("not whole JSON", f"--from={no_json}")
        self.refuse("not what observations wrote", f"--from={other}")
        self.refuse("No such file", f"--from={self.folder}/nowhere")
        deep = self.folder / "deep.json"
        deep.write_text("[" * 100000)
        self.refuse("not whole JSON", f"--from={deep}")
        for change in ({"records": [1]}, {"machine": []}, {"shapes": 7}, {"records": []}):
            whole = {
                "tool": "observations",
                "schema": 1,
                "backend": "sim",
                "cores": 2,
                "shapes": "4x8x8:fp32",
                "common": [],
                "machine": {},
                "when": "",
                "records": [],
            }
            other.write_text(json.dumps(whole | change))
            self.refuse("of another version", f"--from={other}")
        self.refuse("it is there more than once", "--seed=1", "--seed=2")

    def test_an_output_that_cannot_be_written_is_said_before_anything_runs(self) -> None:
        for flag in ("--json", "--output"):
            self.refuse("cannot write .*nowhere", *_QUICK, f"{flag}={self.folder}/nowhere/x")
        self.refuse("--json writes what is measured", f"--json={self.folder}/x", "--from=x")

    def test_an_output_that_is_an_input_or_another_is_refused(self) -> None:
        file = self.folder / "file"
        file.write_text("kept")
        for flags, said in (
            ((f"--from={file}", f"--output={file}"), "--output would overwrite .*--from names"),
            ((f"--bench={file}", f"--json={file}"), "--json would overwrite .*--bench names"),
            ((*_QUICK, f"--json={file}", f"--output={file}"), "--json and --output both name"),
        ):
            self.refuse(said, *flags)
        self.assertEqual(file.read_text(), "kept")

    def test_a_failure_or_ctrl_c_costs_no_whole_round(self) -> None:
        runs = self.folder / "runs"
        for end, status, said in (
            ("echo out of luck >&2; exit 3", 1, "bench ended with 3: out of luck"),
            ("kill -INT $PPID; sleep 100", 130, "interrupted; it has the whole rounds before that"),
        ):
            # The 30th run of all is in the second round.
            runs.unlink(missing_ok=True)
            bench = self.folder / "bench"
            bench.write_text(
                f"#!/bin/bash\necho >> {runs}\n[[ $(wc -l < {runs}) -lt 30 ]] || {{ {end}; }}\n"
                f'exec {os.path.abspath("tools/bench/bench")} "$@"\n'
            )
            bench.chmod(0o755)
            out = self.folder / "out.json"
            result = observe(*_QUICK[1:], "--rounds=3", f"--bench={bench}", f"--json={out}")
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertIn(said, result.stderr.splitlines()[-1])
            measured = json.loads(out.read_text())
            self.assertEqual({record["round"] for record in measured["records"]}, {0})
            self.assertTrue(measured["incomplete"].startswith(said.partition(";")[0]))
            self.assertIn("1 rounds", result.stdout)

    def test_json_has_types(self) -> None:
        out = self.folder / "out.json"
        self.assertEqual(observe(*_QUICK, f"--json={out}").returncode, 0)
        measured = json.loads(out.read_text())
        self.assertRegex(measured["date"], r"\A\d{4}-\d\d-\d\d\Z")
        self.assertIsInstance(measured["load"], float)
        rules = [c["rule"] for s in measured["statements"] for c in s["conditions"]]
        self.assertIn({"is": "above", "threshold": 1}, rules)
        self.assertLessEqual({"date", "load"}, measured["records"][0].keys())

    def test_a_bench_that_fails_is_quoted(self) -> None:
        bench = self.folder / "bench"
        bench.write_text("#!/bin/sh\necho first >&2; echo out of luck >&2; exit 3\n")
        bench.chmod(0o755)
        self.refuse("bench ended with 3: out of luck", f"--bench={bench}", "--rounds=20")


if __name__ == "__main__":
    unittest.main()
