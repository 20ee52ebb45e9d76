#include "tests/schedule/interpreter.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <random>

#include "tests/schedule/direct_collective.h"
#include "tp/core/shard_geometry.h"
#include "tp/ops/all.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

constexpr double kPoison = std::numeric_limits<double>::quiet_NaN();

// The terms of a node, counted from the first that the rank holds.
std::pair<int64_t, int64_t> TermsOf(const BlockedSum& sum, size_t node) {
  const ShardGeometry blocks(sum.terms, kSumBlocks);
  const int64_t first = blocks.Offset(sum.nodes[0].begin);
  return {sum.each * (blocks.Offset(sum.nodes[node].begin) - first),
          sum.each * (blocks.Offset(sum.nodes[node].end) - first)};
}

// A sum of `parts` numbers that is `whole`, cut so that no part is like another.
double PartOf(double whole, int64_t index, int part, int parts) {
  const auto cut = [&](int p) { return static_cast<double>((index * 7 + p * 3) % 11 - 5); };
  if (part + 1 < parts) return cut(part);
  for (int p = 0; p + 1 < parts; ++p) whole -= cut(p);
  return whole;
}

// The same where the whole is the greatest of the parts.
double PartOfMax(double whole, int64_t index, int part, int parts) {
  return index % parts == part ? whole : whole - static_cast<double>((index + part) % 3);
}

Reduction ReductionOf(const Placements& placements) {
  for (const auto& [axis, placement] : placements.entries()) {
    if (IsPartial(placement)) return placement.reduction;
  }
  return Reduction::kSum;
}

// The place of a rank among those whose partial values are summed, and their number.
std::pair<int, int> PartialPlace(const Placements& placements, const Mesh& mesh, int rank) {
  std::pair<int, int> place = {0, 1};
  for (const Axis& axis : mesh.axes()) {
    if (!IsPartial(placements[axis])) continue;
    place.first += place.second * mesh.Coordinate(rank, axis);
    place.second *= mesh.Size(axis);
  }
  return place;
}

// Where the matrix of a product's operand begins, at an index of its result's loops.
int64_t MatrixAt(const View& view, const Index& index, int loops) {
  int64_t place = view.offset;
  for (int d = 0; d < loops; ++d) place += index[d] * view.dims[d].stride;
  return place;
}

}  // namespace

Interpreter::Interpreter(const Program& program, const Mesh& mesh, const LowerOptions& options)
    : Interpreter(LowerAll(program, mesh, options).value(), mesh) {}

Interpreter::Interpreter(std::vector<Schedule> schedules, const Mesh& mesh)
    : mesh_(mesh), schedules_(std::move(schedules)) {
  for (const Schedule& schedule : schedules_) {
    Memory memory;
    for (const Buffer& buffer : schedule.buffers) memory.emplace_back(buffer.elements, kPoison);
    memory_.push_back(std::move(memory));
    arenas_.push_back(ArenaOf(schedule));
  }
}

double& Interpreter::At(int rank, BufferId buffer, int64_t place) {
  return memory_[rank][buffer].at(place);
}

std::vector<double> Interpreter::ElementsOf(int rank, const View& view) const {
  std::vector<double> elements;
  ForEachElement(view, [&](const Index&, int64_t place) {
    elements.push_back(memory_[rank][view.buffer].at(place));
  });
  return elements;
}

void Interpreter::Write(int rank, const View& view, const std::vector<double>& elements) {
  CHECK_EQ(static_cast<int64_t>(elements.size()), view.size());
  auto element = elements.begin();
  ForEachElement(view,
                 [&](const Index&, int64_t place) { At(rank, view.buffer, place) = *element++; });
}

void Interpreter::Fill(const Sources& sources) {
  for (const auto& [name, source] : sources) filled_.insert(name);
  for (int rank = 0; rank < mesh_.world(); ++rank) {
    for (const Binding& binding : schedules_[rank].bindings) {
      const auto source = sources.find(binding.name);
      if (source == sources.end()) continue;
      const auto [part, parts] = PartialPlace(binding.placements, mesh_, rank);
      ForEachElement(binding.view, [&, part = part, parts = parts](const Index& index,
                                                                   int64_t place) {
        const int64_t global = binding.GlobalIndex(index);
        const auto cut = ReductionOf(binding.placements) == Reduction::kSum ? PartOf : PartOfMax;
        At(rank, binding.view.buffer, place) = cut(source->second(global), global, part, parts);
      });
    }
  }
}

