// Communication hidden by the order of ops: the same step to the bit, sound, and shorter by the
// replay of its schedules, which shares no code with what chose the order.
#include "tp/passes/hide_communication.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/backend.h"
#include "backends/cpu/functions.h"
#include "backends/predict/world.h"
#include "sim/topology/machine.h"
#include "tests/model/small_transformer.h"
#include "tests/schedule/random_program.h"
#include "tests/schedule/soundness.h"
#include "tp/model/presets.h"
#include "tp/ops/parse.h"
#include "tp/passes/micro_batches.h"
#include "tp/runtime/session.h"
#include "tp/schedule/byte_contract.h"
#include "tp/schedule/lower.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp {
namespace {

using testing::HasSubstr;

struct Case {
  int tp = 1;
  int dp = 1;
  bool sequence_parallel = false;
  bool recompute = false;
  int strands = 1;
  SumOrder order = SumOrder::kFast;
};
constexpr Case kCases[] = {{2, 1},
                           {4, 1, true, false, 2},
                           {2, 2, true, true, 2},
                           {3, 1, false, true},
                           {8, 1, false, false, 2},
                           {1, 3},
                           {4, 1, true, false, 2, SumOrder::kInvariant}};

Mesh MeshOf(const Case& c) { return Mesh::Create(c.tp, c.dp).value(); }

TransformerStepOptions OptionsOf(const Case& c, bool overlap) {
  TransformerStepOptions options = SmallStep();
  options.batch = 4;
  options.micro_batches = 2;
  options.adamw.max_norm = 0.5;
  options.sequence_parallel = c.sequence_parallel;
  options.recompute = c.recompute;
  options.sum_order = c.order;
  options.strands = c.strands;
  options.overlap = overlap;
  // A machine so slow that the work of so small a step counts beside launches.
  options.rates.flops_per_second = 1e9;
  options.rates.memory_bytes_per_second = 1e9;
  options.rates.launch_seconds = 1e-8;
  options.rates.within = options.rates.between = {2e8, 1e-7};
  return options;
}

Program StepOf(const Case& c, bool overlap, HideReport* report = nullptr) {
  return MakeTransformerStep(SmallTransformer(), OptionsOf(c, overlap), MeshOf(c), report).value();
}

ElementSources SourcesWithPieces(const Program& program) {
  ElementSources sources = SourcesOf(program, SmallTransformer());
  for (const char* name : {"tokens", "targets", "weights"}) {
    const ElementSource first = sources.at(name);
    sources[MicroBatchName(name, 1)] = [first](int64_t i) { return first(i + 1); };
  }
  return sources;
}

// Every parameter after two steps, and the loss.
std::map<std::string, std::vector<double>> Trained(const Program& program, const Mesh& mesh) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program).value();
  const ElementSources sources = SourcesWithPieces(program);
  std::vector<std::string> names = {"loss"};
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    const ElementSource& source = sources.at(name);
    EXPECT_TRUE((op.Is(kInput) ? session->Feed(name, source) : session->Write(name, source)).ok());
    if (op.Is(kParameter)) names.push_back(name);
  }
  for (int step = 0; step < 2; ++step) EXPECT_EQ(session->Step().ToString(), "OK");
  std::map<std::string, std::vector<double>> trained;
  for (const std::string& name : names) trained[name] = session->Read(name).value().ToDoubles();
  return trained;
}

TEST(HideCommunication, ChangesNoBit) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(Describe(MeshOf(c), c.sequence_parallel));
    const Program before = StepOf(c, false), after = StepOf(c, true);
    EXPECT_TRUE(ToString(before) != ToString(after));
    EXPECT_EQ(Trained(before, MeshOf(c)), Trained(after, MeshOf(c)));
  }
}

