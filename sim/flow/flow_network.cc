#include "sim/flow/flow_network.h"

#include <glog/logging.h>

#include <algorithm>

namespace tp::sim {

ResourceId FlowNetwork::AddResource(double per_second) {
  CHECK_GT(per_second, 0);
  resources_.emplace_back().per_second = per_second;
  return resources() - 1;
}

void FlowNetwork::Touch(ResourceId id) {
  if (resources_[id].touched) return;
  resources_[id].touched = true;
  touched_.push_back(id);
}

FlowId FlowNetwork::Start(Picos now, const Flow& flow, std::span<const FlowUse> uses) {
  CHECK_GE(now, now_);
  CHECK_GE(flow.amount, 0);
  CHECK_GT(flow.share, 0);
  CHECK_GT(flow.limit, 0);
  CHECK(!uses.empty() || flow.limit < std::numeric_limits<double>::infinity())
      << "a flow without a limit must use a resource";
  now_ = now;
  if (free_.empty()) {
    free_.push_back(static_cast<FlowId>(flows_.size()));
    flows_.emplace_back();
    new_rates_.push_back(0);
  }
  const FlowId id = free_.back();
  free_.pop_back();
  Active& active = flows_[id];
  active.flow = flow;
  active.left = flow.amount;
  active.rate = 0;
  active.since = now;
  active.active = true;
  active.uses.clear();
  for (const FlowUse& use : uses) {
    CHECK_GT(use.per_unit, 0);
    std::vector<Entry>& list = resources_.at(use.resource).flows;
    active.uses.push_back({use.resource, use.per_unit, static_cast<int>(list.size())});
    list.push_back({id, static_cast<int>(active.uses.size()) - 1});
    Touch(use.resource);
  }
  if (uses.empty()) lone_.push_back(id);
  return id;
}

void FlowNetwork::Remove(FlowId id) {
  Active& active = flows_[id];
  for (const Placed& use : active.uses) {
    std::vector<Entry>& list = resources_[use.resource].flows;
    const Entry last = list.back();
    list[use.place] = last;
    flows_[last.flow].uses[last.use].place = use.place;
    list.pop_back();
    Touch(use.resource);
  }
  active.active = false;
  ++active.version;
  free_.push_back(id);
}

// All flows and resources that are joined to `from` by flows and resources.
void FlowNetwork::FindJoined(ResourceId from) {
  joined_flows_.clear();
  joined_resources_.assign(1, from);
  resources_[from].seen = true;
  for (size_t i = 0; i < joined_resources_.size(); ++i) {
    for (const Entry& entry : resources_[joined_resources_[i]].flows) {
      Active& active = flows_[entry.flow];
      if (active.seen) continue;
      active.seen = true;
      joined_flows_.push_back(entry.flow);
      for (const Placed& use : active.uses) {
        Resource& resource = resources_[use.resource];
        if (resource.seen) continue;
        resource.seen = true;
        joined_resources_.push_back(use.resource);
      }
    }
  }
}

void FlowNetwork::Fix(FlowId id, double rate) {
  Active& active = flows_[id];
  active.fixed = true;
  new_rates_[id] = rate;
  for (const Placed& use : active.uses) {
    Resource& resource = resources_[use.resource];
    resource.left = std::max(0.0, resource.left - rate * use.per_unit);
    resource.weight -= active.flow.share * use.per_unit;
    --resource.open;
  }
}

// Progressive filling: all rates grow alike until a resource is full or a flow at its limit; these
// flows are done, the others go on. A resource's level only grows while others are fixed below it,
// so that a heap of levels that may be old finds the least one. For the same reason a level that is
// within its rounding of the last one is the last one: so what is alike ends at one time, and not a
// picosecond apart, one by one.
void FlowNetwork::ShareOut() {
  const auto above = [](const Level& a, const Level& b) {
    return a.level != b.level ? a.level > b.level : a.id > b.id;
  };
  levels_.clear();
  limits_.clear();
  for (ResourceId id : joined_resources_) {
    Resource& resource = resources_[id];
    resource.left = resource.per_second;
    resource.weight = 0;
    resource.open = static_cast<int>(resource.flows.size());
    for (const Entry& entry : resource.flows) {
      const Active& active = flows_[entry.flow];
      resource.weight += active.flow.share * active.uses[entry.use].per_unit;
    }
    if (resource.open > 0) levels_.push_back({resource.left / resource.weight, id});
  }
  std::make_heap(levels_.begin(), levels_.end(), above);
  for (FlowId id : joined_flows_) {
    flows_[id].fixed = false;
    const Flow& flow = flows_[id].flow;
    if (flow.limit < std::numeric_limits<double>::infinity()) {
      limits_.push_back({flow.limit / flow.share, id});
    }
  }
  std::sort(limits_.begin(), limits_.end(), above);  // the least one last
  double last = 0;
  while (!levels_.empty()) {
    const Level least = levels_.front();
    std::pop_heap(levels_.begin(), levels_.end(), above);
    levels_.pop_back();
    Resource& resource = resources_[least.id];
    if (resource.open == 0) continue;
    double level = resource.left / resource.weight;
    // Left and weight were rounded once for each flow that has its rate.
    const double roundings = 2.0 * static_cast<double>(resource.flows.size() + 1);
    if (level < last * (1 + roundings * std::numeric_limits<double>::epsilon())) level = last;
    if (level > least.level && level > last) {
      levels_.push_back({level, least.id});
      std::push_heap(levels_.begin(), levels_.end(), above);
      continue;
    }
    while (!limits_.empty() && flows_[limits_.back().id].fixed) limits_.pop_back();
    if (!limits_.empty() && limits_.back().level <= level) {
      const FlowId id = limits_.back().id;
      Fix(id, flows_[id].flow.limit);
      levels_.push_back(least);
      std::push_heap(levels_.begin(), levels_.end(), above);
      continue;
    }
    last = level;
    for (const Entry& entry : resource.flows) {
      const Active& active = flows_[entry.flow];
      if (!active.fixed) Fix(entry.flow, level * active.flow.share);
    }
  }
}

void FlowNetwork::SetRate(FlowId id, double rate) {
  Active& active = flows_[id];
  if (active.rate == rate) return;
  const auto picos = static_cast<double>(now_ - active.since);
  active.left = std::max(0.0, active.left - active.rate * (picos / kPicosPerSecond));
  active.since = now_;
  active.rate = rate;
  const Picos lasts = DurationOf(active.left, rate);
  const Picos end = lasts == kNever || lasts > kNever - now_ ? kNever : now_ + lasts;
  ends_.Push({end, active.flow.rank, active.flow.number, id | ++active.version << 32});
}

void FlowNetwork::Solve() {
  for (FlowId id : lone_) {
    if (flows_[id].active && flows_[id].rate == 0) SetRate(id, flows_[id].flow.limit);
  }
  lone_.clear();
  for (ResourceId from : touched_) {
    if (resources_[from].seen || resources_[from].flows.empty()) continue;
    FindJoined(from);
    if (joined_flows_.size() == 1) {  // alone, as most messages are
      const Active& active = flows_[joined_flows_[0]];
      double rate = active.flow.limit;
      for (const Placed& use : active.uses) {
        rate = std::min(rate, resources_[use.resource].per_second / use.per_unit);
      }
      SetRate(joined_flows_[0], rate);
    } else {
      ShareOut();
      for (FlowId id : joined_flows_) SetRate(id, new_rates_[id]);
    }
    // Resources stay seen until all that was touched is done.
    for (FlowId id : joined_flows_) flows_[id].seen = false;
    for (ResourceId id : joined_resources_) {
      if (!resources_[id].touched) resources_[id].seen = false;
    }
  }
  for (ResourceId id : touched_) resources_[id].touched = resources_[id].seen = false;
  touched_.clear();
}

void FlowNetwork::DropStale() {
  while (!ends_.empty()) {
    const int64_t what = ends_.top().what;
    const Active& active = flows_[static_cast<FlowId>(what & 0xffffffff)];
    if (active.active && active.version == what >> 32) return;
    ends_.Pop();
  }
}

Picos FlowNetwork::NextEnd() {
  if (!touched_.empty() || !lone_.empty()) Solve();
  DropStale();
  return ends_.empty() ? kNever : ends_.top().at;
}

std::optional<FlowNetwork::Ended> FlowNetwork::PopEnd(Picos now) {
  DropStale();
  if (ends_.empty() || ends_.top().at != now) return std::nullopt;
  const Event event = ends_.top();
  ends_.Pop();
  now_ = now;
  const auto id = static_cast<FlowId>(event.what & 0xffffffff);
  Remove(id);
  return Ended{id, event.rank, event.number};
}

double FlowNetwork::RateOf(FlowId id) {
  CHECK(flows_.at(id).active);
  NextEnd();
  return flows_[id].rate;
}

}  // namespace tp::sim
