#include "tools/collectives/run.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "fmt/format.h"
#include "tools/io/interrupt.h"
#include "tools/io/memory.h"
#include "tools/io/table.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/schedule/memory.h"

namespace tp::collective_bench {
namespace {

constexpr std::byte kNaN{0xff};  // a number of such bytes is none in every element type

// What a step took on its rank.
int64_t SpanNs(const StepRecord& step) {
  if (step.ops.empty()) return step.end_ns - step.begin_ns;
  int64_t begin = std::numeric_limits<int64_t>::max();
  int64_t end = std::numeric_limits<int64_t>::min();
  for (const OpRecord& op : step.ops) {
    begin = std::min(begin, op.begin_ns);
    end = std::max(end, op.end_ns);
  }
  return end - begin;
}

// One rank's run of one case, from its schedule to the blob that rank 0 reads.
class RankRun {
 public:
  RankRun(const Case& which, const Mesh& mesh, const Schedule& schedule, RankContext& context)
      : case_(which),
        member_(mesh.Coordinate(context.rank(), Axis::kTp)),
        schedule_(schedule),
        context_(context) {}

  StatusOr<std::string> Run(int warmup, int steps) {
    TP_ASSIGN_OR_RETURN(executor_, context_.MakeExecutor(schedule_));
    TP_RETURN_IF_ERROR(Feed());
    for (int step = 0; step < warmup + steps; ++step) {
      TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
      TP_RETURN_IF_ERROR(Step());
      if (step >= warmup) blob_.Number(SpanNs(executor_->LastStep()));
    }
    TP_RETURN_IF_ERROR(Feed());
    TP_RETURN_IF_ERROR(Step());
    TP_RETURN_IF_ERROR(Check());
    if (!executor_->OpTimesAreFree()) {
      executor_->TimeOps(true);
      TP_RETURN_IF_ERROR(Step());
    }
    int64_t sent = 0;
    for (const OpRecord& op : executor_->LastStep().ops) sent += op.bytes_sent;
    blob_.Number(sent);
    blob_.Number(StatedBytes());
    blob_.Number(static_cast<int64_t>(executor_->LastStep().clock));
    Describe();
    executor_.reset();  // before the others come: the next case's is not beside it
    return blob_.Take();
  }

 private:
  Status Step() {
    TP_RETURN_IF_ERROR(executor_->EnqueueStep(StepKind::kWhole));
    return executor_->Synchronize();
  }

  // Fills every buffer with NaN but for the inputs in it.
  Status Feed() {
    for (size_t id = 0; id < schedule_.buffers.size(); ++id) {
      std::vector<std::byte> image(schedule_.buffers[id].bytes(), kNaN);
      for (int nth = 0; nth < case_.per_step; ++nth) {
        const Binding& in = schedule_.BindingOf(fmt::format("in{}", nth));
        if (in.view.buffer != static_cast<BufferId>(id)) continue;
        FillLocal(
            in, [&](int64_t index) { return Fed(case_, nth, member_, index); }, image);
      }
      TP_RETURN_IF_ERROR(executor_->Write(static_cast<BufferId>(id), image));
    }
    return OkStatus();
  }

  Status Check() {
    int64_t checked = 0, wrong = 0;
    for (int nth = 0; nth < case_.per_step; ++nth) {
      const Binding& out = schedule_.BindingOf(fmt::format("out{}", nth));
      std::vector<std::byte> image(schedule_.buffers[out.view.buffer].bytes());
      TP_RETURN_IF_ERROR(executor_->Read(out.view.buffer, image));
      checked += out.view.size();
      wrong += CountWrong(out, image, [&](int64_t index) { return Expected(case_, nth, index); });
    }
    blob_.Number(checked);
    blob_.Number(wrong);
    return OkStatus();
  }

  // By the collectives' algorithm; of a group's first member for the whole group.
  int64_t StatedBytes() const {
    int64_t stated = 0;
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      const ScheduledOp& op = schedule_.ops[i];
      if (op.action != Action::kCollective || op.group[0] != schedule_.rank) continue;
      stated += executor_->ExpectedBytes(static_cast<int>(i));
    }
    return stated;
  }

  // By the first collective: the others are like it.
  void Describe() {
    for (size_t i = 0; i < schedule_.ops.size(); ++i) {
      const ScheduledOp& op = schedule_.ops[i];
      if (op.action != Action::kCollective) continue;
      blob_.Number(static_cast<int64_t>(op.send.buffer == op.receive.buffer));
      blob_.Text(executor_->AlgorithmOf(static_cast<int>(i)));
      return;
    }
  }