std::vector<std::string> Sorted(const Program& program) {
  std::vector<std::string> lines;
  std::string line;
  for (char letter : ToString(program)) {
    if (letter != '\n') {
      line += letter;
      continue;
    }
    lines.push_back(std::move(line));
    line.clear();
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::multimap<std::string, int64_t> Contract(const Program& program, const Mesh& mesh) {
  std::multimap<std::string, int64_t> bytes;
  for (const ContractEntry& entry : ByteContract(program, mesh)) {
    bytes.insert({entry.name + std::string(Name(entry.kind)), entry.bytes});
  }
  return bytes;
}

TEST(HideCommunication, ReordersAndNothingElse) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(Describe(MeshOf(c), c.sequence_parallel));
    HideReport report;
    const Program before = StepOf(c, false), after = StepOf(c, true, &report);
    EXPECT_EQ(Sorted(before), Sorted(after));
    EXPECT_EQ(Contract(before, MeshOf(c)), Contract(after, MeshOf(c)));
    EXPECT_EQ(DefectOf(after, MeshOf(c), LowerAll(after, MeshOf(c)).value()), "");
    EXPECT_LT(report.after.seconds, report.before.seconds) << ToString(report);
    EXPECT_GT(report.after.hidden, report.before.hidden);
  }
}

TEST(HideCommunication, EachOpIsHeld) {
  verify::OpByOpOptions checks;
  checks.arithmetic.functions = cpu::ErrorsOfFunctions();
  const auto expected =
      cpu::ErrorsOfFunctions() != nullptr ? verify::Outcome::kOk : verify::Outcome::kUndecided;
  for (const Case& c : {kCases[1], kCases[4]}) {
    SCOPED_TRACE(Describe(MeshOf(c), c.sequence_parallel));
    const Program program = StepOf(c, true);
    const auto backend = cpu::MakeCpuBackend({});
    const auto observed =
        verify::Observe(*backend, MeshOf(c), program, SourcesWithPieces(program)).value();
    const auto report = verify::VerifyOpByOp(program, MeshOf(c), observed, checks).value();
    EXPECT_EQ(report.outcome(), expected) << verify::ToString(report);
  }
}

// A step of two layers of Llama 3 8B on a node of H100s that is not here.
predict::Prediction PredictOf(int tp, int strands, bool overlap, HideReport* report) {
  const sim::Machine machine = sim::PresetMachine("h100x8").value();
  const predict::CostModel model(machine);
  predict::CollectiveTimer timer(model, sim::Algorithm::kAuto);
  TransformerConfig config = Preset("llama3-8b").value();
  config.layers = 2;
  TransformerStepOptions options;
  options.batch = 2;
  options.sequence = 4096;
  options.micro_batches = 2;
  options.dtype = DType::kBFloat16;
  options.strands = strands;
  options.overlap = overlap;
  const Mesh mesh = Mesh::Create(tp, 1).value();
  const Program program = MakeTransformerStep(config, options, mesh, report).value();
  return predict::Predict(program, mesh, model, timer).value();
}

TEST(HideCommunication, ShortensWhatIsPredicted) {
  for (int tp : {4, 8}) {
    SCOPED_TRACE(tp);
    HideReport one, two;
    const predict::Prediction before = PredictOf(tp, 1, false, nullptr);
    const predict::Prediction put_off = PredictOf(tp, 1, true, &one);
    const predict::Prediction strands = PredictOf(tp, 2, true, &two);
    EXPECT_LT(put_off.seconds, before.seconds);
    EXPECT_LT(strands.seconds, put_off.seconds);
    // By the replay too, whose collectives slow down what runs beside them.
    const auto hidden = [](const predict::Prediction& p) {
      return 1 - p.exposed_seconds / p.communication_seconds;
    };
    EXPECT_GT(hidden(put_off), hidden(before));
    EXPECT_GT(hidden(strands), hidden(put_off));
    EXPECT_GT(two.after.share_hidden(), one.after.share_hidden());
    // What the planner finds is within what is promised of the estimate: a sixteenth more for each
    // strand.
    EXPECT_LE(one.bytes_after * 16, one.bytes_before * 17);
    EXPECT_LE(put_off.memory_bytes * 16, before.memory_bytes * 17);
    EXPECT_LE(strands.memory_bytes * 16, before.memory_bytes * 2 * 17);
  }
}

