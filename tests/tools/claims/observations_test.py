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
        ["tools/observations", *arguments], capture_output=True, text=True, env=environment
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

    def test_a_bench_that_fails_is_quoted(self) -> None:
        bench = self.folder / "bench"
        bench.write_text("#!/bin/sh\necho first >&2; echo out of luck >&2; exit 3\n")
        bench.chmod(0o755)
        self.refuse("bench ended with 3: out of luck", f"--bench={bench}", "--rounds=20")


if __name__ == "__main__":
    unittest.main()
