#include "backends/predict/world.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "tp/schedule/local_part.h"
#include "tp/schedule/memory.h"

namespace tp::predict {
namespace {

// The axes on which something whole becomes a part of a sum: their first ranks have it, and the
// others zeros.
std::vector<Axis> AxesWithAFirst(const Program& program, const Mesh& mesh) {
  std::vector<Axis> axes;
  for (const Axis& axis : mesh.axes()) {
    const bool has = std::ranges::any_of(program.ops(), [&](const Op& op) {
      return op.Is(kRedistribute) && IsPartial(program.value(op.outputs[0]).placements[axis]) &&
             IsReplicate(program.value(op.inputs[0]).placements[axis]);
    });
    if (has) axes.push_back(axis);
  }
  return axes;
}

// A dimension of a value of which not all ranks hold as much: one for each way in which any is cut.
struct UnevenCut {
  const Value* value;
  int dim;
};
std::vector<UnevenCut> UnevenCuts(const Program& program, const Mesh& mesh) {
  std::set<std::pair<int64_t, std::vector<Axis>>> seen;
  std::vector<UnevenCut> cuts;
  for (const Value& value : program.values()) {
    for (int dim = 0; dim < static_cast<int>(value.shape.size()); ++dim) {
      if (value.shape[dim] % GeometryOf(value, dim, mesh).parts() == 0) continue;
      if (seen.emplace(value.shape[dim], value.placements.Cutting(dim)).second) {
        cuts.push_back({&value, dim});
      }
    }
  }
  return cuts;
}

// Numbers ranks by the sizes that they hold, and by whether they are first where that tells ranks
// apart.
std::vector<int> KindsOf(const Program& program, const Mesh& mesh, const sim::Machine& machine) {
  const std::vector<UnevenCut> cuts = UnevenCuts(program, mesh);
  const std::vector<Axis> with_a_first = AxesWithAFirst(program, mesh);
  std::set<int> paired;
  for (const auto& pair : machine.slow_pairs) paired.insert({pair.a, pair.b});
  std::map<std::vector<double>, int> kinds;
  std::vector<int> kind_of_rank;
  for (int rank = 0; rank < mesh.world(); ++rank) {
    std::vector<double> looks;
    for (const Axis& axis : with_a_first) looks.push_back(mesh.Coordinate(rank, axis) == 0);
    for (const auto& [value, dim] : cuts) {
      looks.push_back(static_cast<double>(ExtentOf(*value, dim, mesh, rank).length));
    }
    looks.push_back(machine.SlownessOf(rank));
    looks.push_back(paired.contains(rank) ? rank : -1);
    kind_of_rank.push_back(kinds.try_emplace(looks, static_cast<int>(kinds.size())).first->second);
  }
  return kind_of_rank;
}

// What nodes share, where they do.
struct Shared {
  enum class What { kNothing, kBus, kPort };
  What what = What::kNothing;
  double per_second = 0;
};
Shared SharedOf(const sim::Machine& machine, int world) {
  if (machine.within.kind == sim::WithinSpec::Kind::kBus && machine.devices_per_node > 1) {
    return {Shared::What::kBus, machine.within.bytes_per_second};
  }
  if (machine.between.per == sim::BetweenSpec::Per::kNode && world > machine.devices_per_node) {
    return {Shared::What::kPort, machine.between.bytes_per_second};
  }
  return {};
}

class Builder {
 public:
  Builder(const Program& program, const Mesh& mesh, const CostModel& model, CollectiveTimer& timer,
          const WorldOptions& options)
      : program_(program), mesh_(mesh), model_(model), timer_(timer), options_(options) {}

  Status Build() {
    TP_RETURN_IF_ERROR(MakeFolding());
    const sim::DeviceSpec& device = model_.machine().device;
    world_.memory_bytes_per_second = device.memory_bytes_per_second * device.reached_memory;
    world_.processors_of_meeting = device.collective_processors;
    const int rows = shared_.what == Shared::What::kPort ? 2 : 1;  // out and in
    const auto nodes = static_cast<int>(folding_.colour_of_node.size());
    if (shared_.what != Shared::What::kNothing) {
      int colours = 0;
      for (int colour : folding_.colour_of_node) colours = std::max(colours, colour + 1);
      world_.shared.assign(static_cast<size_t>(colours) * rows, shared_.per_second);
      node_stands_.assign(nodes, false);
      std::set<int> seen;
      for (int n = 0; n < nodes; ++n) {
        node_stands_[n] = seen.insert(folding_.colour_of_node[n]).second;
      }
    }
    TP_RETURN_IF_ERROR(LowerKinds());
    for (int rank : folding_.representatives) AddRank(rank);
    closed_ = world_;
    for (size_t m = 0; m < world_.meetings.size(); ++m) {
      closed_.meetings[m].seconds = closed_seconds_[m];
    }
    return OkStatus();
  }