// Whatever limit is asked for, the fastest that keeps it is taken.
TEST(HideCommunication, HoldsNoMoreThanItMay) {
  const Case c = {4, 1, false, false, 2};
  const auto hide = [&](int64_t most_bytes) {
    Program program = StepOf(c, false);
    HideOptions options = {.rates = OptionsOf(c, true).rates, .strands = 2};
    options.most_bytes = most_bytes;
    return HideCommunication(program, MeshOf(c), options);
  };
  const HideReport free = hide(int64_t{1} << 40);
  ASSERT_GT(free.bytes_after, free.bytes_before);
  double last = free.after.seconds;
  int taken = 0;
  for (int64_t most = free.bytes_after; most >= free.bytes_before;) {
    const HideReport report = hide(most);
    EXPECT_LE(report.bytes_after, most);
    EXPECT_GE(report.after.seconds, last);
    last = report.after.seconds;
    taken += report.after.seconds < report.before.seconds ? 1 : 0;
    most = std::min(most, report.bytes_after) - 1;
  }
  EXPECT_GT(taken, 2);  // more than what is fastest, and that of one strand
}

// Bits of dropout are counted by stream and element, not by what runs before: `kept` is made after
// `x.dropped`, for nothing but the end waits for it.
TEST(HideCommunication, DrawsTheSameRandomNumbers) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  Program program = ParseProgram(R"(
x: fp32 [64, 32] {tp: Shard(1)} = input()
seed: int32 [] {tp: Replicate} = input()
w: fp32 [32, 32] {tp: Shard(0)} = parameter()
kept = dropout(x, seed, rate=0.5, stream=1)
kept.2 = dropout(x, seed, rate=0.5, stream=2)
x.dropped = dropout(x, seed, rate=0.5, stream=3)
y = matmul(x.dropped, w)
sum: fp32 [64, 32] {tp: Replicate} = redistribute(y)
z = relu(sum)
z.shard: fp32 [64, 32] {tp: Shard(1)} = redistribute(z)
z.dropped = dropout(z.shard, seed, rate=0.5, stream=4)
result kept, kept.2, z.dropped
)")
                        .value();
  const auto run = [&](const Program& drawing) {
    const auto backend = cpu::MakeCpuBackend({});
    const auto session = Session::Create(*backend, mesh, drawing).value();
    EXPECT_TRUE(session->Feed("x", [](int64_t i) { return std::sin(i); }).ok());
    EXPECT_TRUE(session->Feed("seed", [](int64_t) { return 7.0; }).ok());
    EXPECT_TRUE(session->Write("w", [](int64_t i) { return std::cos(i); }).ok());
    EXPECT_EQ(session->Step().ToString(), "OK");
    std::map<std::string, std::vector<double>> results;
    for (const char* name : {"kept", "kept.2", "z.dropped"}) {
      results[name] = session->Read(name).value().ToDoubles();
    }
    return results;
  };
  const auto before = run(program);
  EXPECT_NE(before.at("kept"), before.at("kept.2"));
  const auto place = [&](std::string_view name) {
    return program.DefinitionOf(program.Find(name).value());
  };
  EXPECT_LT(place("kept"), place("x.dropped"));
  HideOptions options = {.rates = OptionsOf(kCases[0], true).rates};
  options.most_bytes = int64_t{1} << 30;
  HideCommunication(program, mesh, options);
  EXPECT_GT(place("kept"), place("x.dropped"));
  EXPECT_GT(place("kept.2"), place("x.dropped"));
  EXPECT_EQ(run(program), before);
}

