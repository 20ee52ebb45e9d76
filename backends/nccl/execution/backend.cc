#include "backends/nccl/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>
#include <utility>

#include "backends/nccl/collectives/peer_collective.h"
#include "backends/nccl/collectives/peer_kernels.h"
#include "backends/nccl/control/launch.h"
#include "backends/nccl/control/local_control.h"
#include "backends/nccl/control/tcp_control.h"
#include "backends/nccl/control/wait.h"
#include "backends/nccl/error.h"
#include "backends/nccl/execution/executor.h"
#include "backends/nccl/execution/rank.h"
#include "tp/core/contain.h"

namespace tp::nccl {
namespace {

// Between two runs the other processes wait for rank 0, which may have results to check and print.
// That it is alive is known all the while.
constexpr std::chrono::hours kBetweenRuns(1);

class NcclRankContext : public RankContext {
 public:
  explicit NcclRankContext(Rank& rank) : rank_(rank) {}

  int rank() const override { return rank_.control().rank(); }
  int world() const override { return rank_.control().world(); }

  StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) override {
    return nccl::MakeExecutor(rank_, schedule);
  }

  Status Barrier() override {
    return Checked(rank_.control().Gather("", Receivers::kEveryone, rank_.options().deadline))
        .status();
  }

  StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) override {
    return Checked(
        rank_.control().Gather(std::move(bytes), Receivers::kRoot, rank_.options().deadline));
  }

  StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) override {
    return Checked(
        rank_.control().Gather(std::move(bytes), Receivers::kEveryone, rank_.options().deadline));
  }

  Status AwaitOutside(const std::function<void()>& wait) override {
    wait();
    return OkStatus();
  }

  const Clock& clock() const override { return HostClock(); }

 private:
  template <typename T>
  StatusOr<T> Checked(StatusOr<T> result) {
    if (!result.ok()) return rank_.Fail(result.status());
    return result;
  }

  Rank& rank_;
};

// One rank's part of a run; what goes wrong is left in `control`.
void RunRank(int device, Control& control, const Options& options,
             const std::function<Status(RankContext&)>& body) {
  StatusOr<std::unique_ptr<Rank>> rank = Rank::Create(device, control, options);
  if (!rank.ok()) {
    AwaitEarlierFailure(control);
    control.Fail(rank.status());
    return;
  }
  NcclRankContext context(**rank);
  const Status status = Contain([&] { return body(context); });
  if (!status.ok()) [[maybe_unused]]
    const Status reported = (*rank)->Fail(status);
}

StatusOr<int> CountDevices() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice) return 0;
  if (error != cudaSuccess) {
    return Unavailable("no GPU can be used: " + FromCuda(error, "cudaGetDeviceCount").message());
  }
  return count;
}