  Prediction Run() {
    Prediction prediction;
    prediction.closed_seconds = ReplayClosed(closed_);
    // Colours are numbered in the order of the ranks that stand for them.
    prediction.stand_in = folding_.colour_of_rank;
    if (options_.closed) {
      prediction.seconds = prediction.closed_seconds;
      for (PredictedRank& rank : ranks_) {
        prediction.memory_bytes = std::max(prediction.memory_bytes, rank.memory_bytes);
      }
      prediction.ranks = std::move(ranks_);
      return prediction;
    }
    Replayed replayed = Replay(world_);
    prediction.seconds = static_cast<double>(replayed.end) / sim::kPicosPerSecond;
    prediction.events = replayed.events;
    prediction.spread = Spread(prediction.seconds);
    for (size_t i = 0; i < ranks_.size(); ++i) {
      PredictedRank& rank = ranks_[i];
      rank.step.end_ns = (replayed.end + 999) / 1000;
      rank.step.clock = ClockKind::kPredicted;
      for (size_t op = 0; op < replayed.ranks[i].size(); ++op) {
        rank.step.ops[op].begin_ns = replayed.ranks[i][op].begin / 1000;
        rank.step.ops[op].end_ns = replayed.ranks[i][op].end / 1000;
      }
      AddShares(rank, replayed.ranks[i], prediction);
      rank.times = std::move(replayed.ranks[i]);
      prediction.memory_bytes = std::max(prediction.memory_bytes, rank.memory_bytes);
    }
    prediction.ranks = std::move(ranks_);
    return prediction;
  }

 private:
  Status MakeFolding() {
    const sim::Machine& machine = model_.machine();
    shared_ = SharedOf(machine, mesh_.world());
    for (const Axis& axis : mesh_.axes()) {
      for (int rank = 0; rank < mesh_.world(); ++rank) {
        if (mesh_.Coordinate(rank, axis) != 0) continue;
        FoldGroup group = {mesh_.Group(rank, axis), ""};
        group.lie = std::string(Name(axis)) + LieOf(machine, group.ranks);
        for (int member : group.ranks) {
          group_of_[{mesh_.PlaceOf(axis), member}] = static_cast<int>(groups_.size());
        }
        groups_.push_back(std::move(group));
      }
    }
    std::vector<int> nodes;
    if (shared_.what != Shared::What::kNothing) {
      for (int rank = 0; rank < mesh_.world(); ++rank) nodes.push_back(machine.NodeOf(rank));
    }
    if (options_.fold) {
      kinds_ = KindsOf(program_, mesh_, machine);
      folding_ = Fold(kinds_, groups_, nodes);
    } else {
      folding_ = NoFold(mesh_.world(), static_cast<int>(groups_.size()), nodes);
    }
    return OkStatus();
  }

  // One schedule for each kind of the ranks that are replayed.
  Status LowerKinds() {
    std::vector<int> ranks;
    for (int rank : folding_.representatives) {
      if (lowered_.try_emplace(KindOf(rank), ranks.size()).second) ranks.push_back(rank);
    }
    TP_ASSIGN_OR_RETURN(schedules_, LowerRanks(program_, mesh_, ranks, options_.lower));
    return OkStatus();
  }
  int KindOf(int rank) const { return options_.fold ? kinds_[rank] : rank; }

