// Where a bug gets into a run: between the engine and the CPU backend, from outside of both.
//
// PlantedBackend stands in for the CPU backend. Each rank's schedule, the tensors it is fed and the
// messages between ranks pass through hooks on their way; without hooks nothing changes. It also
// records what each rank really ran, since the engine knows only the schedule that it handed over.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tools/measure/train.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/runtime/backend.h"
#include "tp/schedule/schedule.h"

namespace tp::planted {

// Each may be empty.
struct Hooks {
  // Rewrites a rank's schedule before its executor sees it.
  std::function<void(Schedule&, const Mesh&)> schedule;
  // Changes the part of an input or parameter that a rank takes (`row` and `column` of the binding)
  // or the numbers it takes it from.
  std::function<void(int rank, const Mesh&, Binding&, ElementSource&)> feed;
  // What is fed to the first of these buffers is fed to the second, too.
  std::map<std::string, std::string> also_feed;
  sim::Fabric::WrapEndpoint endpoint;
};

class PlantedBackend final : public Backend {
 public:
  // One of the CPU backend, run by its seeded scheduler. All arguments outlive it.
  PlantedBackend(const Hooks& hooks, const Mesh& mesh,
                 const std::map<std::string, ElementSource>& sources,
                 cpu::CpuBackendOptions options);

  std::string name() const override { return "planted"; }
  std::vector<std::pair<std::string, std::string>> Describe() const override {
    return backend_->Describe();
  }
  Status Check(int world, DType dtype) const override { return backend_->Check(world, dtype); }
  int DefaultTp(int dp) const override { return backend_->DefaultTp(dp); }
  bool IsRoot() const override { return true; }
  Status Run(int world, const std::function<Status(RankContext&)>& body) override;

  // What each rank ran in the last Run: its schedule, and a record of every step.
  const std::vector<RankRecord>& records() const { return records_; }

 private:
  const Hooks& hooks_;
  const Mesh& mesh_;
  const std::map<std::string, ElementSource>& sources_;
  std::unique_ptr<Backend> backend_;
  std::vector<RankRecord> records_;  // each rank writes its own
};

}  // namespace tp::planted