void Interpreter::PoisonAllButSources() {
  for (int rank = 0; rank < mesh_.world(); ++rank) {
    Memory before = memory_[rank];
    for (auto& buffer : memory_[rank]) std::fill(buffer.begin(), buffer.end(), kPoison);
    for (const Binding& binding : schedules_[rank].bindings) {
      if (!filled_.contains(binding.name)) continue;
      ForEachElement(binding.view, [&](const Index&, int64_t place) {
        At(rank, binding.view.buffer, place) = before[binding.view.buffer][place];
      });
    }
  }
}

// See Contraction: c is begun where the indices of the loops that it sums over are 0.
void Interpreter::Multiply(int rank, const ScheduledOp& op) {
  const View &a = op.reads[0], &b = op.reads[1], &c = op.writes[0];
  const int loops = c.rank() - 2;
  ForEachElement(c, [&](const Index& index, int64_t place) {
    bool begins = true;
    for (int d = 0; d < loops; ++d) begins = begins && (c.dims[d].stride > 0 || index[d] == 0);
    double sum = begins ? 0 : At(rank, c.buffer, place);
    if (begins && op.reads.size() == 3) {
      const View& added = op.reads[2];
      const bool whole = added.rank() == c.rank();
      int64_t from = MatrixAt(added, index, loops);
      if (whole) from += index[loops] * added.dims[loops].stride;
      sum = At(rank, added.buffer,
               from + index[loops + 1] * added.dims[loops + (whole ? 1 : 0)].stride);
    }
    const int64_t row = MatrixAt(a, index, loops) + index[loops] * a.dims[loops].stride;
    const int64_t column = MatrixAt(b, index, loops) + index[loops + 1] * b.dims[loops + 1].stride;
    for (int64_t k = 0; k < a.columns(); ++k) {
      sum += At(rank, a.buffer, row + k * a.dims[loops + 1].stride) *
             At(rank, b.buffer, column + k * b.dims[loops].stride);
    }
    At(rank, c.buffer, place) = sum;
  });
}

// The terms [begin, end) of each element of a product of matrices, or of the sum of one's rows.
std::vector<double> Interpreter::SumTerms(int rank, const ScheduledOp& op, int64_t begin,
                                          int64_t end) const {
  const bool product = op.action == Action::kBlockedGemm;
  const std::vector<double> left = ElementsOf(rank, op.reads[0]);
  const std::vector<double> right = product ? ElementsOf(rank, op.reads[1]) : left;
  const int64_t rows = product ? op.reads[0].rows() : 1;
  const int64_t columns = op.reads[product ? 1 : 0].columns();
  std::vector<double> sums;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      sums.push_back(0);
      for (int64_t k = begin; k < end; ++k) {
        sums.back() +=
            (product ? left.at(i * op.reads[0].columns() + k) : 1) * right.at(k * columns + j);
      }
    }
  }
  return sums;
}

void Interpreter::Compute(int rank, const ScheduledOp& op) {
  if (op.action == Action::kGemm) return Multiply(rank, op);
  if (op.action == Action::kCopy) return Write(rank, op.writes[0], ElementsOf(rank, op.reads[0]));
  if (op.action == Action::kSumRows || op.action == Action::kSumBlocks) {
    return Write(rank, op.writes[0], SumTerms(rank, op, 0, op.reads[0].rows()));
  }
  if (op.action == Action::kBlockedGemm || op.action == Action::kBlockedSumRows) {
    for (size_t node = 0; node < op.writes.size(); ++node) {
      const auto [begin, end] = TermsOf(op.sum, node);
      Write(rank, op.writes[node], SumTerms(rank, op, begin, end));
    }
    return;
  }
  ComputeByReference(rank, op);
}

// What is not of the schedule's own making is as the op's reference says, on this rank's part.
void Interpreter::ComputeByReference(int rank, const ScheduledOp& op) {
  const auto ops = AllOps();
  const auto def = std::find_if(ops.begin(), ops.end(),
                                [&](const OpDef* d) { return d->action() == op.action; });
  CHECK(def != ops.end()) << Name(op.action) << " is no op of one rank";
  std::vector<std::vector<double>> in;
  std::vector<Shape> shapes;
  for (const View& view : op.reads) {
    in.push_back(ElementsOf(rank, view));
    shapes.push_back(SizesOf(view));
  }
  const auto out = EvaluateOp(**def, op.attributes, shapes, in, op.letters);
  for (size_t k = 0; k < op.writes.size(); ++k) Write(rank, op.writes[k], out[k]);
}

