// What Train asks for, and what it brings back. That its numbers are right is tests/conformance.
#include "tools/measure/train.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "sim/fabric/endpoint.h"
#include "tp/core/random.h"
#include "tp/model/linear_step.h"
#include "tp/observe/step_report.h"
#include "tp/ops/ops.h"

namespace tp {
namespace {

using Sources = std::map<std::string, ElementSource>;

Sources AllSources() {
  Sources sources;
  uint64_t stream = 0;
  for (const char* name : {"x", "targets", "w", "b"}) {
    const RandomTensor random(/*seed=*/1, stream++);
    sources[name] = [random](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); };
  }
  return sources;
}

Program MakeProgram(const Mesh& mesh, LinearMode mode = LinearMode::kColumn) {
  LinearStepOptions options;
  options.mode = mode;
  options.tokens = 5;
  options.in_features = 6;
  options.out_features = 7;
  options.learning_rate = 0.5;
  return *MakeLinearStep(options, mesh);
}

StatusOr<TrainResult> TrainWith(const Sources& sources, const TrainOptions& options,
                                const Mesh& mesh = *Mesh::Create(2, 2)) {
  return Train(*cpu::MakeCpuBackend({}), mesh, MakeProgram(mesh), sources, options);
}

void ExpectInvalid(const StatusOr<TrainResult>& result, const std::string& text) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument) << result.status().ToString();
  EXPECT_NE(result.status().message().find(text), std::string::npos) << result.status().ToString();
}

TEST(TrainTest, NamesASourceThatIsMissing) {
  for (const char* name : {"x", "targets", "w", "b"}) {
    Sources sources = AllSources();
    sources.erase(name);
    ExpectInvalid(TrainWith(sources, {}), "no source feeds '" + std::string(name) + "'");
  }
}

TEST(TrainTest, RefusesStepsThatCannotBe) {
  TrainOptions options;
  options.steps = 0;
  ExpectInvalid(TrainWith(AllSources(), options), "not 2 and 0");
  options = {};
  options.warmup = -1;
  ExpectInvalid(TrainWith(AllSources(), options), "not -1 and 10");
}

TEST(TrainTest, NeedsAScalarLoss) {
  const Mesh mesh = *Mesh::Create(2, 1);
  Program program;
  const ValueId x = *AddInput(program, Value{"loss", {3, 4}, DType::kFloat32, {}});
  program.AddResult(x);
  ExpectInvalid(
      Train(*cpu::MakeCpuBackend({}), mesh, program, {{"loss", [](int64_t) { return 0.0; }}}, {}),
      "'loss' is no scalar");
}

TEST(TrainTest, RefusesAProgramThatDoesNotVerify) {
  const Mesh mesh = *Mesh::Create(2, 1);
  Program program = MakeProgram(mesh);
  program.mutable_value(*program.Find("dw")).placements = Placements(Partial(), Replicate());
  EXPECT_EQ(Train(*cpu::MakeCpuBackend({}), mesh, program, AllSources(), {}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST(TrainTest, BringsBackTheFirstStepAndTheLast) {
  TrainOptions options;
  options.warmup = 2;
  options.steps = 3;
  std::vector<int> done;
  options.progress = [&](const TrainProgress& progress) { done.push_back(progress.done); };
  const StatusOr<TrainResult> five = TrainWith(AllSources(), options);
  ASSERT_TRUE(five.ok()) << five.status().ToString();
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3, 4, 5}));
  ASSERT_EQ(five->losses.size(), 5u);
  for (size_t i = 1; i < 5; ++i) EXPECT_LT(five->losses[i], five->losses[i - 1]);
  for (const char* name : {"y", "dx", "dw", "db"}) EXPECT_EQ(five->first.count(name), 1u) << name;
  EXPECT_EQ(five->first.count("loss"), 0u);
  EXPECT_EQ(five->last.size(), 2u);
  EXPECT_EQ(five->ranks.size(), 4u);
  for (const RankRecord& rank : five->ranks) {
    EXPECT_EQ(rank.steps.size(), 3u);
    EXPECT_EQ(rank.op_steps.size(), 3u);
    EXPECT_EQ(rank.algorithms.size(), rank.schedule.ops.size());
  }

  options.warmup = 0;
  options.steps = 1;
  const StatusOr<TrainResult> one = TrainWith(AllSources(), options);
  ASSERT_TRUE(one.ok()) << one.status().ToString();
  for (const auto& [name, tensor] : one->first) {
    EXPECT_EQ(tensor.ToDoubles(), five->first.at(name).ToDoubles()) << name;
  }
  EXPECT_EQ(one->losses[0], five->losses[0]);
  EXPECT_NE(one->last.at("w").ToDoubles(), five->last.at("w").ToDoubles());
  // One step from the source, by the gradient that was brought back.
  const HostTensor& w = one->last.at("w");
  for (int64_t i = 0; i < w.size(); ++i) {
    const double before = RoundTo(DType::kFloat32, AllSources().at("w")(i));
    EXPECT_EQ(w.At(i), RoundTo(DType::kFloat32, before - 0.5 * one->first.at("dw").At(i)));
  }
}

