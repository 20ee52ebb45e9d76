#include "tp/runtime/session.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "tp/core/dtype.h"
#include "tp/core/numbers.h"
#include "tp/core/shape.h"
#include "tp/runtime/assemble.h"
#include "tp/runtime/blob.h"
#include "tp/runtime/checkpoint.h"
#include "tp/runtime/npy_storage.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

std::string_view Name(Role role) {
  constexpr std::string_view kNames[] = {"an input", "a parameter", "a result"};
  return kNames[static_cast<int>(role)];
}

// What to do with a value of this role.
std::string_view UseOf(Role role) {
  constexpr std::string_view kUses[] = {"is fed", "is written and read", "is read"};
  return kUses[static_cast<int>(role)];
}

// What every rank of this process was told, which is the same.
Status Common(const std::vector<Status>& told) {
  const auto error =
      std::find_if(told.begin(), told.end(), [](const Status& s) { return !s.ok(); });
  return error == told.end() ? OkStatus() : *error;
}

StatusOr<std::vector<Schedule>> Compile(const Backend& backend, const Mesh& mesh,
                                        const Program& program) {
  TP_RETURN_IF_ERROR(Verify(program));
  TP_RETURN_IF_ERROR(backend.Check(mesh.world(), program.values()[0].dtype));
  return LowerAll(program, mesh, backend.HowToLower());
}

}  // namespace

Session::Session(std::shared_ptr<World> world, const Mesh& mesh, const Program& program,
                 std::vector<Schedule> schedules)
    : world_(std::move(world)),
      mesh_(mesh),
      program_(program),
      schedules_(std::move(schedules)),
      number_(world_->NewNumber()) {
  for (Role role : {Role::kInput, Role::kParameter}) {
    for (std::string& name : NamesOf(role)) without_value_.insert(std::move(name));
  }
}

StatusOr<std::vector<std::unique_ptr<Session>>> Session::CreateAll(
    Backend& backend, const Mesh& mesh, const std::vector<Program>& programs) {
  std::vector<std::vector<Schedule>> schedules;
  for (const Program& program : programs) {
    TP_ASSIGN_OR_RETURN(std::vector<Schedule> of_ranks, Compile(backend, mesh, program));
    schedules.push_back(std::move(of_ranks));
  }
  TP_ASSIGN_OR_RETURN(const std::shared_ptr<World> world, World::Start(backend, mesh.world()));
  std::vector<std::unique_ptr<Session>> sessions;
  for (size_t i = 0; i < programs.size(); ++i) {
    std::unique_ptr<Session> session(
        new Session(world, mesh, programs[i], std::move(schedules[i])));
    const Session& made = *session;
    TP_RETURN_IF_ERROR(world->Run([&made](LocalRank& rank) -> Status {
      TP_ASSIGN_OR_RETURN(rank.executors[made.number_],
                          rank.context.MakeExecutor(made.ScheduleOn(rank)));
      return OkStatus();
    }));
    sessions.push_back(std::move(session));
  }
  return sessions;
}

StatusOr<std::unique_ptr<Session>> Session::Create(Backend& backend, const Mesh& mesh,
                                                   const Program& program) {
  TP_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Session>> sessions,
                      CreateAll(backend, mesh, {program}));
  return std::move(sessions.front());
}

Session::~Session() {
  // Where the world has ended, the executors have gone with it.
  [[maybe_unused]] const Status ended = world_->Run([this](LocalRank& rank) {
    rank.executors.erase(number_);
    return OkStatus();
  });
}

std::vector<std::string> Session::NamesOf(Role role) const {
  std::vector<std::string> names;
  for (const Binding& binding : schedules_[0].bindings) {
    if (RoleOf(program_, binding) == role) names.push_back(binding.name);
  }
  return names;
}

StatusOr<size_t> Session::Find(const std::string& name, Role role) const {
  const std::vector<Binding>& bindings = schedules_[0].bindings;
  std::string known;
  for (size_t i = 0; i < bindings.size(); ++i) {
    const Role actual = RoleOf(program_, bindings[i]);
    if (actual == role) known += (known.empty() ? "" : ", ") + bindings[i].name;
    if (bindings[i].name != name) continue;
    if (actual == role) return i;
    return InvalidArgument("'" + name + "' is " + std::string(Name(actual)) + ", which " +
                           std::string(UseOf(actual)) + ", and not " + std::string(Name(role)));
  }
  return NotFound("'" + name + "' is not " + std::string(Name(role)) +
                  " of this program; those are: " + (known.empty() ? "none" : known));
}