  void AddRank(int rank) {
    const Schedule& schedule = schedules_[lowered_.at(KindOf(rank))];
    const double slowness = model_.machine().SlownessOf(rank);
    std::vector<ReplayOp> ops;
    std::array<int, Mesh::kMostAxes> calls = {};
    PredictedRank predicted;
    for (const ScheduledOp& op : schedule.ops) {
      OpWork work;
      ReplayOp replay = {.stream = op.stream, .waits = op.waits};
      const double handover = HandoverOf(schedule, op);
      OpRecord record;
      if (op.action == Action::kCollective) {
        const int axis = mesh_.PlaceOf(op.axis);
        const int group = group_of_.at({axis, rank});
        const CollectiveCost& cost = timer_.Of(op.call, groups_[group].ranks);
        const auto members = static_cast<int>(groups_[group].ranks.size());
        const double sent = cost.bytes_sent / members;
        replay.meeting = MeetingOf(group, calls[axis]++, cost, handover);
        world_.meetings[replay.meeting].copied = IsCopied(op.call, members, sent);
        record.bytes_sent = static_cast<int64_t>(sent);
        replay.bytes = 2 * sent;  // and received
        Count(cost.source, cost.seconds, cost.spread);
      } else {
        work = WorkOf(program_, schedule, op);
        const Cost cost = CostOf(work);
        replay.seconds = cost.seconds * slowness + handover;
        replay.bytes = work.bytes;
        replay.processors = ProcessorsOf(work, model_.machine().device.multiprocessors);
        Count(cost.source, cost.seconds, cost.spread);
      }
      predicted.step.ops.push_back(record);
      predicted.works.push_back(work);
      ops.push_back(std::move(replay));
    }
    world_.ranks.push_back(std::move(ops));
    predicted.rank = rank;
    predicted.stands_for = folding_.ranks_of_colour[folding_.colour_of_rank[rank]];
    predicted.memory_bytes = ArenaOf(schedule).bytes;
    predicted.schedule = schedule;
    ranks_.push_back(std::move(predicted));
  }

  bool IsCopied(const CollectiveCall& call, int members, double sent) const {
    const double least = model_.machine().device.copied_bytes;
    if (least == 0) return false;
    return TurnOf(call, members) != 0 || (call.kind == CollectiveKind::kAllGather && sent >= least);
  }

  // What it costs that the op waits for one of the other stream.
  double HandoverOf(const Schedule& schedule, const ScheduledOp& op) const {
    const bool waits = std::any_of(op.waits.begin(), op.waits.end(), [&](int wait) {
      return schedule.ops[wait].stream != op.stream;
    });
    return waits ? model_.machine().device.handover_us * 1e-6 : 0;
  }

  // The `nth` collective of the group's colour, made where it is not there yet.
  int MeetingOf(int group, int nth, const CollectiveCost& cost, double handover) {
    const int colour = folding_.colour_of_group[group];
    const auto [found, is_new] =
        meetings_.try_emplace({colour, nth}, static_cast<int>(world_.meetings.size()));
    if (!is_new) return found->second;
    std::set<int> colours;
    for (int rank : groups_[group].ranks) colours.insert(folding_.colour_of_rank[rank]);
    Meeting meeting = {.seconds = cost.seconds, .members = static_cast<int>(colours.size())};
    if (shared_.what != Shared::What::kNothing && cost.seconds > 0) AddUses(colour, cost, meeting);
    meeting.seconds += handover;
    world_.meetings.push_back(std::move(meeting));
    closed_seconds_.push_back(cost.closed_seconds + handover);
    return found->second;
  }

  // What all groups of the colour together take of a node that stands for its colour.
  void AddUses(int colour, const CollectiveCost& cost, Meeting& meeting) {
    const sim::Machine& machine = model_.machine();
    std::map<int, double> uses;
    // One group alone goes at full speed: it never wants more than there is.
    const auto add = [&](int shared, double bytes) {
      uses[shared] += std::min(bytes / cost.seconds, shared_.per_second);
    };
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (folding_.colour_of_group[g] != colour) continue;
      std::set<int> counted;
      int number = 0;
      for (int rank : groups_[g].ranks) {
        const int node = machine.NodeOf(rank);
        if (!counted.insert(node).second) continue;
        const NodeBytes& bytes = cost.nodes[number++];
        if (!node_stands_[node]) continue;
        const int of_node = folding_.colour_of_node[node];
        if (shared_.what == Shared::What::kBus) {
          add(of_node, bytes.bus);
        } else {
          add(2 * of_node, bytes.out);
          add(2 * of_node + 1, bytes.in);
        }
      }
    }
    for (const auto& [shared, per_second] : uses) {
      if (per_second > 0) meeting.uses.push_back({shared, per_second});
    }
  }