// The bits, for some are no numbers, of results and parameters after two steps, from elements whose
// sums are rounded: so one order of terms is told from another.
std::map<std::string, std::vector<uint64_t>> RunTwice(const Program& program, const Mesh& mesh) {
  const auto backend = cpu::MakeCpuBackend({});
  const auto session = Session::Create(*backend, mesh, program).value();
  std::map<std::string, std::vector<uint64_t>> read;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const std::string& name = program.value(op.outputs[0]).name;
    const auto source = [id = op.outputs[0]](int64_t i) { return std::sin(i + id); };
    EXPECT_TRUE((op.Is(kInput) ? session->Feed(name, source) : session->Write(name, source)).ok());
    if (op.Is(kParameter)) read[name];
  }
  for (int step = 0; step < 2; ++step) EXPECT_EQ(session->Step().ToString(), "OK");
  for (ValueId id : program.results()) {
    if (!program.ops()[program.DefinitionOf(id)].Is(kInput)) read[program.value(id).name];
  }
  for (auto& [name, bits] : read) {
    for (double e : session->Read(name).value().ToDoubles())
      bits.push_back(std::bit_cast<uint64_t>(e));
  }
  return read;
}

// Any Program, in whatever order the pass finds for whatever machine.
TEST(HideCommunication, ChangesNoBitOfAnyProgram) {
  int drawn = 0, shorter = 0;
  EXPECT_TRUE(rc::check([&] {
    ++drawn;
    const Program program = DrawProgram({.ops = 30, .products = 8}).program;
    const Mesh mesh = DrawMesh();
    HideOptions options;
    options.rates.flops_per_second = *rc::gen::element(1e7, 1e8, 1e9);
    options.rates.memory_bytes_per_second = *rc::gen::element(1e7, 1e8, 1e9);
    options.rates.launch_seconds = 1e-8;
    options.rates.within = {*rc::gen::element(1e7, 1e8, 1e9), 1e-7};
    options.most_bytes = int64_t{1} << 30;
    Program hidden = program;
    const HideReport report = HideCommunication(hidden, mesh, options);
    RC_ASSERT(Verify(hidden).ToString() == "OK");
    RC_ASSERT(report.after.seconds <= report.before.seconds);
    RC_ASSERT((report.after.seconds == report.before.seconds) ==
              (ToString(hidden) == ToString(program)));
    if (ToString(hidden) == ToString(program)) return;
    ++shorter;
    RC_LOG() << ToString(program) << "hidden:\n" << ToString(hidden);
    RC_ASSERT(Contract(hidden, mesh) == Contract(program, mesh));
    RC_ASSERT(RunTwice(hidden, mesh) == RunTwice(program, mesh));
  }));
  EXPECT_GT(50 * shorter, drawn);
}

TEST(HideCommunication, SaysWhatItDidAndWhy) {
  const Case c = {4, 1, false, false, 2};
  HideReport report;
  StepOf(c, true, &report);
  EXPECT_THAT(ToString(report), HasSubstr("work under collectives: "));
  EXPECT_THAT(ToString(report), HasSubstr("\n2 strands: "));
  EXPECT_THAT(ToString(report), HasSubstr(" of communication is hidden and not "));

  StepOf({1, 1}, true, &report);
  EXPECT_EQ(ToString(report), "work under collectives: no; nothing communicates\n");

  // Where there is no memory for it, all stays as it was.
  Program program = StepOf(c, false);
  const std::string was = ToString(program);
  HideOptions options = {.rates = OptionsOf(c, true).rates, .strands = 2};
  options.most_bytes = 1;
  report = HideCommunication(program, MeshOf(c), options);
  EXPECT_EQ(ToString(program), was);
  EXPECT_THAT(ToString(report), HasSubstr("work under collectives: no; "));
  EXPECT_THAT(ToString(report), HasSubstr(", but would hold "));

  // A second time there is nothing to gain.
  options.most_bytes = 0;
  HideCommunication(program, MeshOf(c), options);
  const std::string once = ToString(program);
  report = HideCommunication(program, MeshOf(c), options);
  EXPECT_EQ(ToString(program), once);
  EXPECT_THAT(ToString(report), HasSubstr(": nothing is gained"));
}

TEST(PieceOf, ReadsWhatMicroBatchNameWrites) {
  EXPECT_EQ(PieceOf(MicroBatchName("tokens", 0)), 0);
  EXPECT_EQ(PieceOf(MicroBatchName("layers.3.x", 12)), 12);
  EXPECT_EQ(PieceOf("micro.x"), 0);
  EXPECT_EQ(PieceOf("micro.7"), 0);
}

}  // namespace
}  // namespace tp
