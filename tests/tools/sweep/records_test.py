"""The file of a sweep: whole lines only, whatever happens to it."""

import inspect
import json
import os
import resource
import tempfile
import unittest

from tools.common.program import UserError
from tools.sweep import records
from tools.sweep.records import RecordFile, read


def record(number: int, text: str = "") -> dict:
    return {"schema": 1, "key": f"bench --tokens={number}", "repeat": 0, "text": text}


class RecordFileTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "sweep.jsonl")

    def write(self, numbers: range) -> None:
        with RecordFile(self.path) as file:
            for number in numbers:
                file.append(record(number, "Zürich\n\r\u2028 \ud800"))

    def contents(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def refuses(self, words: str) -> None:
        before = self.contents()
        with self.assertRaises(UserError) as caught:
            RecordFile(self.path)
        self.assertIn(words, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(self.contents(), before)

    def test_appends_and_goes_on(self) -> None:
        self.write(range(3))
        self.write(range(3, 5))
        keys = [entry["key"] for entry in read(self.path)]
        self.assertEqual(keys, [record(number)["key"] for number in range(5)])
        self.assertEqual(self.contents().count(b"\n"), 5)

    def test_cuts_an_unfinished_line_wherever_it_ends(self) -> None:
        self.write(range(3))
        whole = self.contents()
        start = whole.rindex(b"\n", 0, -1) + 1
        for end in range(start + 1, len(whole)):
            with open(self.path, "wb") as file:
                file.write(whole[:end])
            self.assertEqual(len(read(self.path)), 2)
            with RecordFile(self.path) as file:
                self.assertEqual(len(file.records), 2)
            self.assertEqual(self.contents(), whole[:start])

    def test_leaves_other_files_alone(self) -> None:
        for contents, words in (
                (b"my notes", "not of a sweep"),
                (b'{"some": "JSON"}\n', ":1: not a line of a sweep"),
                (b"[1]\n", ":1: not a line of a sweep"),
                (b"\n", ":1: not a line of a sweep"),
                (b'{"schema":1,"key":["x"],"repeat":0}\n', ":1: not a line of a sweep"),
                (b'{"schema":1,"key":"x","repeat":true}\n', ":1: not a line of a sweep"),
                (b'{"schema":1,"key":"x","repeat":0,"error":[]}\n', ":1: not a line of a sweep"),
                (b"[" * 100000 + b"\n", ":1: not a line of a sweep"),
                (b"\xff\xfe\n", ":1: not a line of a sweep"),
                (json.dumps(record(1)).encode() + b'\n{"schema":1,"key"\n', ":2: not a line"),
                (b'{"schema":2,"key":"x","repeat":0}\n', ":1: schema 2")):
            with open(self.path, "wb") as file:
                file.write(contents)
            self.refuses(words)

    def test_is_one_sweeps_at_a_time(self) -> None:
        with RecordFile(self.path):
            self.refuses("another sweep is writing it")
        RecordFile(self.path).close()

    def test_a_line_that_does_not_fit_leaves_no_trace(self) -> None:
        self.write(range(2))
        before = self.contents()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        with RecordFile(self.path) as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))
            try:
                with self.assertRaises(UserError) as caught:
                    file.append(record(2))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            self.assertIn("no room", str(caught.exception))
            self.assertEqual(self.contents(), before)
            file.append(record(2))
        self.assertEqual(len(read(self.path)), 3)

    def test_says_what_it_cannot_write(self) -> None:
        for path in ("/nowhere/sweep.jsonl", "/dev/null", os.path.dirname(self.path)):
            with self.assertRaises(UserError) as caught:
                RecordFile(path)
            self.assertIn(f"cannot write {path}: ", str(caught.exception))

    def test_the_page_about_sweeps_has_the_schema(self) -> None:
        with open("docs/sweeping.md", encoding="utf-8") as file:
            self.assertIn(f"```text\n{inspect.getdoc(records)}\n```\n", file.read())


if __name__ == "__main__":
    unittest.main()
