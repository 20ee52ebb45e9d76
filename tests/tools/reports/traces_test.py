"""What a timeline takes from a trace."""

import gzip
import json
import pathlib
import tempfile
import unittest

from tools.common.program import UserError
from tools.reports.traces import Trace, load_traces


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
            (312, "void tp::nccl::(anonymous namespace)::MapKernel<float, 4>", "sgd w", "optimizer"),
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

    def test_what_is_no_trace_is_refused(self) -> None:
        for content, said in (
            ([], "not a trace"),
            ({"config": 1}, "no traceEvents"),
            ({"traceEvents": [1, {}]}, "no ProfilerStep#N"),
            ({"traceEvents": self.events()[:3]}, "ProfilerStep#1 holds no op"),
        ):
            with self.assertRaisesRegex(UserError, said):
                load_trace(self.write(content))
        path = self.write({"traceEvents": self.events()})
        path.write_bytes(path.read_bytes()[:50])
        with self.assertRaisesRegex(UserError, "not a whole trace"):
            load_trace(path)


if __name__ == "__main__":
    unittest.main()