// Passes everything on, but for one bit of what member 1 receives.
class FlippingEndpoint final : public sim::Endpoint {
 public:
  explicit FlippingEndpoint(std::unique_ptr<sim::Endpoint> inner) : inner_(std::move(inner)) {}

  int member() const override { return inner_->member(); }
  int size() const override { return inner_->size(); }
  Status Send(int to, std::span<const std::byte> data) override { return inner_->Send(to, data); }
  Status Recv(int from, std::span<std::byte> data) override {
    TP_RETURN_IF_ERROR(inner_->Recv(from, data));
    if (member() == 1 && !data.empty()) data[2] ^= std::byte{0x40};  // no rounding hides it
    return OkStatus();
  }
  Status RecvReduce(int from, std::span<const std::byte> local, std::span<std::byte> out,
                    DType dtype, Reduction reduction) override {
    return inner_->RecvReduce(from, local, out, dtype, reduction);
  }
  void Copy(const std::byte* from, std::span<std::byte> to) override { inner_->Copy(from, to); }
  void Reduce(std::span<const std::byte> a, std::span<const std::byte> b, std::span<std::byte> out,
              DType dtype, Reduction reduction) override {
    inner_->Reduce(a, b, out, dtype, reduction);
  }
  Status Flush() override { return inner_->Flush(); }
  int64_t bytes_sent() const override { return inner_->bytes_sent(); }

 private:
  const std::unique_ptr<sim::Endpoint> inner_;
};

TEST(TrainTest, NamesReplicasThatDiffer) {
  cpu::CpuBackendOptions backend;
  backend.all_reduce = sim::Algorithm::kRing;
  backend.wrap_endpoint = [](std::unique_ptr<sim::Endpoint> inner) {
    return std::make_unique<FlippingEndpoint>(std::move(inner));
  };
  const Mesh mesh = *Mesh::Create(2, 1);
  const StatusOr<TrainResult> result =
      Train(*cpu::MakeCpuBackend(backend), mesh, MakeProgram(mesh), AllSources(), {});
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  ASSERT_FALSE(result->replica_defects.empty());
  bool y_is_named = false;
  for (const std::string& defect : result->replica_defects) {
    EXPECT_NE(defect.find("rank 1 holds other bits than rank 0"), std::string::npos) << defect;
    y_is_named = y_is_named || defect.rfind("y: ", 0) == 0;
  }
  EXPECT_TRUE(y_is_named);
}

// An executor for which timing ops has a price, as on a device.
class CostlyTimes final : public Executor {
 public:
  explicit CostlyTimes(std::unique_ptr<Executor> inner) : inner_(std::move(inner)) {}

  Status Write(BufferId buffer, std::span<const std::byte> bytes) override {
    return inner_->Write(buffer, bytes);
  }
  Status Read(BufferId buffer, std::span<std::byte> bytes) override {
    return inner_->Read(buffer, bytes);
  }
  Status Feed(const Region& region, std::span<const std::byte> bytes) override {
    return inner_->Feed(region, bytes);
  }
  Status EnqueueStep(StepKind kind) override { return inner_->EnqueueStep(kind); }
  Status Synchronize() override {
    TP_RETURN_IF_ERROR(inner_->Synchronize());
    record_ = inner_->LastStep();
    if (!timed_) record_.ops.clear();
    return OkStatus();
  }
  void TimeOps(bool on) override { timed_ = on; }
  bool OpTimesAreFree() const override { return false; }
  Status Profile(bool on) override { return inner_->Profile(on); }
  StatusOr<StepRecord> CollectProfile() override { return inner_->CollectProfile(); }
  DeviceInfo Device() const override { return inner_->Device(); }
  const StepRecord& LastStep() const override { return record_; }
  AllocatedMemory Allocated() const override { return inner_->Allocated(); }
  std::string AlgorithmOf(int index) const override { return inner_->AlgorithmOf(index); }
  int64_t ExpectedBytes(int index) const override { return inner_->ExpectedBytes(index); }

