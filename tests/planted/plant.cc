#include "tests/planted/plant.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "tp/runtime/assemble.h"

namespace tp::planted {
namespace {

// What the ranks of a PlantedBackend share.
struct Plant {
  const Hooks& hooks;
  const Mesh& mesh;
  const std::map<std::string, ElementSource>& sources;
};

class PlantedExecutor final : public Executor {
 public:
  // `original` is the schedule that the engine lowered; `record` holds the one that runs.
  PlantedExecutor(const Plant& plant, std::unique_ptr<Executor> executor, const Schedule& original,
                  RankRecord& record)
      : plant_(plant), executor_(std::move(executor)), original_(original), record_(record) {
    seen_.ops.resize(original.ops.size());
  }

  Status Write(BufferId buffer, std::span<const std::byte> bytes) override {
    std::vector<std::byte> image(bytes.begin(), bytes.end());
    for (Binding binding : original_.bindings) {
      const auto source = plant_.sources.find(binding.name);
      if (binding.view.buffer != buffer || source == plant_.sources.end()) continue;
      if (plant_.hooks.feed) {
        ElementSource elements = source->second;
        plant_.hooks.feed(original_.rank, plant_.mesh, binding, elements);
        FillLocal(binding, elements, image);
      }
      const auto also = plant_.hooks.also_feed.find(binding.name);
      if (also == plant_.hooks.also_feed.end()) continue;
      TP_RETURN_IF_ERROR(executor_->Write(BufferNamed(also->second), image));
    }
    return executor_->Write(buffer, image);
  }
  Status Read(BufferId buffer, std::span<std::byte> bytes) override {
    return executor_->Read(buffer, bytes);
  }
  Status Feed(const Region& region, std::span<const std::byte> bytes) override {
    return executor_->Feed(region, bytes);
  }
  Status EnqueueStep(StepKind kind) override { return executor_->EnqueueStep(kind); }
  Status Synchronize() override {
    TP_RETURN_IF_ERROR(executor_->Synchronize());
    record_.steps.push_back(executor_->LastStep());
    record_.op_steps = record_.steps;
    return OkStatus();
  }
  void TimeOps(bool on) override { executor_->TimeOps(on); }
  bool OpTimesAreFree() const override { return true; }
  Status Profile(bool on) override { return executor_->Profile(on); }
  StatusOr<StepRecord> CollectProfile() override { return executor_->CollectProfile(); }
  DeviceInfo Device() const override { return executor_->Device(); }

  // The engine asks by its own schedule's ops, of which the hooks may have left nothing: it gets
  // empty answers, and the true ones are in `record`.
  const StepRecord& LastStep() const override { return seen_; }
  AllocatedMemory Allocated() const override { return executor_->Allocated(); }
  std::string AlgorithmOf(int) const override { return ""; }
  int64_t ExpectedBytes(int) const override { return 0; }

 private:
  BufferId BufferNamed(const std::string& name) const {
    const std::vector<Buffer>& buffers = record_.schedule.buffers;
    const auto found = std::find_if(buffers.begin(), buffers.end(),
                                    [&](const Buffer& buffer) { return buffer.name == name; });
    CHECK(found != buffers.end()) << name;
    return static_cast<BufferId>(found - buffers.begin());
  }

  const Plant& plant_;
  const std::unique_ptr<Executor> executor_;
  const Schedule& original_;
  RankRecord& record_;
  StepRecord seen_;
};

class PlantedRank final : public RankContext {
 public:
  PlantedRank(const Plant& plant, RankContext& context, RankRecord& record)
      : plant_(plant), context_(context), record_(record) {}

  int rank() const override { return context_.rank(); }
  int world() const override { return context_.world(); }
  Status Barrier() override { return context_.Barrier(); }
  StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) override {
    return context_.GatherToRoot(std::move(bytes));
  }
  StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) override {
    return context_.GatherToAll(std::move(bytes));
  }
  Status AwaitOutside(const std::function<void()>& wait) override {
    return context_.AwaitOutside(wait);
  }
  const Clock& clock() const override { return context_.clock(); }

  StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) override {
    record_ = RankRecord();
    record_.schedule = schedule;
    if (plant_.hooks.schedule) plant_.hooks.schedule(record_.schedule, plant_.mesh);
    TP_ASSIGN_OR_RETURN(std::unique_ptr<Executor> executor,
                        context_.MakeExecutor(record_.schedule));
    for (size_t i = 0; i < record_.schedule.ops.size(); ++i) {
      const bool collective = record_.schedule.ops[i].action == Action::kCollective;
      const int index = static_cast<int>(i);
      record_.algorithms.push_back(collective ? executor->AlgorithmOf(index) : "");
      record_.expected_bytes.push_back(collective ? executor->ExpectedBytes(index) : 0);
    }
    return std::unique_ptr<Executor>(
        std::make_unique<PlantedExecutor>(plant_, std::move(executor), schedule, record_));
  }

 private:
  const Plant& plant_;
  RankContext& context_;
  RankRecord& record_;
};

}  // namespace

PlantedBackend::PlantedBackend(const Hooks& hooks, const Mesh& mesh,
                               const std::map<std::string, ElementSource>& sources,
                               cpu::CpuBackendOptions options)
    : hooks_(hooks), mesh_(mesh), sources_(sources) {
  options.scheduler = cpu::SchedulerKind::kSeeded;
  options.lower.keep = Keep::kAll;  // hooks read and write what a plan may have given away
  options.wrap_endpoint = hooks.endpoint;
  backend_ = cpu::MakeCpuBackend(std::move(options));
}

Status PlantedBackend::Run(int world, const std::function<Status(RankContext&)>& body) {
  const Plant plant{hooks_, mesh_, sources_};
  records_.assign(world, RankRecord());
  return backend_->Run(world, [&](RankContext& context) {
    PlantedRank rank(plant, context, records_[context.rank()]);
    return body(rank);
  });
}

}  // namespace tp::planted