// Of the threads' ranks that share GPUs: the kernels of one collective wait for each other, so all
// of them must have their multiprocessors at the same time, and leave some to the products that
// they wait for.
Status CheckThatTheyFit(int world, int devices) {
  int processors = 0;
  TP_CUDA(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  const int most = processors / kMostPeerBlocks;
  if (world <= devices * most) return OkStatus();
  return Unavailable(fmt::format(
      "tp x dp asks for {} ranks, and of {} GPUs each is shared by no more than {}, since a "
      "collective takes {} of {} multiprocessors for each rank; ask for fewer",
      world, devices, most, kMostPeerBlocks, processors));
}

class NcclBackend : public Backend {
 public:
  NcclBackend(const Options& options, std::optional<LaunchEnvironment> launch)
      : options_(options), launch_(std::move(launch)) {}

  std::string name() const override { return "nccl"; }

  std::vector<std::pair<std::string, std::string>> Describe() const override {
    std::vector<std::pair<std::string, std::string>> facts;
    const StatusOr<int> devices = CountDevices();
    for (int device = 0; devices.ok() && device < *devices; ++device) {
      cudaDeviceProp properties;
      if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) continue;
      facts.emplace_back(
          fmt::format("gpu {}", device),
          fmt::format("{}, {:.0f} GiB, compute capability {}.{}, {} multiprocessors",
                      properties.name, static_cast<double>(properties.totalGlobalMem) / (1 << 30),
                      properties.major, properties.minor, properties.multiProcessorCount));
    }
    int driver = 0, runtime = 0, nccl = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    ncclGetVersion(&nccl);
    const auto dotted = [](int v) { return fmt::format("{}.{}", v / 1000, v % 1000 / 10); };
    facts.emplace_back("cuda", fmt::format("{}, driver for {}", dotted(runtime), dotted(driver)));
    const size_t cublas = cublasLtGetVersion();
    facts.emplace_back("cublaslt",
                       fmt::format("{}.{}.{}", cublas / 10000, cublas % 10000 / 100, cublas % 100));
    facts.emplace_back("nccl",
                       fmt::format("{}.{}.{}", nccl / 10000, nccl % 10000 / 100, nccl % 100));
    facts.emplace_back("processes", launch_ ? fmt::format("one a rank, by {}", launch_->launcher)
                                            : "one, a thread a rank");
    return facts;
  }

  LowerOptions HowToLower() const override { return options_.lower; }

  int64_t CopiedBytes() const override { return LeastCopied(options_.peers); }

  int DefaultTp(int dp) const override {
    const StatusOr<int> devices = CountDevices();
    const int world = launch_ ? launch_->world : devices.ok() ? *devices : 0;
    return std::max(1, world / dp);
  }

  Status Check(int world, DType dtype) const override {
    if (options_.tf32 && dtype != DType::kFloat32) {
      return InvalidArgument(fmt::format("tf32 is a way to multiply fp32, not {}", Name(dtype)));
    }
    TP_ASSIGN_OR_RETURN(const int devices, CountDevices());
    const bool enough = options_.share_gpus && devices > 0;
    if (launch_) {
      if (world != launch_->world) {
        return InvalidArgument(fmt::format("tp x dp asks for {} ranks, and {} started {} processes",
                                           world, launch_->launcher, launch_->world));
      }
      if (launch_->local_rank >= devices && !enough) {
        return Unavailable(fmt::format("process {} is number {} on its machine, which has {} GPUs",
                                       launch_->rank, launch_->local_rank + 1, devices));
      }
      return OkStatus();
    }
    if (world > devices && !enough) {
      return Unavailable(
          fmt::format("tp x dp asks for {} ranks, each a GPU, and this machine has {}; ask for "
                      "fewer, or start one process a rank on several machines",
                      world, devices));
    }
    return world > devices ? CheckThatTheyFit(world, devices) : OkStatus();
  }

  bool IsRoot() const override { return !launch_ || launch_->rank == 0; }

  Status Run(int world, const std::function<Status(RankContext&)>& body) override {
    return launch_ ? RunOwnRank(body) : RunThreads(world, body);
  }

 private:
  int DeviceOf(int local_rank, int devices) const {
    return options_.share_gpus && devices > 0 ? local_rank % devices : local_rank;
  }

  Status RunThreads(int world, const std::function<Status(RankContext&)>& body) {
    TP_ASSIGN_OR_RETURN(const int devices, CountDevices());
    const std::vector<std::unique_ptr<Control>> controls = MakeLocalControls(world);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < world; ++rank) {
      const Status started = Contain([&] {
        threads.emplace_back(
            [&, rank] { RunRank(DeviceOf(rank, devices), *controls[rank], options_, body); });
        return OkStatus();
      });
      if (started.ok()) continue;
      controls[rank]->Fail(started);
      break;
    }
    for (std::thread& thread : threads) thread.join();
    return controls[0]->NamedFailure();
  }

  Status RunOwnRank(const std::function<Status(RankContext&)>& body) {
    if (control_ == nullptr) {
      TP_ASSIGN_OR_RETURN(control_, ConnectTcpControl({launch_->rank, launch_->world, launch_->host,
                                                       launch_->port, options_.deadline}));
    }
    const Status met = control_->Gather("", Receivers::kEveryone, kBetweenRuns).status();
    TP_ASSIGN_OR_RETURN(const int devices, CountDevices());
    if (met.ok()) {
      RunRank(DeviceOf(launch_->local_rank, devices), *control_, options_, body);
    } else {
      control_->Fail(met);
    }
    return control_->NamedFailure();
  }

  const Options options_;
  const std::optional<LaunchEnvironment> launch_;
  std::unique_ptr<Control> control_;  // to the other processes, once connected
};

}  // namespace

StatusOr<std::unique_ptr<Backend>> MakeBackend(const Options& options) {
  TP_ASSIGN_OR_RETURN(std::optional<LaunchEnvironment> launch,
                      ReadLaunchEnvironment([](const char* name) { return std::getenv(name); }));
  return std::unique_ptr<Backend>(std::make_unique<NcclBackend>(options, std::move(launch)));
}

}  // namespace tp::nccl