  const Case& case_;
  const int member_;
  const Schedule& schedule_;
  RankContext& context_;
  std::unique_ptr<Executor> executor_;
  BlobWriter blob_;
};

StatusOr<Row> MakeRow(const Case& which, const Mesh& mesh, int steps,
                      const std::vector<std::string>& blobs) {
  Row row;
  row.which = which;
  std::vector<double> slowest_us(steps);
  for (const std::string& text : blobs) {
    BlobReader blob(text);
    for (double& us : slowest_us) {
      us = std::max(us, static_cast<double>(blob.Int()) / 1e3 / which.per_step);
    }
    row.checked += blob.Int();
    row.wrong += blob.Int();
    row.moved_bytes += blob.Int();
    row.algorithm_bytes += blob.Int();
    row.clock = static_cast<ClockKind>(blob.Int());
    row.in_place = blob.Int() != 0;
    row.algorithm = blob.Text();
  }
  row.moved_bytes /= which.per_step;
  row.algorithm_bytes /= which.per_step;
  row.time_us = QuantilesOf(std::move(slowest_us));
  if (row.time_us.median > 0) {
    row.algbw_gbps = static_cast<double>(which.bytes()) / (row.time_us.median * 1e3);
    row.busbw_gbps = row.algbw_gbps * BusBandwidthFactor(which.kind, which.members);
  }
  TP_ASSIGN_OR_RETURN(row.contract_bytes, ContractBytes(which, mesh));
  return row;
}

std::vector<Case> CasesOf(const CollectiveOptions& options) {
  std::vector<Case> cases;
  for (CollectiveKind kind : options.kinds) {
    for (int64_t bytes : options.Sizes()) {
      cases.push_back(
          MakeCase(kind, options.engine.dtype, options.engine.tp, bytes, options.PerStep(bytes)));
    }
  }
  return cases;
}

// One case after the other, and ranks that are alike.
Status CheckMemory(const CollectiveOptions& options, const Mesh& mesh) {
  if (options.engine.backend != "sim") return OkStatus();
  double of_a_rank = 0;
  for (const Case& which : CasesOf(options)) {
    TP_ASSIGN_OR_RETURN(const Schedule schedule, MakeSchedule(which, mesh, /*rank=*/0));
    int64_t image = 0;  // of one buffer at a time, on the host
    for (const Buffer& buffer : schedule.buffers) image = std::max(image, buffer.bytes());
    // An algorithm keeps what it sends on, an array at the most.
    const int64_t bytes = ArenaOf(schedule).bytes + image + which.bytes();
    of_a_rank = std::max(of_a_rank, static_cast<double>(bytes));
  }
  return io::CheckFits((of_a_rank + io::kBytesOfARanksThreads) * mesh.world(),
                       fmt::format("collectives of {} between {} ranks",
                                   io::FormatBytes(options.Sizes().back()), mesh.world()),
                       "take a smaller --max_bytes or --per_step");
}

}  // namespace

bool CollectiveResult::ok() const {
  return std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.ok(); });
}

StatusOr<CollectiveResult> RunCollectives(Backend& backend, const CollectiveOptions& options,
                                          const RunHooks& hooks) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(options.engine.tp, options.engine.dp));
  // First, so that one GPU too few is what a machine with one or none is said to have.
  const int least = std::max(2, mesh.Size(Axis::kTp)) * mesh.Size(Axis::kDp);
  TP_RETURN_IF_ERROR(backend.Check(least, options.engine.dtype));
  TP_RETURN_IF_ERROR(CheckGroup(options));
  TP_RETURN_IF_ERROR(CheckMemory(options, mesh));
  const std::vector<Case> cases = CasesOf(options);
  CollectiveResult result;
  result.host = backend.Describe();
  if (hooks.started && backend.IsRoot()) hooks.started(result);
  io::ProgressStage stage(hooks.progress, "collectives", static_cast<int64_t>(cases.size()));
  io::WriteOnInterrupt guard(result, hooks.interrupted);
  // One world for all cases: to connect GPUs takes longer than to time a collective.
  TP_RETURN_IF_ERROR(backend.Run(mesh.world(), [&](RankContext& context) -> Status {
    for (const Case& which : cases) {
      TP_ASSIGN_OR_RETURN(const Schedule schedule, MakeSchedule(which, mesh, context.rank()));
      RankRun run(which, mesh, schedule, context);
      TP_ASSIGN_OR_RETURN(std::string blob, run.Run(options.engine.warmup, options.engine.steps));
      TP_ASSIGN_OR_RETURN(const std::vector<std::string> blobs,
                          context.GatherToRoot(std::move(blob)));
      if (context.rank() != 0) continue;
      TP_ASSIGN_OR_RETURN(Row row, MakeRow(which, mesh, options.engine.steps, blobs));
      const auto lock = guard.Hold();
      result.rows.push_back(std::move(row));
      if (hooks.row_done) hooks.row_done(result);
      if (hooks.progress != nullptr) {
        hooks.progress->Update(Name(which.kind), static_cast<int64_t>(result.rows.size()));
      }
    }
    return OkStatus();
  }));
  return result;
}

}  // namespace tp::collective_bench