void Interpreter::Collective(const std::vector<int>& group,
                             const std::vector<const ScheduledOp*>& ops) {
  std::vector<std::vector<double>> sent;
  for (size_t i = 0; i < group.size(); ++i) {
    const View& send = ops[i]->send;
    const auto& buffer = memory_[group[i]][send.buffer];
    sent.emplace_back();
    for (int64_t k = 0; k < send.size(); ++k) sent.back().push_back(buffer.at(send.offset + k));
  }
  for (size_t i = 0; i < group.size(); ++i) {
    // What it writes beside the result is scratch.
    for (const View& view : ops[i]->writes) {
      Write(group[i], view, std::vector<double>(view.size(), kPoison));
    }
    const View& receive = ops[i]->receive;
    const std::vector<double> received = ReceivedBy(i, ops[i]->call, sent);
    CHECK_EQ(static_cast<int64_t>(received.size()), receive.size()) << ops[i]->name;
    for (int64_t k = 0; k < receive.size(); ++k) {
      memory_[group[i]][receive.buffer].at(receive.offset + k) = received[k];
    }
  }
}

const ScheduledOp* Interpreter::ReadyOp(int rank, Stream stream) const {
  const Progress& progress = progress_[rank];
  const auto s = static_cast<size_t>(stream);
  if (progress.next[s] == progress.queue[s].size()) return nullptr;
  const ScheduledOp& op = schedules_[rank].ops[progress.queue[s][progress.next[s]]];
  for (int wait : op.waits) {
    if (!progress.done[wait]) return nullptr;
  }
  return &op;
}

StatusOr<bool> Interpreter::GroupIsReady(int rank, const ScheduledOp& op) const {
  for (int member : mesh_.Group(rank, op.axis)) {
    const ScheduledOp* other = ReadyOp(member, op.stream);
    if (other == nullptr) return false;
    if (other->action != Action::kCollective || other->axis != op.axis) return false;
    if (!(other->call == op.call) || other->group != op.group) {
      return Internal("rank " + std::to_string(rank) + " calls " + ToString(op.call) +
                      " and rank " + std::to_string(member) + " " + ToString(other->call));
    }
  }
  return true;
}

void Interpreter::EndLives(int rank, const ScheduledOp& op) {
  const Schedule& schedule = schedules_[rank];
  const std::vector<int64_t>& offsets = arenas_[rank].offsets;
  for (const View& view : op.writes) {
    const int64_t width = SizeOf(schedule.buffers[view.buffer].dtype);
    const int64_t begin = offsets[view.buffer] + view.offset * width;
    const int64_t end = offsets[view.buffer] + view.End() * width;
    for (size_t other = 0; begin < end && other < offsets.size(); ++other) {
      if (other == static_cast<size_t>(view.buffer)) continue;
      const int64_t other_width = SizeOf(schedule.buffers[other].dtype);
      auto& elements = memory_[rank][other];
      const auto size = static_cast<int64_t>(elements.size());
      for (int64_t k = std::max<int64_t>(0, (begin - offsets[other]) / other_width);
           k < size && offsets[other] + k * other_width < end; ++k) {
        elements[k] = kPoison;
      }
    }
  }
  for (const auto* views : {&op.reads, &op.writes}) {
    for (const View& view : *views) {
      if (--progress_[rank].uses_left[view.buffer] > 0) continue;
      auto& elements = memory_[rank][view.buffer];
      std::fill(elements.begin(), elements.end(), kPoison);
    }
  }
}

void Interpreter::Finish(int rank, Stream stream) {
  Progress& progress = progress_[rank];
  const auto s = static_cast<size_t>(stream);
  const int op = progress.queue[s][progress.next[s]++];
  progress.done[op] = true;
  EndLives(rank, schedules_[rank].ops[op]);
}

