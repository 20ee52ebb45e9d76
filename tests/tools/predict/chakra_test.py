"""Chakra traces as predict writes them, read by the wire format of protocol buffers alone."""

import collections
import json
import pathlib
import subprocess
import tempfile
import unittest
from collections.abc import Iterator

_PREDICT = "tools/predict/predict"
_COMP_NODE, _COMM_COLL_NODE = 4, 7
# Of a node and of an attribute, as the schema numbers them.
_ID, _NAME, _TYPE, _DATA_DEPS, _START, _DURATION, _ATTRIBUTE = 1, 2, 3, 5, 6, 7, 10
_VALUES = {9: int, 13: int, 27: bool, 29: bytes.decode}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _varint(data, at)
        assert key & 7 in (0, 2), f"wire type {key & 7}"
        if key & 7 == 0:
            yield key >> 3, value
        else:
            assert at + value <= len(data), "a field that is longer than its message"
            yield key >> 3, data[at : at + value]
            at += value


def _messages(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size, at = _varint(data, at)
        assert at + size <= len(data), "a message that is longer than the file"
        yield data[at : at + size]
        at += size


def _numbers(packed: bytes) -> list[int]:
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers.append(number)
    return numbers


def _node(message: bytes) -> dict:
    node: dict = {"attributes": {}, _DATA_DEPS: []}
    for field, value in _fields(message):
        if field == _ATTRIBUTE:
            (name_field, name), (kind, of) = _fields(value)
            assert name_field == 1
            node["attributes"][name.decode()] = _VALUES[kind](of)
        elif field == _DATA_DEPS:
            node[_DATA_DEPS] = _numbers(value)
        else:
            node[field] = value
    return node


class ChakraTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def predict(self, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run([_PREDICT, *flags], capture_output=True, text=True)

    def nodes(self, rank: int) -> list[dict]:
        metadata, *nodes = _messages((self.folder / f"t.{rank}.et").read_bytes())
        self.assertEqual(list(_fields(metadata)), [(1, b"0.0.4")])
        return [_node(message) for message in nodes]

    def test_a_step_reads_back_whole(self) -> None:
        # No size divides.
        flags = ["--mode=row", "--tp=3", "--dp=2", "--tokens=101", "--in_features=67"]
        flags += ["--out_features=71", f"--chakra={self.folder}/t", f"--trace_dir={self.folder}"]
        result = self.predict(*flags)
        self.assertEqual(result.returncode, 0, result.stderr)
        groups = json.loads((self.folder / "t.groups.json").read_text())
        self.assertEqual(
            groups, {"0": [0, 1, 2], "1": [3, 4, 5], "2": [0, 3], "3": [1, 4], "4": [2, 5]}
        )
        collectives: dict[str, dict[int, list]] = collections.defaultdict(dict)
        for rank in range(6):
            nodes = self.nodes(rank)
            self.assertEqual([node.get(_ID, 0) for node in nodes], list(range(len(nodes))))
            last: dict[str, int] = {}
            for i, node in enumerate(nodes):
                attributes = node["attributes"]
                stream = attributes["stream"]
                # In the order of its stream, behind all that it waits for, and none before it ends.
                self.assertLessEqual({last[stream]} if stream in last else set(), {*node[_DATA_DEPS]})
                last[stream] = i
                for dep in node[_DATA_DEPS]:
                    self.assertLess(dep, i)
                    end = nodes[dep].get(_START, 0) + nodes[dep].get(_DURATION, 0)
                    self.assertLessEqual(end, node.get(_START, 0) + 1)
                duration = attributes["predicted_duration_ps"]
                self.assertEqual(node.get(_DURATION, 0), duration // 10**6)
                self.assertIs(attributes["is_cpu_op"], False)
                if node[_TYPE] == _COMM_COLL_NODE:
                    group = attributes["pg_name"]
                    self.assertIn(rank, groups[group])
                    said = (node[_NAME], attributes["comm_type"], attributes["comm_size"])
                    collectives[group].setdefault(rank, []).append(said)
                else:
                    self.assertEqual(node[_TYPE], _COMP_NODE)
                    self.assertGreater(attributes["tensor_size"], 0)
            # A rank's part of the product of forward; sizes are cut with the longer parts first.
            rows, columns = (51, 50)[rank // 3], (24, 24, 23)[rank % 3]
            product = nodes[0]["attributes"]
            self.assertEqual((nodes[0][_NAME], product["num_ops"]), (b"y.shard", 2 * rows * 67 * columns))
            self.assertEqual(product["tensor_size"], 4 * (67 * (rows + columns) + columns + rows * columns))
        # All members of a group come to the same collectives in the same order.
        for group, by_rank in collectives.items():
            self.assertEqual(sorted(by_rank), groups[group])
            self.assertEqual(len({tuple(said) for said in by_rank.values()}), 1)
        # The times are those of the trace, which has whole nanoseconds of beginnings and ends.
        events = json.loads((self.folder / "rank0.json").read_text())["traceEvents"]
        traced = [1e3 * event["dur"] for event in events if event.get("cat") == "cpu_op"]
        durations = [node["attributes"]["predicted_duration_ps"] / 1e3 for node in self.nodes(0)]
        self.assertEqual(len(traced), len(durations))
        for ns, of_trace in zip(durations, traced):
            self.assertLess(abs(round(of_trace) - ns), 1)
        # dw [71, 67], a third of its rows, and y [101, 71], half of its rows: all_reduce is 0 in the
        # schema, all_gather 2.
        self.assertIn((b"dw", 0, 24 * 67 * 4), collectives["2"][0])
        self.assertIn((b"y", 2, 51 * 71 * 4), collectives["0"][0])

    def test_who_stands_for_others_has_their_groups(self) -> None:
        result = self.predict("--mode=row", "--tp=2", "--dp=2", f"--chakra={self.folder}/t")
        self.assertIn("1 of 4 ranks replayed", result.stdout)
        groups = json.loads((self.folder / "t.groups.json").read_text())
        for rank in range(4):
            for node in self.nodes(rank):
                if node[_TYPE] == _COMM_COLL_NODE:
                    self.assertIn(rank, groups[node["attributes"]["pg_name"]])

    def test_what_is_no_one_step_is_refused(self) -> None:
        for flags in (["--mode=both"], ["--model=llama3-8b", "--sweep=tp:1..2"]):
            result = self.predict(*flags, f"--chakra={self.folder}/t")
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, r"\A[^\n]*--chakra holds one step[^\n]*\n\Z")
        result = self.predict("--mode=row", f"--chakra={self.folder}/nowhere/t")
        self.assertEqual(result.returncode, 1)
        self.assertIn("nowhere", result.stderr)


if __name__ == "__main__":
    unittest.main()
