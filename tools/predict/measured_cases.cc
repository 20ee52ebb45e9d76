#include "tools/predict/measured_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>

#include "tp/core/random.h"
#include "tp/core/shard_geometry.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/schedule/lower.h"

namespace tp::predict_tool {
namespace {

constexpr int kWarmup = 2;
constexpr int kSteps = 7;

View VectorView(BufferId buffer, int64_t offset, int64_t elements) {
  return PackedView(buffer, offset, {elements}, Order::Own(1));
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What a step took on its rank, without what its host does beside it where ops are timed for free.
int64_t SpanNs(const StepRecord& step) {
  if (step.ops.empty()) return step.end_ns - step.begin_ns;
  int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
  for (const OpRecord& op : step.ops) {
    begin = std::min(begin, op.begin_ns);
    end = std::max(end, op.end_ns);
  }
  return end - begin;
}

// One rank's run of one case: spans, then, where asked for, the times of all ops.
class RankRun {
 public:
  RankRun(RankContext& context, const Schedule& schedule)
      : context_(context), schedule_(schedule) {}

  StatusOr<std::string> Run(bool ops, DeviceInfo* device) {
    TP_ASSIGN_OR_RETURN(executor_, context_.MakeExecutor(schedule_));
    if (device != nullptr && context_.rank() == 0) *device = executor_->Device();
    TP_RETURN_IF_ERROR(Fill());
    for (int step = 0; step < kWarmup + kSteps; ++step) {
      TP_RETURN_IF_ERROR(Step());
      if (step >= kWarmup) blob_.Number(SpanNs(executor_->LastStep()));
    }
    if (!ops) return blob_.Take();
    if (!executor_->OpTimesAreFree()) executor_->TimeOps(true);
    for (int step = 0; step < kSteps; ++step) {
      TP_RETURN_IF_ERROR(Step());
      for (const OpRecord& op : executor_->LastStep().ops) blob_.Number(op.end_ns - op.begin_ns);
    }
    return blob_.Take();
  }

 private:
  // Handed over twice, so that all ranks begin the timed step when the one before has ended.
  Status Step() {
    TP_RETURN_IF_ERROR(context_.Barrier());
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    return executor_->Synchronize();
  }

  Status Fill() {
    for (size_t id = 0; id < schedule_.buffers.size(); ++id) {
      const Buffer& buffer = schedule_.buffers[id];
      if (buffer.elements == 0 || buffer.dtype == DType::kInt32) continue;
      Binding whole;
      whole.shape = {buffer.elements};
      whole.dtype = buffer.dtype;
      whole.view = VectorView(static_cast<BufferId>(id), 0, buffer.elements);
      std::vector<std::byte> bytes(buffer.bytes());
      const RandomTensor random(1, id);
      FillLocal(
          whole, [&](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); }, bytes);
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

double CaseTimes::median() const { return Median(us); }

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
  timed.launches = static_cast<int>(std::clamp(2e7 / flops, 2.0, 20.0));
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
      op.reads = {MatrixView(0, 0, shape.m, shape.k, shape.k, 1),
                  MatrixView(1, 0, shape.k, shape.n, shape.n, 1)};
      op.writes = {MatrixView(2, 0, shape.m, shape.n, shape.n, 1)};
      schedule.ops.push_back(std::move(op));
    }
    timed.schedules.push_back(std::move(schedule));
  }
  return timed;
}

TimedCase CollectiveCase(CollectiveKind kind, DType dtype, int64_t elements, int world) {
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
    schedule.buffers = {{"array", dtype, elements, -1}};
    const View whole = VectorView(0, 0, elements);
    const View own = VectorView(0, cut.Offset(rank), cut.Length(rank));
    op.send = kind == CollectiveKind::kAllGather ? own : whole;
    op.receive = kind == CollectiveKind::kReduceScatter ? own : whole;
    op.reads = {op.send};
    op.writes = {op.receive};
    schedule.ops.assign(timed.launches, op);
    timed.schedules.push_back(std::move(schedule));
  }
  return timed;
}

StatusOr<TimedCase> ProgramCase(const Program& program, const Mesh& mesh,
                                const LowerOptions& lower) {
  TimedCase timed;
  TP_ASSIGN_OR_RETURN(timed.schedules, LowerAll(program, mesh, lower));
  return timed;
}

StatusOr<std::vector<CaseTimes>> TimeCases(Backend& backend, int world,
                                           const std::vector<TimedCase>& cases, bool ops,
                                           DeviceInfo* device) {
  std::vector<CaseTimes> times;
  const Status ran = backend.Run(world, [&](RankContext& context) -> Status {
    for (const TimedCase& timed : cases) {
      RankRun run(context, timed.schedules[context.rank()]);
      TP_ASSIGN_OR_RETURN(std::string blob, run.Run(ops, device));
      TP_ASSIGN_OR_RETURN(const std::vector<std::string> blobs,
                          context.GatherToRoot(std::move(blob)));
      if (context.rank() != 0) continue;
      CaseTimes& all = times.emplace_back();
      all.us.assign(kSteps, 0);
      for (size_t rank = 0; rank < blobs.size(); ++rank) {
        BlobReader reader(blobs[rank]);
        for (double& us : all.us) {
          us = std::max(us, static_cast<double>(reader.Int()) / 1e3 / timed.launches);
        }
        if (!ops || rank != 0) continue;
        all.ops_us.resize(timed.schedules[0].ops.size());
        for (int step = 0; step < kSteps; ++step) {
          for (auto& op : all.ops_us) op.push_back(static_cast<double>(reader.Int()) / 1e3);
        }
      }
    }
    return OkStatus();
  });
  TP_RETURN_IF_ERROR(ran);
  return times;
}

}  // namespace tp::predict_tool
