#include "tools/verify/model_invariant.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "tools/train/model_step.h"
#include "tp/core/host_tensor.h"
#include "tp/runtime/session.h"
#include "tp/schedule/lower.h"

namespace tp::verifier {
namespace {

bool SameBits(const HostTensor& a, const HostTensor& b) {
  return std::ranges::equal(a.bytes(), b.bytes());
}

// What the session's ranks hold after the steps.
StatusOr<Tensors> Train(Session& session, const train::ModelStep& step, int steps) {
  for (const std::string& name : session.NamesOf(Role::kParameter)) {
    TP_RETURN_IF_ERROR(session.Write(name, step.sources.at(name)));
  }
  for (const std::string& name : session.NamesOf(Role::kInput)) {
    TP_RETURN_IF_ERROR(session.Feed(name, step.sources.at(name)));
  }
  for (int i = 0; i < steps; ++i) TP_RETURN_IF_ERROR(session.Step());
  std::vector<std::string> names = session.NamesOf(Role::kParameter);
  for (std::string& name : session.NamesOf(Role::kResult)) names.push_back(std::move(name));
  return session.ReadAll(names);
}

StatusOr<Tensors> TrainOver(Backend& backend, const train::ModelOptions& model,
                            const bench::BenchOptions& engine) {
  TP_ASSIGN_OR_RETURN(const Mesh mesh, Mesh::Create(engine.tp, engine.dp));
  TP_ASSIGN_OR_RETURN(train::ModelStep step, train::DrawModelStep(mesh, model, engine));
  TP_ASSIGN_OR_RETURN(const std::vector<Schedule> schedules,
                      LowerAll(step.program, mesh, backend.HowToLower()));
  TP_RETURN_IF_ERROR(train::CheckMemory(engine, model, schedules));
  TP_RETURN_IF_ERROR(train::LoadWeights(backend, mesh, model, step));
  TP_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                      Session::Create(backend, mesh, step.program));
  return Train(*session, step, engine.steps);
}

}  // namespace

StatusOr<InvariantResult> RunModelInvariant(Backend& backend, const train::ModelOptions& model,
                                            const bench::BenchOptions& engine) {
  InvariantResult result = {.compared = "", .runs = {}, .not_run = {}};
  std::optional<Tensors> first;
  const auto run = [&](const bench::BenchOptions& options) -> Status {
    TP_ASSIGN_OR_RETURN(Tensors tensors, TrainOver(backend, model, options));
    InvariantRun& one = result.runs.emplace_back();
    one.tp = options.tp;
    one.different = tensors.replica_defects;
    if (!first) {
      first = std::move(tensors);
      return OkStatus();
    }
    for (const auto& [name, tensor] : tensors.by_name) {
      if (!SameBits(tensor, first->by_name.at(name))) one.different.push_back(name);
    }
    return OkStatus();
  };
  TP_RETURN_IF_ERROR(ForEachTp(backend, engine, result, run));
  if (!first) return result;
  int64_t elements = 0;
  for (const auto& [name, tensor] : first->by_name) elements += tensor.size();
  result.compared = fmt::format("all {} parameters and results ({} numbers) after {} step{}",
                                first->by_name.size(), fmt::group_digits(elements), engine.steps,
                                engine.steps == 1 ? "" : "s");
  return result;
}

}  // namespace tp::verifier
