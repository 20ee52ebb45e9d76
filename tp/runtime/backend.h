// Backend: a place where ranks run. What a new one implements.
//
// Run starts the ranks that live in this process, one body each, and returns when all have ended.
// Where the process is one of several (one process a rank), Run runs its own rank only, and results
// meet on rank 0.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tp/core/clock.h"
#include "tp/core/dtype.h"
#include "tp/core/status.h"
#include "tp/runtime/executor.h"
#include "tp/schedule/lower.h"

namespace tp {

// One rank, as its body sees it. Every call is made by all ranks, in the same order.
class RankContext {
 public:
  virtual ~RankContext() = default;

  virtual int rank() const = 0;
  virtual int world() const = 0;

  virtual StatusOr<std::unique_ptr<Executor>> MakeExecutor(const Schedule& schedule) = 0;

  // Nobody leaves before everybody came. Errors: deadline, abort.
  virtual Status Barrier() = 0;
  // Rank 0 gets everyone's bytes, in rank order; the others get nothing.
  virtual StatusOr<std::vector<std::string>> GatherToRoot(std::string bytes) = 0;
  // Everyone gets everyone's bytes, in rank order.
  virtual StatusOr<std::vector<std::string>> GatherToAll(std::string bytes) = 0;

  // Calls `wait`, which blocks until something comes from outside of the ranks, and returns then:
  // so a rank waits for an order. It has no deadline. Errors: abort.
  virtual Status AwaitOutside(const std::function<void()>& wait) = 0;

  // On which its executors' records are made.
  virtual const Clock& clock() const = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // "sim", "nccl".
  virtual std::string name() const = 0;
  // Facts of the machine for a report's head, as (what, value).
  virtual std::vector<std::pair<std::string, std::string>> Describe() const = 0;

  // The tp that a run with this dp gets where nobody says how many ranks split the layer.
  virtual int DefaultTp(int dp) const = 0;

  // How schedules are to be made for this backend's ranks.
  virtual LowerOptions HowToLower() const { return {}; }

  // An all_gather of which a member sends so many bytes, or more, takes no processors from what
  // runs beside it, for it goes by copy engines, as turns do; 0: each does.
  virtual int64_t CopiedBytes() const { return 0; }

  // Errors: what this backend or machine can't do, before anything is allocated.
  virtual Status Check(int world, DType dtype) const = 0;

  // Whether rank 0, which has the results and prints, lives in this process.
  virtual bool IsRoot() const = 0;

  // Runs `body` on each of this process's ranks at the same time. The first rank to fail aborts all
  // the others; its error, naming the rank, is what Run returns.
  virtual Status Run(int world, const std::function<Status(RankContext&)>& body) = 0;
};

}  // namespace tp