Status Session::Accepts(size_t binding, const HostTensor& tensor) const {
  const Binding& meant = schedules_[0].bindings[binding];
  if (tensor.shape() != meant.shape || tensor.dtype() != meant.dtype) {
    return InvalidArgument("'" + meant.name + "' is " + std::string(tp::Name(meant.dtype)) + " " +
                           ToString(meant.shape) + ", and not " +
                           std::string(tp::Name(tensor.dtype())) + " " + ToString(tensor.shape()));
  }
  return OkStatus();
}

Status Session::Place(const std::string& name, Role role, const HostTensor* tensor,
                      const Fill& fill) {
  TP_ASSIGN_OR_RETURN(const size_t binding, Find(name, role));
  if (tensor != nullptr) TP_RETURN_IF_ERROR(Accepts(binding, *tensor));
  TP_RETURN_IF_ERROR(world_->Run([&](LocalRank& rank) {
    const Schedule& schedule = ScheduleOn(rank);
    const auto place = role == Role::kInput ? FeedPart : WritePart;
    return place(ExecutorOn(rank), schedule, schedule.bindings[binding], fill);
  }));
  without_value_.erase(name);
  return OkStatus();
}

Status Session::Feed(const std::string& name, const ElementSource& source) {
  return Place(name, Role::kInput, nullptr, FillFrom(source));
}

Status Session::Feed(const std::string& name, const HostTensor& tensor) {
  return Place(name, Role::kInput, &tensor, FillFrom(tensor));
}

Status Session::Write(const std::string& name, const ElementSource& source) {
  TP_RETURN_IF_ERROR(Find(name, Role::kParameter).status());
  if (IsKnownZero(source) && without_value_.contains(name)) {  // as its buffers are
    TP_RETURN_IF_ERROR(world_->Run([](LocalRank&) { return OkStatus(); }));
    without_value_.erase(name);
    return OkStatus();
  }
  return Place(name, Role::kParameter, nullptr, FillFrom(source));
}

Status Session::Write(const std::string& name, const HostTensor& tensor) {
  return Place(name, Role::kParameter, &tensor, FillFrom(tensor));
}

Status Session::CopyParametersFrom(Session& other, const std::set<std::string>& but) {
  CHECK(world_ == other.world_) << "sessions that were not created together";
  std::vector<std::string> names = NamesOf(Role::kParameter);
  std::erase_if(names, [&but](const std::string& name) { return but.contains(name); });
  for (const std::string& name : names) {
    TP_ASSIGN_OR_RETURN(const size_t there, other.Find(name, Role::kParameter));
    const Binding& from = other.schedules_[0].bindings[there];
    const Binding& to = schedules_[0].BindingOf(name);
    if (from.shape == to.shape && from.dtype == to.dtype && from.placements == to.placements) {
      if (!other.without_value_.contains(name)) continue;
      return FailedPrecondition("parameter '" + name + "' has no value that could be copied");
    }
    return InvalidArgument("'" + name + "' is " + std::string(tp::Name(to.dtype)) + " " +
                           ToString(to.shape) + " " + ToString(to.placements) +
                           ", and where it is copied from " + std::string(tp::Name(from.dtype)) +
                           " " + ToString(from.shape) + " " + ToString(from.placements));
  }
  TP_RETURN_IF_ERROR(world_->Run([&](LocalRank& rank) -> Status {
    for (const std::string& name : names) {
      const Schedule& from = other.ScheduleOn(rank);
      TP_ASSIGN_OR_RETURN(const std::vector<std::byte> part,
                          ReadPart(other.ExecutorOn(rank), from, from.BindingOf(name)));
      const Fill fill = [&](const Binding& binding, std::span<std::byte> image) {
        InsertLocal(binding, part, image);
      };
      const Schedule& to = ScheduleOn(rank);
      TP_RETURN_IF_ERROR(WritePart(ExecutorOn(rank), to, to.BindingOf(name), fill));
    }
    return OkStatus();
  }));
  for (const std::string& name : names) without_value_.erase(name);
  return OkStatus();
}

Status Session::Step() {
  if (!without_value_.empty()) {
    const std::string& name = *without_value_.begin();
    const std::vector<std::string> inputs = NamesOf(Role::kInput);
    const bool input = std::find(inputs.begin(), inputs.end(), name) != inputs.end();
    return FailedPrecondition(input ? "input '" + name + "' was never fed; feed it before a step"
                                    : "parameter '" + name +
                                          "' has no value; write or load it before a step");
  }
  return world_->Post([number = number_](LocalRank& rank) {
    return rank.executors.at(number)->EnqueueStep(StepKind::kWhole);
  });
}

