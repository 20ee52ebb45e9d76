// Session: a Program on a backend's ranks, to be fed, stepped, read and saved.
//
//   TP_ASSIGN_OR_RETURN(const auto session, Session::Create(*backend, mesh, program));
//   TP_RETURN_IF_ERROR(session->Write("w", weights));
//   for (const Batch& batch : batches) {
//     TP_RETURN_IF_ERROR(session->Feed("x", batch.x));   // travels while the step before runs
//     TP_RETURN_IF_ERROR(session->Step());
//   }
//   TP_ASSIGN_OR_RETURN(const HostTensor trained, session->Read("w"));
//
// The ranks live as long as the session: threads of this process, or its own rank where there is
// one process a rank. There every process makes the same calls in the same order, none later than
// the backend's deadline, and rank 0's alone gets whole tensors.
//
// Inputs are fed: what Feed brings is read by the next Step and by those after it, until the input
// is fed again; steps that were ordered before are not disturbed. Parameters are written, or
// loaded, and read between steps. What differs from step to step is an input, a scalar one
// (shape {}) too. Tensors are whole ones, global; each rank takes and gives its part.
//
// Errors: INVALID_ARGUMENT and FAILED_PRECONDITION for a call that is wrong, and what a file system
// says: these change nothing, and the session goes on. When a rank fails, all end; from then on
// every call returns what the first one met, with its name. Not thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/parts.h"
#include "tp/runtime/storage.h"
#include "tp/runtime/world.h"
#include "tp/schedule/schedule.h"

namespace tp {

// Whole tensors by name. Of replicas rank 0's side counts; each other that differs in a bit adds a
// line to the defects, "w: rank 1 holds other bits than rank 0, ...".
struct Tensors {
  std::map<std::string, HostTensor> by_name;
  std::vector<std::string> replica_defects;
};

class Session {
 public:
  // Verifies and lowers `program` and allocates its buffers, which are zero; feeds nothing. The
  // backend outlives the session and has no other one meanwhile. Errors: a program that does not
  // verify; the backend's.
  static StatusOr<std::unique_ptr<Session>> Create(Backend& backend, const Mesh& mesh,
                                                   const Program& program);
  // One session a program, over the same ranks.
  static StatusOr<std::vector<std::unique_ptr<Session>>> CreateAll(
      Backend& backend, const Mesh& mesh, const std::vector<Program>& programs);
  // Waits for what was ordered.
  ~Session();

  const Program& program() const { return program_; }
  const Mesh& mesh() const { return mesh_; }
  // By rank.
  const std::vector<Schedule>& schedules() const { return schedules_; }
  bool IsRoot() const { return world_->IsRoot(); }

  // What the next Step reads of an input. Returns when it is copied: the argument is free again. A
  // tensor must have the input's shape and type; a source's elements are rounded. Fed twice before
  // a step, the later one counts.
  Status Feed(const std::string& name, const ElementSource& source);
  Status Feed(const std::string& name, const HostTensor& tensor);

  // Sets a parameter, after the steps that were ordered.
  Status Write(const std::string& name, const ElementSource& source);
  Status Write(const std::string& name, const HostTensor& tensor);

  // Sets every parameter to what the parameter of that name is in `other`, which was created
  // together with this one, after the steps that were ordered there: each rank copies its own part.
  // Those in `but` stay as they are. Errors: NOT_FOUND for one that `other` lacks; INVALID_ARGUMENT
  // for one that is or lies otherwise there.
  Status CopyParametersFrom(Session& other, const std::set<std::string>& but = {});

  // Orders a step and returns. FAILED_PRECONDITION names an input that was never fed, or a
  // parameter that has no value yet.
  Status Step();
  // Until the steps that were ordered have ended.
  Status Wait();

  // A parameter or a result, after the steps that were ordered. Parts that are to be summed are, in
  // fp64. Empty where rank 0 lives in another process. INTERNAL where replicas differ.
  StatusOr<HostTensor> Read(const std::string& name);
  // Several at once, whatever their replicas hold.
  StatusOr<Tensors> ReadAll(const std::vector<std::string>& names);
  // The names of all parameters, or of all results, in the program's order.
  std::vector<std::string> NamesOf(Role role) const;

  // All parameters to, or from, the files of a folder, which all ranks reach: see checkpoint.h. A
  // storage says where they lie in which files; without one each has a .npy file (npy_storage.h).
  // Loading sets those that the storage names; an error instead of a storage is told on every rank.
  Status Save(const std::string& folder);
  Status Save(const std::string& folder, const Storage& storage);
  Status Load(const std::string& folder);
  Status Load(const std::string& folder, const StatusOr<Storage>& storage);

  // For what measures: runs `order` on every rank of this process, in its thread, and waits. All
  // sessions that were created together may be used by it. An error ends the session.
  Status OnEachRank(const World::Order& order) { return world_->Run(order); }
  Executor& ExecutorOn(LocalRank& rank) const { return *rank.executors.at(number_); }
  const Schedule& ScheduleOn(const LocalRank& rank) const {
    return schedules_[rank.context.rank()];
  }

 private:
  Session(std::shared_ptr<World> world, const Mesh& mesh, const Program& program,
          std::vector<Schedule> schedules);
  // Where `name` is among the bindings, which has this role; else an error that says what it is.
  StatusOr<size_t> Find(const std::string& name, Role role) const;
  Status Accepts(size_t binding, const HostTensor& tensor) const;
  // Feeds an input or writes a parameter; `tensor` is where the values come from, or null.
  Status Place(const std::string& name, Role role, const HostTensor* tensor, const Fill& fill);

  const std::shared_ptr<World> world_;
  const Mesh mesh_;
  const Program program_;
  const std::vector<Schedule> schedules_;
  const int number_;
  std::set<std::string> without_value_;  // of the inputs and parameters
};

}  // namespace tp