 private:
  const std::unique_ptr<Executor> inner_;
  bool timed_ = false;
  StepRecord record_;
};

class CostlyContext final : public RankContext {
 public:
  explicit CostlyContext(RankContext& inner) : inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int world() const override { return inner_.world(); }
  StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) override {
    TP_ASSIGN_OR_RETURN(std::unique_ptr<Executor> executor, inner_.MakeExecutor(schedule));
    return std::unique_ptr<Executor>(std::make_unique<CostlyTimes>(std::move(executor)));
  }
  Status Barrier() override { return inner_.Barrier(); }
  StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) override {
    return inner_.GatherToRoot(std::move(bytes));
  }
  StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) override {
    return inner_.GatherToAll(std::move(bytes));
  }
  Status AwaitOutside(const std::function<void()>& wait) override {
    return inner_.AwaitOutside(wait);
  }
  const Clock& clock() const override { return inner_.clock(); }

 private:
  RankContext& inner_;
};

class CostlyBackend final : public Backend {
 public:
  std::string name() const override { return "costly"; }
  std::vector<std::pair<std::string, std::string>> Describe() const override { return {}; }
  Status Check(int world, DType dtype) const override { return inner_->Check(world, dtype); }
  int DefaultTp(int) const override { return 1; }
  bool IsRoot() const override { return true; }
  Status Run(int world, const std::function<Status(RankContext&)>& body) override {
    return inner_->Run(world, [&](RankContext& inner) {
      CostlyContext context(inner);
      return body(context);
    });
  }

 private:
  const std::unique_ptr<Backend> inner_ = cpu::MakeCpuBackend({});
};

// Ops are then timed in steps of their own, which change no result.
TEST(TrainTest, TimesOpsApartWhereThatCosts) {
  const Mesh mesh = *Mesh::Create(2, 2);
  TrainOptions options;
  options.steps = 3;
  CostlyBackend backend;
  const StatusOr<TrainResult> costly =
      Train(backend, mesh, MakeProgram(mesh), AllSources(), options);
  const StatusOr<TrainResult> free = TrainWith(AllSources(), options);
  ASSERT_TRUE(costly.ok()) << costly.status().ToString();
  ASSERT_TRUE(free.ok()) << free.status().ToString();
  for (const RankRecord& rank : costly->ranks) {
    ASSERT_EQ(rank.steps.size(), 3u);
    for (const StepRecord& step : rank.steps) EXPECT_TRUE(step.ops.empty());
    EXPECT_GT(rank.op_steps.size(), 0u);
    for (const StepRecord& step : rank.op_steps) {
      EXPECT_EQ(step.ops.size(), rank.schedule.ops.size());
    }
  }
  EXPECT_EQ(costly->losses, free->losses);
  for (const char* name : {"w", "b"}) {
    EXPECT_EQ(costly->last.at(name).ToDoubles(), free->last.at(name).ToDoubles());
  }
}