size_t Interpreter::Begin() {
  PoisonAllButSources();
  progress_.assign(mesh_.world(), {});
  size_t total = 0;
  for (int rank = 0; rank < mesh_.world(); ++rank) {
    const auto& ops = schedules_[rank].ops;
    std::vector<int>& uses_left = progress_[rank].uses_left;
    progress_[rank].done.resize(ops.size());
    uses_left.resize(schedules_[rank].buffers.size());
    for (const Binding& binding : schedules_[rank].bindings) ++uses_left[binding.view.buffer];
    for (size_t i = 0; i < ops.size(); ++i) {
      for (const auto* views : {&ops[i].reads, &ops[i].writes}) {
        for (const View& view : *views) ++uses_left[view.buffer];
      }
      progress_[rank].queue[static_cast<size_t>(ops[i].stream)].push_back(static_cast<int>(i));
    }
    total += ops.size();
  }
  return total;
}

StatusOr<Interpreter::Choices> Interpreter::ReadyOps(std::optional<Stream> favoured) const {
  Choices preferred;
  Choices others;
  for (int rank = 0; rank < mesh_.world(); ++rank) {
    for (Stream stream : AllStreams()) {
      const ScheduledOp* op = ReadyOp(rank, stream);
      if (op == nullptr) continue;
      if (op->action == Action::kCollective) {
        TP_ASSIGN_OR_RETURN(const bool all, GroupIsReady(rank, *op));
        if (!all) continue;
      }
      (stream == favoured.value_or(stream) ? preferred : others).emplace_back(rank, stream);
    }
  }
  return preferred.empty() ? others : preferred;
}

Status Interpreter::Step(uint64_t seed) {
  // Of all a mesh may have, and of none.
  std::vector<std::optional<Stream>> favours = {std::nullopt};
  for (size_t i = 0; i <= mesh_.axes().size(); ++i) favours.emplace_back(AllStreams()[i]);
  std::mt19937_64 random(seed);
  for (size_t left = Begin(); left > 0;) {
    TP_ASSIGN_OR_RETURN(const Choices choices, ReadyOps(favours[seed % favours.size()]));
    if (choices.empty()) return Internal("deadlock: no op may run");
    const auto [rank, stream] = choices[random() % choices.size()];
    const ScheduledOp* op = ReadyOp(rank, stream);
    std::vector<int> ranks = {rank};
    if (op->action == Action::kCollective) {
      ranks = op->group;
      std::vector<const ScheduledOp*> ops;
      for (int member : ranks) ops.push_back(ReadyOp(member, stream));
      Collective(ranks, ops);
    } else {
      Compute(rank, *op);
    }
    for (int member : ranks) Finish(member, stream);
    left -= ranks.size();
  }
  return OkStatus();
}

int Interpreter::OriginalOf(const Binding& binding, int rank) const {
  for (const Axis& axis : mesh_.axes()) {
    if (IsReplicate(binding.placements[axis])) rank = mesh_.Group(rank, axis)[0];
  }
  return rank;
}

std::vector<double> Interpreter::Local(std::string_view name, int rank) const {
  return ElementsOf(rank, schedules_[rank].BindingOf(name).view);
}

StatusOr<std::vector<double>> Interpreter::Read(std::string_view name) const {
  const Binding& first = schedules_[0].BindingOf(name);
  std::vector<double> whole(NumElements(first.shape));
  std::vector<int> holders(whole.size());
  for (int rank = 0; rank < mesh_.world(); ++rank) {
    const Binding& binding = schedules_[rank].BindingOf(name);
    const std::vector<double> part = Local(name, rank);
    const int original = OriginalOf(binding, rank);
    if (original != rank) {
      if (part == Local(name, original)) continue;  // which NaNs never are
      return Internal(binding.name + " on rank " + std::to_string(rank) +
                      " is no replica of rank " + std::to_string(original) + "'s");
    }
    auto element = part.begin();
    ForEachElement(binding.view, [&](const Index& index, int64_t) {
      const int64_t global = binding.GlobalIndex(index);
      double& value = whole.at(global);
      value = holders.at(global)++ == 0 ? *element
                                        : Reduced(ReductionOf(binding.placements), value, *element);
      ++element;
    });
  }
  const int expected = PartialPlace(first.placements, mesh_, 0).second;
  for (size_t i = 0; i < whole.size(); ++i) {
    if (holders[i] == expected) continue;
    return Internal("element " + std::to_string(i) + " of " + first.name + " is held " +
                    std::to_string(holders[i]) + " times, not " + std::to_string(expected));
  }
  return whole;
}

}  // namespace tp