  Cost CostOf(const OpWork& work) {
    const auto key = std::tuple(work.action, work.turned, work.dtype, work.loops, work.product,
                                work.flops, work.bytes);
    const auto [found, is_new] = costs_.try_emplace(key);
    if (is_new) found->second.cost = model_.Of(work);
    found->second.seconds += found->second.cost.seconds;
    return found->second.cost;
  }

  void Count(CostSource source, double seconds, double spread) {
    unknown_ = unknown_ || source == CostSource::kPreset;
    if (spread > 0) log_spread_ += seconds * std::log(spread);
    counted_ += seconds;
  }

  double Spread(double seconds) const {
    if (unknown_ || counted_ == 0) return 0;
    if (model_.StepSpread() == 0) return std::exp(log_spread_ / counted_);
    double squares = std::pow(std::log(model_.StepSpread()), 2);
    for (const auto& [key, used] : costs_) {  // all launches of one work err alike
      const double share = used.seconds / static_cast<double>(ranks_.size()) / seconds;
      squares += std::pow(share * std::log(used.cost.spread), 2);
    }
    return std::exp(std::sqrt(squares));
  }

  static void AddShares(const PredictedRank& rank, const std::vector<OpTimes>& times,
                        Prediction& prediction) {
    std::vector<std::pair<sim::Picos, sim::Picos>> computes, meets;
    for (size_t op = 0; op < times.size(); ++op) {
      const bool meets_others = rank.schedule.ops[op].action == Action::kCollective;
      (meets_others ? meets : computes).push_back({times[op].begin, times[op].end});
    }
    std::sort(computes.begin(), computes.end());
    double compute = 0, communication = 0, hidden = 0;
    for (const auto& [begin, end] : computes) compute += static_cast<double>(end - begin);
    for (const auto& [begin, end] : meets) {
      communication += static_cast<double>(end - begin);
      auto at = std::lower_bound(computes.begin(), computes.end(), std::pair(begin, begin));
      if (at != computes.begin()) --at;
      for (; at != computes.end() && at->first < end; ++at) {
        const sim::Picos both = std::min(end, at->second) - std::max(begin, at->first);
        hidden += static_cast<double>(std::max<sim::Picos>(0, both));
      }
    }
    const double weight = rank.stands_for / sim::kPicosPerSecond;
    prediction.compute_seconds += compute * weight;
    prediction.communication_seconds += communication * weight;
    prediction.exposed_seconds += (communication - hidden) * weight;
  }

  const Program& program_;
  const Mesh& mesh_;
  const CostModel& model_;
  CollectiveTimer& timer_;
  const WorldOptions& options_;
  Shared shared_;
  std::vector<FoldGroup> groups_;
  std::map<std::pair<int, int>, int> group_of_;  // by the axis's place and rank
  std::vector<int> kinds_;
  Folding folding_;
  std::vector<bool> node_stands_;
  std::map<int, size_t> lowered_;  // by kind, its schedule
  std::vector<Schedule> schedules_;
  std::map<std::pair<int, int>, int> meetings_;  // by group's colour and number
  struct Used {
    Cost cost;
    double seconds = 0;  // of all launches
  };
  std::map<std::tuple<Action, bool, DType, int64_t, ProductShape, double, double>, Used> costs_;
  std::vector<double> closed_seconds_;
  std::vector<PredictedRank> ranks_;
  ReplayWorld world_, closed_;
  bool unknown_ = false;
  double log_spread_ = 0;
  double counted_ = 0;
};

}  // namespace

StatusOr<Prediction> Predict(const Program& program, const Mesh& mesh, const CostModel& model,
                             CollectiveTimer& timer, const WorldOptions& options) {
  if (mesh.world() > model.machine().devices()) {
    return InvalidArgument("the mesh has " + std::to_string(mesh.world()) + " ranks, and " +
                           model.machine().name + " has " +
                           std::to_string(model.machine().devices()) + " devices");
  }
  Builder builder(program, mesh, model, timer, options);
  TP_RETURN_IF_ERROR(builder.Build());
  Prediction prediction = builder.Run();
  const double world = mesh.world();
  prediction.compute_seconds /= world;
  prediction.communication_seconds /= world;
  prediction.exposed_seconds /= world;
  return prediction;
}

}  // namespace tp::predict
