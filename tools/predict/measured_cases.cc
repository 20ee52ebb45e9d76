#include "tools/predict/measured_cases.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/schedule/lower.h"

namespace tp::predict_tool {
namespace {

// Of one round.
constexpr int kRepeats = 3;
constexpr int kTimedOps = 5;  // steps whose ops are timed
// What is timed at once takes so long, or so many steps.
constexpr int64_t kLeastNs = 1'000'000;
constexpr int64_t kMostSteps = 500;

View VectorView(BufferId buffer, int64_t offset, int64_t elements) {
  return PackedView(buffer, offset, {elements}, Order::Own(1));
}

// One rank's run of one case: how many steps were timed at once, what they took, and, where asked
// for, what their ops did.
class RankRun {
 public:
  RankRun(RankContext& context, const Schedule& schedule)
      : context_(context), schedule_(schedule) {}

  StatusOr<std::string> Run(bool ops, DeviceInfo* device) {
    TP_ASSIGN_OR_RETURN(executor_, context_.MakeExecutor(schedule_));
    if (device != nullptr && context_.rank() == 0) *device = executor_->Device();
    TP_RETURN_IF_ERROR(Fill());
    TP_RETURN_IF_ERROR(Steps(1).status());
    TP_ASSIGN_OR_RETURN(const int64_t steps, StepsAtOnce());
    blob_.Number(steps);
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      TP_ASSIGN_OR_RETURN(const int64_t ns, Steps(steps));
      blob_.Number(ns);
    }
    if (ops) TP_RETURN_IF_ERROR(TimeOps());
    return blob_.Take();
  }

 private:
  // By the profiler, unless times of ops are free: otherwise each has in it what timing it takes.
  Status TimeOps() {
    const bool profiled = !executor_->OpTimesAreFree();
    if (profiled) TP_RETURN_IF_ERROR(executor_->Profile(true));
    for (int step = 0; step < kTimedOps; ++step) {
      TP_RETURN_IF_ERROR(Steps(1).status());
      StepRecord record = executor_->LastStep();
      if (profiled) {
        TP_ASSIGN_OR_RETURN(record, executor_->CollectProfile());
      }
      for (const OpRecord& op : record.ops) blob_.Number(op.end_ns - op.begin_ns);
    }
    return profiled ? executor_->Profile(false) : OkStatus();
  }

  // What so many take, handed over without a break.
  StatusOr<int64_t> Steps(int64_t count) {
    TP_RETURN_IF_ERROR(context_.Barrier());
    const int64_t begin = context_.clock().NowNs();
    for (int64_t i = 0; i < count; ++i) {
      TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    }
    TP_RETURN_IF_ERROR(executor_->Synchronize());
    return context_.clock().NowNs() - begin;
  }

  // All ranks take the same number: the slowest says.
  StatusOr<int64_t> StepsAtOnce() {
    TP_ASSIGN_OR_RETURN(const int64_t ns, Steps(4));
    BlobWriter mine;
    mine.Number(ns);
    TP_ASSIGN_OR_RETURN(const std::vector<std::string> all, context_.GatherToAll(mine.Take()));
    int64_t slowest = 1;
    for (const std::string& blob : all) slowest = std::max(slowest, BlobReader(blob).Int());
    return std::clamp<int64_t>(4 * kLeastNs / slowest, 1, kMostSteps);
  }

  // Numbers at random, over and over: a gigabyte of new ones would take longer than what is timed.
  Status Fill() {
    constexpr int64_t kNew = 1 << 16;
    for (size_t id = 0; id < schedule_.buffers.size(); ++id) {
      const Buffer& buffer = schedule_.buffers[id];
      if (buffer.elements == 0 || buffer.dtype == DType::kInt32) continue;
      const int64_t fresh = std::min(kNew, buffer.elements);
      Binding part;
      part.shape = {fresh};
      part.dtype = buffer.dtype;
      part.view = VectorView(static_cast<BufferId>(id), 0, fresh);
      std::vector<std::byte> bytes(static_cast<size_t>(fresh) * SizeOf(buffer.dtype));
      const RandomTensor random(1, id);
      FillLocal(
          part, [&](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); }, bytes);
      const size_t once = bytes.size();
      bytes.resize(buffer.bytes());
      for (size_t i = once; i < bytes.size(); i += once) {
        std::copy_n(bytes.begin(), std::min(once, bytes.size() - i), bytes.begin() + i);
      }
      TP_RETURN_IF_ERROR(executor_->Write(static_cast<BufferId>(id), bytes));
    }
    return OkStatus();
  }

