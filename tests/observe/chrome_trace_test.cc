// Traces of timelines made by hand, against what the format and the readers of it ask for.
#include "tp/observe/chrome_trace.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/observe/profiled_rank.h"

namespace tp {
namespace {

using Json = nlohmann::json;

Json Trace(const RankRecord& rank, const std::string& backend) {
  return Json::parse(ToChromeTrace(MakeTimeline(rank, 4, backend)));
}
Json CpuTrace() { return Trace(MakeProfiledRank(), "sim"); }
Json GpuTrace() { return Trace(MakeProfiledGpuRank(), "nccl"); }

std::vector<Json> Slices(const Json& trace, const std::string& category) {
  std::vector<Json> slices;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "X" && event.at("cat") == category) slices.push_back(event);
  }
  return slices;
}

std::vector<std::string> Names(const std::vector<Json>& events) {
  std::vector<std::string> names;
  for (const Json& event : events) names.push_back(event.at("name"));
  return names;
}

void ExpectTimes(const Json& slice, int64_t begin_us, int64_t end_us) {
  const double begin = static_cast<double>(At(begin_us)) / 1e3;
  EXPECT_EQ(slice.at("ts").get<double>(), begin) << slice;
  EXPECT_EQ(slice.at("dur").get<double>(), static_cast<double>(end_us - begin_us)) << slice;
}

TEST(ChromeTraceTest, SaysWhoseItIsAndThatItWasMeasured) {
  const Json trace = CpuTrace();
  EXPECT_EQ(trace.at("distributedInfo"),
            (Json{{"backend", "sim"}, {"rank", 3}, {"world_size", 4}}));
  EXPECT_EQ(
      trace.at("deviceProperties"),
      (Json{{{"id", 0}, {"name", "Some Processor (CPU, no GPU)"}, {"totalGlobalMem", 1000}}}));
  EXPECT_EQ(trace.at("times"), "measured");
  std::map<std::string, std::vector<std::string>> names;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "M" && event.at("args").contains("name")) {
      names[event.at("name")].push_back(event.at("args").at("name"));
    }
  }
  EXPECT_EQ(names["process_name"],
            (std::vector<std::string>{"rank 3 of 4 on box, process 77 (measured)",
                                      "rank 3: CPU workers (measured)"}));
  EXPECT_EQ(names["thread_name"],
            (std::vector<std::string>{"the rank's thread", "compute stream, a CPU worker",
                                      "communication stream, a CPU worker"}));
}

TEST(ChromeTraceTest, AGpusPropertiesAreAtItsIndex) {
  const Json properties = GpuTrace().at("deviceProperties");
  ASSERT_EQ(properties.size(), 3u);
  EXPECT_EQ(properties[2], (Json{{"id", 2},
                                 {"name", "Some GPU"},
                                 {"totalGlobalMem", 2000},
                                 {"computeMajor", 9},
                                 {"computeMinor", 0},
                                 {"numSms", 132}}));
}

// Without any of these the plugin drops the whole file.
TEST(ChromeTraceTest, EveryEventHasWhatReadersAskFor) {
  for (const Json& trace : {CpuTrace(), GpuTrace()}) {
    for (const Json& event : trace.at("traceEvents")) {
      EXPECT_TRUE(event.at("name").is_string()) << event;
      EXPECT_TRUE(event.at("pid").is_number_integer() && event.at("tid").is_number_integer());
      EXPECT_TRUE(event.at("ts").is_number()) << event;
      if (event.at("ph") != "X") continue;
      EXPECT_TRUE(event.at("cat").is_string()) << event;
      EXPECT_GE(event.at("dur").get<double>(), 0) << event;
    }
  }
}

TEST(ChromeTraceTest, TheRanksThreadShowsTheStep) {
  const Json trace = CpuTrace();
  const std::vector<Json> steps = Slices(trace, "user_annotation");
  ASSERT_EQ(Names(steps), (std::vector<std::string>{"ProfilerStep#12"}));
  ExpectTimes(steps[0], -1, 25);
  EXPECT_EQ(steps[0].at("args"), (Json{{"step us", 25.0}, {"times", "measured"}}));
  const std::vector<Json> calls = Slices(trace, "runtime");
  ASSERT_FALSE(calls.empty());
  EXPECT_EQ(calls[0].at("name"), "EnqueueStep");
  EXPECT_EQ(calls[0].at("args").at("External id"), 0);
  ExpectTimes(calls[0], -1, 1);
  const std::vector<Json> waits = Slices(trace, "wait");
  ASSERT_EQ(Names(waits), (std::vector<std::string>{"barrier", "Synchronize", "wait for y.partial",
                                                    "wait for y"}));
  ExpectTimes(waits[0], -9, -2);
  ExpectTimes(waits[1], 1, 25);
  ExpectTimes(waits[2], -1, 11);
}

