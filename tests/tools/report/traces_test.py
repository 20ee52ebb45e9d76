"""What a timeline takes from a trace."""

import gzip
import json
import pathlib
import shutil
import tempfile
import unittest

from tools.common.program import UserError
from tools.report.merge import merge
from tools.report.traces import Trace, load_traces


def span(name: str, category: str, begin: float, length: float, tid: int = 1, **args) -> dict:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": 0,
        "tid": tid,
        "ts": begin,
        "dur": length,
        "args": args,
    }


def thread(tid: int, name: str) -> dict:
    return {"ph": "M", "name": "thread_name", "pid": 0, "tid": tid, "args": {"name": name}}


def load_trace(path: pathlib.Path) -> Trace:
    return load_traces([path])[0]


class TracesTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name, "profiler_logs_rank_3_row")
        self.folder.mkdir()

    def write(self, trace: object, name: str = "host_1.2.pt.trace.json") -> pathlib.Path:
        path = self.folder / name
        text = json.dumps(trace).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    def events(self) -> list[dict]:
        """Three steps, of 30, 10 and 20 µs: the last has the median length."""
        return [
            thread(1, "compute"),
            thread(2, "communication"),
            span("ProfilerStep#1", "user_annotation", 100, 30),
            span("ProfilerStep#2", "user_annotation", 200, 10),
            span("ProfilerStep#3", "user_annotation", 300, 20),
            span("gemm", "kernel", 101, 5),
            span("other", "kernel", 203, 5),
            span("dw", "kernel", 302, 5, phase="backward"),
            span("ncclDevKernel_AllReduce", "kernel", 304, 6, tid=2),
            span("aten::linear", "cpu_op", 301, 9),
        ]

    def test_takes_the_kernels_of_the_median_step(self) -> None:
        trace = load_trace(self.write({"traceEvents": self.events()}))
        self.assertEqual((trace.rank, trace.run, trace.step), (3, "row mode", "ProfilerStep#3"))
        found = [(s.track, s.name, s.kind, s.begin_us, s.end_us) for s in trace.slices]
        self.assertEqual(
            found,
            [
                ("compute", "dw", "backward", 0, 5),
                ("communication", "ncclDevKernel_AllReduce", "communication", 2, 8),
            ],
        )

    def test_takes_the_ops_where_there_are_no_kernels(self) -> None:
        events = [event for event in self.events() if event.get("cat") != "kernel"]
        path = self.write({"traceEvents": events}, "host_1.2.pt.trace.json.gz")
        self.assertEqual([s.name for s in load_trace(path).slices], ["aten::linear"])

    def test_a_kernel_communicates_if_its_op_does(self) -> None:
        events = self.events()
        for at, kernel, op, phase in [
            (311, "copy to peer", "nccl:all_gather", "forward"),
            (
                312,
                "void tp::nccl::(anonymous namespace)::MapKernel<float, 4>",
                "sgd w",
                "optimizer",
            ),
            (313, "void tp::nccl::(anonymous namespace)::SumKernel<float>", "", "backward"),
        ]:
            if op:
                events.append(span(op, "cpu_op", at - 10, 1, **{"External id": at}))
            events.append(span(kernel, "kernel", at, 1, phase=phase, **{"External id": at}))
        kinds = [s.kind for s in load_trace(self.write({"traceEvents": events})).slices]
        self.assertEqual(kinds[2:], ["communication", "optimizer", "backward"])

    def test_all_ranks_show_the_step_of_the_first(self) -> None:
        longest_first = self.events()
        longest_first[4]["dur"] = 40  # the median would be ProfilerStep#1
        longest_first[7]["args"]["value"] = "dw.partial"
        longest_first[0]["args"]["name"] = "compute stream, a CPU worker"
        ranks = [
            {"traceEvents": longest_first, "distributedInfo": {"rank": 1}},
            {"traceEvents": self.events(), "distributedInfo": {"rank": 0}},
        ]
        paths = [self.write(trace, f"{i}.json") for i, trace in enumerate(ranks)]
        traces = load_traces(paths)
        self.assertEqual(
            [(t.rank, t.step) for t in traces], [(i, "ProfilerStep#3") for i in (0, 1)]
        )
        self.assertEqual(traces[1].slices[0].name, "dw.partial: dw")
        self.assertEqual(traces[1].slices[0].track, "compute")
        ranks[1]["traceEvents"][4]["name"] = "ProfilerStep#9"
        self.write(ranks[1], "1.json")
        with self.assertRaisesRegex(UserError, "ProfilerStep#9 is not in it"):
            load_traces(paths)

    def test_the_trace_itself_says_which_rank_it_is(self) -> None:
        trace = {"traceEvents": self.events(), "distributedInfo": {"rank": 7}}
        self.assertEqual(load_trace(self.write(trace)).rank, 7)

    def test_any_json_may_stand_where_this_tool_asks_for_something_else(self) -> None:
        """As traces of other tools have it: legal, and of no use here."""
        odd = [None, True, 7, -1.5, 10**400, "text", [1], {"a": [None]}]
        names = ["ph", "name", "cat", "pid", "tid", "ts", "dur", "args", "id"]
        inner = ["name", "value", "phase", "External id", "sort_index"]
        events = self.events()
        for value in odd:
            for kind in (
                thread(1, "x"),
                span("gemm", "kernel", 302, 5),
                span("op", "cpu_op", 302, 5),
            ):
                events += [{**kind, name: value} for name in names]
                events += [{**kind, "args": {name: value}} for name in inner]
            events += [value, {}]
        for rank in odd:
            trace = {"traceEvents": events, "distributedInfo": {"rank": rank}}
            path = self.write(trace)
            self.assertGreater(len(load_trace(path).slices), 50)
            json.loads(merge([path]))
        infinite = self.write({"traceEvents": [*events, {"ts": "INFINITY"}]})
        infinite.write_text(infinite.read_text().replace('"INFINITY"', "1e999"))
        self.assertTrue(load_trace(infinite).slices)
        with self.assertRaisesRegex(UserError, "beyond all floats"):
            merge([infinite])
        self.write({"traceEvents": events, "distributedInfo": [1]})
        self.assertEqual(load_trace(path).rank, 3)

    def test_keeps_every_op(self) -> None:
        events = self.events()
        events += [span(f"k{i}", "kernel", 301 + i / 1000, 0.001) for i in range(5000)]
        self.assertEqual(len(load_trace(self.write({"traceEvents": events})).slices), 5002)

    def test_a_rank_that_is_there_twice_is_refused(self) -> None:
        paths = [self.write({"traceEvents": self.events()}, name) for name in ("a.json", "b.json")]
        for read in (load_traces, merge):
            with self.assertRaisesRegex(
                UserError, "b.json: rank 3 .*is in .*a.json, too; name one"
            ):
                read(paths)

    def test_merges_ranks_into_one_trace(self) -> None:
        arrow = {"ph": "s", "id": 5, "pid": 0, "tid": 1, "ts": 3, "name": "ac2g", "cat": "ac2g"}
        order = {"ph": "M", "name": "process_sort_index", "pid": 10, "args": {"sort_index": 1}}
        paths = []
        for rank in (1, 0):
            events = [arrow, order, {**order, "pid": "10"}, 7, thread(2, f"of {rank}")]
            trace = {"times": "measured", "traceEvents": events, "distributedInfo": {"rank": rank}}
            paths.append(self.write(trace, f"{rank}.json"))
        merged = json.loads(merge(paths))
        self.assertEqual((merged["times"], merged["mergedRanks"]), ("measured", [0, 1]))
        events = [event for event in merged["traceEvents"] if isinstance(event, dict)]
        self.assertEqual(
            [e.get("pid") for e in events], [1000, 1001, 1002, 1000, 2000, 2001, 2002, 2000]
        )
        self.assertEqual([e["id"] for e in events if "id" in e], ["0.5", "1.5"])
        order = [e["args"]["sort_index"] for e in events if e["name"] == "process_sort_index"]
        self.assertEqual(order, [1, 1, 1001, 1001])
        self.assertEqual(
            [e["args"]["name"] for e in events if e["name"] == "thread_name"], ["of 0", "of 1"]
        )
        path = self.write(merged)
        with self.assertRaisesRegex(UserError, "merged of several ranks"):
            load_trace(path)
        other = self.folder.parent / "profiler_logs_rank_0_column"
        other.mkdir()
        shutil.copy(paths[0], other / "x.json")
        with self.assertRaisesRegex(UserError, "column mode, and .* is not; merge one run"):
            merge([paths[1], other / "x.json"])

    def test_what_is_no_trace_is_refused(self) -> None:
        for content, said in (
            ([], "not a trace"),
            ({"config": 1}, "no traceEvents"),
            ({"traceEvents": [1, {}]}, "no ProfilerStep#N"),
            ({"traceEvents": self.events()[:3]}, "ProfilerStep#1 holds no op"),
        ):
            with self.assertRaisesRegex(UserError, said):
                load_trace(self.write(content))
        packed = self.write({"traceEvents": self.events()}, "x.json.gz")
        whole = packed.read_bytes()
        broken = [
            whole[:50],
            gzip.compress(b'{"traceEvents": [NaN]}'),
            gzip.compress(b"[" * 99999),
            whole[:40] + bytes(20) + whole[60:],
            b"no gzip",
            whole[:-4] + b"abcd",
        ]
        for content in broken:
            packed.write_bytes(content)
            with self.assertRaisesRegex(UserError, "x.json.gz: not a whole trace"):
                load_trace(packed)
        path = self.write({"traceEvents": self.events()})
        path.write_bytes(path.read_bytes()[:50])
        with self.assertRaisesRegex(UserError, "not a whole trace"):
            load_trace(path)


if __name__ == "__main__":
    unittest.main()