  RankContext& context_;
  const Schedule& schedule_;
  std::unique_ptr<Executor> executor_;
  BlobWriter blob_;
};

}  // namespace

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

double CaseTimes::median() const { return Median(us); }

CaseTimes CaseTimes::Beyond(const CaseTimes& other) const {
  CaseTimes more;
  for (size_t i = 0; i < us.size(); ++i) more.us.push_back(us[i] - other.us[i]);
  return more;
}

double CaseTimes::op_median(size_t op) const { return Median(ops_us[op]); }

double CaseTimes::Floor() const {
  double sum = 0;
  for (double one : us) sum += std::abs(std::log(one / median()));
  return sum / static_cast<double>(us.size());
}

TimedCase ProductCase(DType dtype, const predict::ProductShape& shape, int world) {
  TimedCase timed;
  const double flops = 2.0 * static_cast<double>(shape.m) * static_cast<double>(shape.n) *
                       static_cast<double>(shape.k);
  timed.launches = static_cast<int>(std::clamp(2e7 / flops, 1.0, 20.0));
  for (int rank = 0; rank < world; ++rank) {
    Schedule schedule;
    schedule.rank = rank;
    schedule.buffers = {{"a", dtype, shape.m * shape.k, -1},
                        {"b", dtype, shape.k * shape.n, -1},
                        {"c", dtype, shape.m * shape.n, -1}};
    for (int i = 0; i < timed.launches; ++i) {
      ScheduledOp op;
      op.action = Action::kGemm;
      op.name = "c";
      op.of_matrices = true;
      const bool a = shape.a_turned, b = shape.b_turned;
      op.reads = {MatrixView(0, 0, shape.m, shape.k, a ? 1 : shape.k, a ? shape.m : 1),
                  MatrixView(1, 0, shape.k, shape.n, b ? 1 : shape.n, b ? shape.k : 1)};
      op.writes = {MatrixView(2, 0, shape.m, shape.n, shape.n, 1)};
      schedule.ops.push_back(std::move(op));
    }
    timed.schedules.push_back(std::move(schedule));
  }
  return timed;
}

TimedCase CollectiveCase(CollectiveKind kind, DType dtype, int64_t elements, int world,
                         bool alone) {
  TimedCase timed;
  constexpr int64_t kLarge = 4 << 20;
  timed.launches = elements * SizeOf(dtype) < kLarge ? 10 : 3;
  const ShardGeometry cut(elements, world);
  ScheduledOp op;
  op.action = Action::kCollective;
  op.name = "array";
  op.stream = Stream::kCommunication;
  op.call = {.kind = kind, .dtype = dtype, .counts = {}};
  for (int rank = 0; rank < world; ++rank) {
    op.group.push_back(rank);
    if (kind != CollectiveKind::kAllReduce) op.call.counts.push_back(cut.Length(rank));
  }
  if (kind == CollectiveKind::kAllReduce) op.call.counts = {elements};
  for (int rank = 0; rank < world; ++rank) {
    Schedule schedule;
    schedule.rank = rank;
    schedule.buffers = {{"array", dtype, elements, -1}, {"source", dtype, elements, -1}};
    const View whole = VectorView(0, 0, elements);
    const View own = VectorView(0, cut.Offset(rank), cut.Length(rank));
    op.send = kind == CollectiveKind::kAllGather ? own : whole;
    op.receive = kind == CollectiveKind::kReduceScatter ? own : whole;
    op.reads = {op.send};
    op.writes = {op.receive};
    ScheduledOp write;
    write.action = Action::kCopy;
    write.name = "array";
    write.stream = op.stream;
    write.reads = {VectorView(1, 0, op.send.size())};
    write.writes = {op.send};
    for (int i = 0; i < timed.launches; ++i) {
      schedule.ops.push_back(write);
      if (!alone) schedule.ops.push_back(op);
    }
    timed.schedules.push_back(std::move(schedule));
  }
  return timed;
}