// Profiled steps come after the timed ones, and change no result.
TEST(TrainTest, ProfilesStepsOfTheirOwn) {
  const Mesh mesh = *Mesh::Create(2, 2);
  TrainOptions options;
  options.steps = 3;
  CostlyBackend backend;
  const StatusOr<TrainResult> plain =
      Train(backend, mesh, MakeProgram(mesh), AllSources(), options);
  options.profiled_steps = kTracedSteps + 2;
  const StatusOr<TrainResult> profiled =
      Train(backend, mesh, MakeProgram(mesh), AllSources(), options);
  ASSERT_TRUE(plain.ok()) << plain.status().ToString();
  ASSERT_TRUE(profiled.ok()) << profiled.status().ToString();
  for (const RankRecord& rank : plain->ranks) {
    EXPECT_TRUE(rank.profiled.empty());
    EXPECT_TRUE(rank.profile.steps.empty());
  }
  for (const RankRecord& rank : profiled->ranks) {
    ASSERT_EQ(rank.steps.size(), 3u);
    for (const StepRecord& step : rank.steps) EXPECT_TRUE(step.ops.empty());
    ASSERT_EQ(rank.profiled.size(), kTracedSteps + 2u);
    ASSERT_EQ(rank.profile.steps.size(), static_cast<size_t>(kTracedSteps));
    EXPECT_FALSE(rank.profile.host.empty());
    EXPECT_EQ(rank.profile.process, getpid());
    for (int i = 0; i < kTracedSteps; ++i) {
      const ProfiledStep& step = rank.profile.steps[i];
      // Warm-up, timed steps, one to get warm again, and two that are not traced came before.
      EXPECT_EQ(step.number, options.warmup + 3 + 1 + 2 + i);
      EXPECT_EQ(step.record.ops.size(), rank.schedule.ops.size());
      EXPECT_EQ(step.record.begin_ns, rank.profiled[i + 2].begin_ns);
      EXPECT_EQ(step.record.end_ns, rank.profiled[i + 2].end_ns);
      const std::vector<int64_t> times = {step.arrived_ns, step.released_ns, step.record.begin_ns,
                                          step.handed_over_ns, step.synchronized_ns};
      EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    }
  }
  EXPECT_EQ(profiled->losses, plain->losses);
  for (const char* name : {"w", "b"}) {
    EXPECT_EQ(profiled->last.at(name).ToDoubles(), plain->last.at(name).ToDoubles());
  }
}

// Counts how often it was asked.
class CountingClock final : public Clock {
 public:
  int64_t NowNs() const override { return ++asked_; }
  ClockKind kind() const override { return ClockKind::kPredicted; }
  int64_t asked() const { return asked_; }

 private:
  mutable std::atomic<int64_t> asked_ = 0;
};

// No other clock is read, and what was recorded says which kind it is.
TEST(TrainTest, RecordsAreOfTheBackendsClock) {
  const Mesh mesh = *Mesh::Create(2, 2);
  CountingClock clock;
  cpu::CpuBackendOptions on_clock;
  on_clock.clock = &clock;
  const auto backend = cpu::MakeCpuBackend(on_clock);
  TrainOptions options;
  options.time_products = true;
  options.profiled_steps = 2;
  const StatusOr<TrainResult> result =
      Train(*backend, mesh, MakeProgram(mesh), AllSources(), options);
  ASSERT_TRUE(result.ok()) << result.status().ToString();
  const int64_t last = clock.asked();
  for (const RankRecord& rank : result->ranks) {
    std::vector<StepRecord> steps = rank.steps;
    for (const auto* more : {&rank.products, &rank.op_steps}) {
      steps.insert(steps.end(), more->begin(), more->end());
    }
    for (const ProfiledStep& step : rank.profile.steps) {
      steps.push_back(step.record);
      for (int64_t time : {step.arrived_ns, step.released_ns, step.handed_over_ns}) {
        EXPECT_GT(time, 0);
        EXPECT_LE(time, last);
      }
    }
    for (const StepRecord& step : steps) {
      EXPECT_EQ(step.clock, ClockKind::kPredicted);
      EXPECT_GT(step.begin_ns, 0);
      EXPECT_LE(step.end_ns, last);
      for (const OpRecord& op : step.ops) EXPECT_LE(op.end_ns, last);
    }
  }
  const StatusOr<StepReport> report = MakeStepReport(MakeProgram(mesh), mesh, result->ranks);
  EXPECT_EQ(report->clock, ClockKind::kPredicted);
}

// Nothing runs where the backend cannot.
class UnableBackend final : public Backend {
 public:
  std::string name() const override { return "unable"; }
  std::vector<std::pair<std::string, std::string>> Describe() const override { return {}; }
  Status Check(int world, DType) const override {
    return Unavailable("no place for " + std::to_string(world) + " ranks");
  }
  int DefaultTp(int) const override { return 1; }
  bool IsRoot() const override { return true; }
  Status Run(int, const std::function<Status(RankContext&)>&) override {
    ADD_FAILURE() << "Run was called";
    return OkStatus();
  }
};

TEST(TrainTest, AsksTheBackendFirst) {
  const Mesh mesh = *Mesh::Create(2, 2);
  UnableBackend backend;
  const StatusOr<TrainResult> result = Train(backend, mesh, MakeProgram(mesh), AllSources(), {});
  EXPECT_EQ(result.status().ToString(), "UNAVAILABLE: no place for 4 ranks");
}

}  // namespace
}  // namespace tp
