#include "backends/cpu/backend.h"

#include <thread>
#include <utility>
#include <vector>

#include "backends/cpu/executor.h"
#include "backends/cpu/gemm.h"
#include "sim/collectives/communicator.h"

namespace tp::cpu {
namespace {

constexpr uint64_t kWorldGroup = 0;  // executors' groups have larger ids

// What the ranks of one Run share.
struct Shared {
  Shared(sim::Scheduler& scheduler, int world, const CpuBackendOptions& run_options)
      : options(run_options),
        fabric(scheduler, world, run_options.wrap_endpoint),
        gathered(world) {}

  const CpuBackendOptions& options;
  sim::Fabric fabric;
  std::vector<std::string> gathered;  // each rank writes its own, between two barriers
};

class CpuRank final : public RankContext {
 public:
  CpuRank(Shared& shared, int rank) : shared_(shared), rank_(rank) {}

  Status Join() {
    std::vector<int> everyone;
    for (int i = 0; i < world(); ++i) everyone.push_back(i);
    TP_ASSIGN_OR_RETURN(communicator_,
                        sim::Communicator::Create(shared_.fabric, everyone, rank_, kWorldGroup));
    return communicator_->Prepare(barrier_, sim::Algorithm::kAuto);
  }

  int rank() const override { return rank_; }
  int world() const override { return shared_.fabric.world(); }

  StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) override {
    TP_ASSIGN_OR_RETURN(
        std::unique_ptr<CpuExecutor> executor,
        CpuExecutor::Create(shared_.fabric, schedule, shared_.options.all_reduce, executors_made_++,
                            shared_.options.scheduler == SchedulerKind::kFree, clock()));
    return std::unique_ptr<Executor>(std::move(executor));
  }

  Status Barrier() override {
    return communicator_->Run(barrier_, sim::Algorithm::kAuto, nullptr, nullptr);
  }

  StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) override {
    shared_.gathered[rank_] = std::move(bytes);
    TP_RETURN_IF_ERROR(Barrier());
    std::vector<std::string> all;
    if (rank_ == 0) {
      all = std::move(shared_.gathered);
      shared_.gathered.assign(world(), "");
    }
    TP_RETURN_IF_ERROR(Barrier());
    return all;
  }

  StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) override {
    shared_.gathered[rank_] = std::move(bytes);
    TP_RETURN_IF_ERROR(Barrier());
    std::vector<std::string> all = shared_.gathered;
    TP_RETURN_IF_ERROR(Barrier());
    return all;
  }

  Status AwaitOutside(const std::function<void()>& wait) override {
    return shared_.fabric.scheduler().AwaitOutside(wait, {.what = "an order", .rank = rank_});
  }

  const Clock& clock() const override { return *shared_.options.clock; }

 private:
  Shared& shared_;
  const int rank_;
  const CollectiveCall barrier_;  // a CollectiveCall is a barrier unless told otherwise
  std::unique_ptr<sim::Communicator> communicator_;
  int executors_made_ = 0;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(CpuBackendOptions options) : options_(std::move(options)) {}

  std::string name() const override { return "sim"; }

  LowerOptions HowToLower() const override { return options_.lower; }

  std::vector<std::pair<std::string, std::string>> Describe() const override {
    return {{"cores", std::to_string(std::thread::hardware_concurrency())},
            {"gemm", GemmLibrary()},
            {"scheduler", options_.scheduler == SchedulerKind::kFree
                              ? "free"
                              : "seeded, seed " + std::to_string(options_.scheduler_seed)}};
  }

  int DefaultTp(int) const override { return 2; }

  Status Check(int, DType) const override { return OkStatus(); }

  bool IsRoot() const override { return true; }

  Status Run(int world, const std::function<Status(RankContext&)>& body) override {
    const sim::SchedulerOptions scheduler_options{options_.deadline, options_.scheduler_seed};
    std::unique_ptr<sim::Scheduler> scheduler;
    if (options_.scheduler == SchedulerKind::kFree) {
      scheduler = sim::MakeFreeScheduler(scheduler_options);
    } else {
      scheduler = sim::MakeSeededScheduler(scheduler_options);
    }
    TP_RETURN_IF_ERROR(PrepareGemms(world));  // a rank has one product under way
    Shared shared(*scheduler, world, options_);
    std::vector<sim::Agent> agents;
    for (int rank = 0; rank < world; ++rank) {
      agents.push_back({"rank " + std::to_string(rank), rank, [&shared, &body, rank]() -> Status {
                          CpuRank context(shared, rank);
                          TP_RETURN_IF_ERROR(context.Join());
                          return body(context);
                        }});
    }
    return scheduler->Run(std::move(agents));
  }

 private:
  const CpuBackendOptions options_;
};

}  // namespace

std::unique_ptr<Backend> MakeCpuBackend(CpuBackendOptions options) {
  return std::make_unique<CpuBackend>(std::move(options));
}

}  // namespace tp::cpu