TEST(ChromeTraceTest, OpsOfAWorkerLieOnItsStream) {
  const Json trace = CpuTrace();
  const std::vector<Json> ops = Slices(trace, "cpu_op");
  ASSERT_EQ(Names(ops),
            (std::vector<std::string>{"gemm y.partial", "gloo:all_reduce", "gemm dw", "sgd w"}));
  ExpectTimes(ops[0], 0, 10);
  EXPECT_EQ(ops[0].at("pid"), 0);
  EXPECT_EQ(ops[0].at("args"), (Json{{"External id", 2},
                                     {"Input Dims", {{2, 3}, {3, 5}}},
                                     {"Input type", {"float", "double"}},
                                     {"value", "y.partial"},
                                     {"phase", "forward"}}));
  EXPECT_EQ(ops[1].at("args"), (Json{{"External id", 3},
                                     {"Input Dims", {{2, 5}}},
                                     {"Input type", {"c10::BFloat16"}},
                                     {"value", "y"},
                                     {"phase", "forward"},
                                     {"bytes sent", 20},
                                     {"array bytes", 20},
                                     {"algorithm", "ring"},
                                     {"axis", "tp"},
                                     {"group", {1, 3}},
                                     {"sequence number", 12}}));
  EXPECT_NE(ops[1].at("tid"), ops[0].at("tid"));
}

TEST(ChromeTraceTest, AWorkersKernelSaysThatItRanOnACpu) {
  const std::vector<Json> kernels = Slices(CpuTrace(), "kernel");
  ASSERT_EQ(kernels.size(), 4u);
  EXPECT_EQ(kernels[0].at("name"), "gemm (CPU worker)");
  EXPECT_EQ(kernels[0].at("args"),
            (Json{{"External id", 2},
                  {"correlation", 2},
                  {"device", 0},
                  {"stream", 0},
                  {"value", "y.partial"},
                  {"phase", "forward"},
                  {"grid", {1, 1, 1}},
                  {"block", {1, 1, 1}},
                  {"registers per thread", 0},
                  {"shared memory", 0},
                  {"ran on", "a CPU worker: grid and block are 1 for want of a GPU"}}));
  EXPECT_EQ(kernels[1].at("args").at("algorithm"), "ring");
}

TEST(ChromeTraceTest, AStepOfAGpuBeginsOnceItIsEnqueued) {
  const Json trace = GpuTrace();
  const std::vector<Json> steps = Slices(trace, "user_annotation");
  ASSERT_EQ(steps.size(), 1u);
  ExpectTimes(steps[0], -1, 25);
  const std::vector<Json> calls = Slices(trace, "runtime");
  ASSERT_FALSE(calls.empty());
  EXPECT_EQ(calls[0].at("name"), "EnqueueStep");
  ExpectTimes(calls[0], -8, -1);
  const std::vector<Json> waits = Slices(trace, "wait");
  ASSERT_GE(waits.size(), 2u);
  EXPECT_EQ(waits[1].at("name"), "Synchronize");
  ExpectTimes(waits[1], -1, 25);
}

TEST(ChromeTraceTest, OpsOfAGpuLieWhereTheyAreLaunchedAndCollectivesWhereTheyRun) {
  const Json trace = GpuTrace();
  const std::vector<Json> ops = Slices(trace, "cpu_op");
  ASSERT_EQ(Names(ops),
            (std::vector<std::string>{"gemm y.partial", "nccl:all_reduce", "gemm dw", "sgd w"}));
  ExpectTimes(ops[0], -7, -6);
  ExpectTimes(ops[1], 11, 19);
  EXPECT_EQ(ops[1].at("pid"), 2);
  const std::vector<Json> kernels = Slices(trace, "kernel");
  ASSERT_EQ(Names(kernels),
            (std::vector<std::string>{"a_gemm", "a_collective", "a_gemm", "an_update"}));
  for (const Json& kernel : kernels) {
    EXPECT_EQ(kernel.at("pid"), 2);  // the plugin takes the process for the device
    EXPECT_EQ(kernel.at("args").at("device"), 2);
  }
  EXPECT_EQ(kernels[3].at("args"), (Json{{"External id", 5},
                                         {"correlation", 5},
                                         {"device", 2},
                                         {"stream", 0},
                                         {"value", "w"},
                                         {"phase", "optimizer"},
                                         {"grid", {4, 5, 1}},
                                         {"block", {128, 1, 1}},
                                         {"registers per thread", 32},
                                         {"shared memory", 48},
                                         {"CUPTI correlation", 900},
                                         {"blocks per SM", 0.5},
                                         {"est. achieved occupancy %", 25.0}}));
  const std::vector<Json> fills = Slices(trace, "gpu_memset");
  ASSERT_EQ(fills.size(), 1u);
  EXPECT_FALSE(fills[0].at("args").contains("grid"));
}