Status Session::Wait() {
  return world_->Run([this](LocalRank& rank) { return ExecutorOn(rank).Synchronize(); });
}

StatusOr<Tensors> Session::ReadAll(const std::vector<std::string>& names) {
  const std::vector<Binding>& bindings = schedules_[0].bindings;
  std::vector<size_t> wanted;
  for (const std::string& name : names) {
    const auto found = std::find_if(bindings.begin(), bindings.end(),
                                    [&](const Binding& binding) { return binding.name == name; });
    const bool input = found != bindings.end() && RoleOf(program_, *found) == Role::kInput;
    if (found == bindings.end() || input) return Find(name, Role::kResult).status();
    wanted.push_back(static_cast<size_t>(found - bindings.begin()));
  }
  std::vector<std::string> blobs;  // by rank; rank 0's thread writes it
  TP_RETURN_IF_ERROR(world_->Run([&](LocalRank& rank) -> Status {
    const Schedule& schedule = ScheduleOn(rank);
    BlobWriter blob;
    for (size_t i : wanted) {
      TP_ASSIGN_OR_RETURN(const std::vector<std::byte> part,
                          ReadPart(ExecutorOn(rank), schedule, schedule.bindings[i]));
      blob.Bytes(part);
    }
    TP_ASSIGN_OR_RETURN(std::vector<std::string> gathered, rank.context.GatherToRoot(blob.Take()));
    if (rank.context.rank() == 0) blobs = std::move(gathered);
    return OkStatus();
  }));
  Tensors tensors;
  if (!IsRoot()) return tensors;
  std::vector<BlobReader> readers(blobs.begin(), blobs.end());
  for (size_t i : wanted) {
    std::vector<const Binding*> of_ranks;
    std::vector<std::span<const std::byte>> parts;
    for (size_t rank = 0; rank < schedules_.size(); ++rank) {
      of_ranks.push_back(&schedules_[rank].bindings[i]);
      parts.push_back(readers[rank].Bytes());
    }
    tensors.by_name[bindings[i].name] = Assemble(of_ranks, parts, mesh_, tensors.replica_defects);
  }
  return tensors;
}

StatusOr<HostTensor> Session::Read(const std::string& name) {
  TP_ASSIGN_OR_RETURN(Tensors tensors, ReadAll({name}));
  if (!tensors.replica_defects.empty()) return Internal(tensors.replica_defects[0]);
  return IsRoot() ? std::move(tensors.by_name.at(name)) : HostTensor();
}

Status Session::Save(const std::string& folder) {
  TP_ASSIGN_OR_RETURN(const Storage storage, NpyStorage(program_));
  return Save(folder, storage);
}

Status Session::Save(const std::string& folder, const Storage& storage) {
  for (const std::string& name : NamesOf(Role::kParameter)) {
    if (without_value_.count(name) == 0) continue;
    return FailedPrecondition("parameter '" + name + "' has no value that could be saved");
  }
  TP_RETURN_IF_ERROR(CheckStorage(storage, program_, /*all=*/true));
  std::vector<Status> told(mesh_.world());
  TP_RETURN_IF_ERROR(world_->Run([&](LocalRank& rank) {
    return SaveParts({rank.context, ExecutorOn(rank), ScheduleOn(rank), mesh_}, folder, storage,
                     told[rank.context.rank()]);
  }));
  return Common(told);
}

Status Session::Load(const std::string& folder) {
  return Load(folder, NpyStorageIn(folder, program_));
}

Status Session::Load(const std::string& folder, const StatusOr<Storage>& storage) {
  StatusOr<Storage> sound = storage;
  if (sound.ok()) {
    const Status checked = CheckStorage(*sound, program_, /*all=*/false);
    if (!checked.ok()) sound = checked;
  }
  std::vector<Status> told(mesh_.world());
  TP_RETURN_IF_ERROR(world_->Run([&](LocalRank& rank) {
    return LoadParts({rank.context, ExecutorOn(rank), ScheduleOn(rank), mesh_}, folder, sound,
                     told[rank.context.rank()]);
  }));
  TP_RETURN_IF_ERROR(Common(told));
  for (const StoredTensor& tensor : sound->tensors) without_value_.erase(tensor.parameter);
  return OkStatus();
}

}  // namespace tp