StatusOr<TimedCase> ProgramCase(const Program& program, const Mesh& mesh, int world,
                                const LowerOptions& lower) {
  TimedCase timed;
  TP_ASSIGN_OR_RETURN(timed.schedules, LowerAll(program, mesh, lower));
  for (int rank = mesh.world(); rank < world; ++rank) {
    timed.schedules.push_back(timed.schedules[rank % mesh.world()]);
    timed.schedules.back().rank = rank;
  }
  return timed;
}

TimedCase HandoverCase(DType dtype, int world, bool alone) {
  TimedCase timed;
  timed.launches = 64;
  constexpr int64_t kElements = 8;
  for (int rank = 0; rank < world; ++rank) {
    Schedule schedule;
    schedule.rank = rank;
    schedule.buffers = {{"a", dtype, kElements, -1}, {"b", dtype, kElements, -1}};
    for (int i = 0; i < timed.launches; ++i) {
      ScheduledOp op;
      op.action = Action::kCopy;
      op.name = i % 2 == 0 ? "b" : "a";
      op.reads = {VectorView(i % 2, 0, kElements)};
      op.writes = {VectorView(1 - i % 2, 0, kElements)};
      if (!alone && i % 2 == 1) op.stream = Stream::kCommunication;
      if (!alone && i > 0) op.waits = {i - 1};
      schedule.ops.push_back(std::move(op));
    }
    timed.schedules.push_back(std::move(schedule));
  }
  return timed;
}

namespace {

// Adds what the ranks of one case wrote.
void Add(const TimedCase& timed, const std::vector<std::string>& blobs, bool ops,
         CaseTimes& times) {
  std::vector<double> us(kRepeats);
  for (size_t rank = 0; rank < blobs.size(); ++rank) {
    BlobReader reader(blobs[rank]);
    const auto steps = static_cast<double>(reader.Int());
    for (double& slowest : us) {
      const double mine = static_cast<double>(reader.Int()) / 1e3 / steps / timed.launches;
      slowest = std::max(slowest, mine);
    }
    if (!ops || rank != 0) continue;
    times.ops_us.resize(timed.schedules[0].ops.size());
    for (int step = 0; step < kTimedOps; ++step) {
      for (auto& op : times.ops_us) op.push_back(static_cast<double>(reader.Int()) / 1e3);
    }
  }
  times.us.insert(times.us.end(), us.begin(), us.end());
}

}  // namespace

Status TimeCases(Backend& backend, int world, const std::vector<CaseList*>& lists,
                 DeviceInfo* device, io::Progress* progress) {
  int64_t all = 0, done = 0;
  for (const CaseList* list : lists) all += std::ssize(list->cases);
  const io::ProgressStage stage(progress, "cases", all);
  return backend.Run(world, [&](RankContext& context) -> Status {
    for (CaseList* list : lists) {
      const int64_t begin = context.clock().NowNs();
      for (size_t i = 0; i < list->cases.size(); ++i) {
        if (context.rank() == 0 && progress != nullptr) progress->Update(list->name, done++);
        RankRun run(context, list->cases[i].schedules[context.rank()]);
        TP_ASSIGN_OR_RETURN(std::string blob, run.Run(list->ops, device));
        TP_ASSIGN_OR_RETURN(const std::vector<std::string> blobs,
                            context.GatherToRoot(std::move(blob)));
        if (context.rank() != 0) continue;
        list->times.resize(list->cases.size());
        Add(list->cases[i], blobs, list->ops, list->times[i]);
      }
      if (context.rank() != 0) continue;
      VLOG(1) << list->cases.size() << " cases took "
              << static_cast<double>(context.clock().NowNs() - begin) * 1e-9 << " s";
    }
    return OkStatus();
  });
}

}  // namespace tp::predict_tool