// Op, call of the runtime and kernels are joined by numbers that nothing else has.
TEST(ChromeTraceTest, NumbersJoinOpsCallsAndKernels) {
  for (RankRecord rank : {MakeProfiledRank(), MakeProfiledGpuRank()}) {
    rank.profile.steps.push_back(rank.profile.steps[0]);
    const Json trace = Trace(rank, "any");
    std::set<int64_t> ops;
    for (const Json& op : Slices(trace, "cpu_op")) {
      EXPECT_TRUE(ops.insert(op.at("args").at("External id").get<int64_t>()).second) << op;
    }
    EXPECT_EQ(ops.size(), 8u);
    std::map<int64_t, int64_t> op_of_call;
    for (const Json& call : Slices(trace, "runtime")) {
      const Json& args = call.at("args");
      EXPECT_TRUE(op_of_call.emplace(args.at("correlation"), args.at("External id")).second);
    }
    EXPECT_EQ(op_of_call.size(), 8u + 2u);  // and the steps
    for (const Json& kernel : Slices(trace, "kernel")) {
      const Json& args = kernel.at("args");
      EXPECT_EQ(op_of_call.at(args.at("correlation")), args.at("External id"));
      EXPECT_EQ(ops.count(args.at("External id")), 1u);
    }
  }
}

TEST(ChromeTraceTest, ArrowsLeadFromEnqueueingToTheFirstKernel) {
  const Json trace = GpuTrace();
  std::map<int64_t, std::map<std::string, Json>> arrows;
  for (const Json& event : trace.at("traceEvents")) {
    if (event.at("ph") == "s" || event.at("ph") == "f") arrows[event.at("id")][event["ph"]] = event;
  }
  ASSERT_EQ(arrows.size(), 4u);
  for (const auto& [id, ends] : arrows) {
    ASSERT_EQ(ends.size(), 2u) << id;
    EXPECT_EQ(ends.at("f").at("bp"), "e");
    EXPECT_EQ(ends.at("s").at("cat"), ends.at("f").at("cat"));
  }
  EXPECT_EQ(arrows.at(5).at("s").at("ts").get<double>(), static_cast<double>(At(-4)) / 1e3);
  EXPECT_EQ(arrows.at(5).at("f").at("ts").get<double>(), static_cast<double>(At(20)) / 1e3);
  EXPECT_EQ(arrows.at(5).at("f").at("pid"), 2);
}

// The slices of a track lie in each other or apart, in the very numbers that a reader adds up.
TEST(ChromeTraceTest, SlicesOfATrackNest) {
  for (RankRecord rank : {MakeProfiledRank(), MakeProfiledGpuRank()}) {
    StepRecord& record = rank.profile.steps[0].record;
    const auto shift = [](auto& times) {  // to no round numbers
      times.begin_ns += 123;
      times.end_ns += 457;
    };
    for (OpRecord& op : record.ops) shift(op);
    for (OpProfile& op : record.profile) {
      op.kernels.resize(1);
      shift(op.kernels[0]);
    }
    const Json trace = Trace(rank, "any");
    std::map<std::pair<int64_t, int64_t>, std::vector<std::pair<double, double>>> tracks;
    for (const Json& event : trace.at("traceEvents")) {
      if (event.at("ph") != "X") continue;
      const double begin = event.at("ts");
      const double end = begin + event.at("dur").get<double>();
      auto& slices = tracks[{event.at("pid"), event.at("tid")}];
      for (const auto& [other_begin, other_end] : slices) {
        const bool apart = end <= other_begin || begin >= other_end;
        const bool inside = begin >= other_begin && end <= other_end;
        const bool around = begin <= other_begin && end >= other_end;
        EXPECT_TRUE(apart || inside || around) << event;
      }
      slices.emplace_back(begin, end);
    }
    EXPECT_EQ(tracks.size(), 3u);
  }
}

TEST(ChromeTraceTest, AnOpWithoutKernelsHasNoArrow) {
  RankRecord rank = MakeProfiledGpuRank();
  rank.profile.steps[0].record.profile[1].kernels.clear();
  const Json trace = Trace(rank, "nccl");
  EXPECT_EQ(Slices(trace, "cpu_op").size(), 4u);
  for (const Json& event : trace.at("traceEvents")) {
    EXPECT_NE(event.value("id", 0), 3);
  }
}

TEST(ChromeTraceTest, ReplacesBytesThatAreNoText) {
  RankRecord rank = MakeProfiledRank();
  rank.profile.host = "b\xffx";
  EXPECT_TRUE(Json::accept(ToChromeTrace(MakeTimeline(rank, 4, "sim"))));
}

}  // namespace
}  // namespace tp
