#include "tp/schedule/memory.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace tp {
namespace {

// A page, where a buffer fills one: matrix products like it. No two buffers share a line of a
// cache.
constexpr int64_t kPage = kArenaAlignment;
constexpr int64_t kSmallAlignment = 256;

int64_t AlignmentOf(const Buffer& buffer) {
  return buffer.bytes() >= kPage ? kPage : kSmallAlignment;
}

int64_t RoundedUp(int64_t bytes, int64_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

int64_t PlacedBytes(const Buffer& buffer) { return RoundedUp(buffer.bytes(), AlignmentOf(buffer)); }

template <typename Use>
void ForEachUse(const ScheduledOp& op, const Use& use) {
  for (const auto* views : {&op.reads, &op.writes}) {
    for (const View& view : *views) use(view.buffer);
  }
}

}  // namespace

std::vector<MemoryPlanner::Life> MemoryPlanner::LivesOf(const Schedule& schedule, Keep keep) {
  constexpr int kUnused = std::numeric_limits<int>::max();
  Ended everything;
  everything.fill(kUnused);
  std::vector<Life> lives;
  for (const Buffer& buffer : schedule.buffers) {
    lives.push_back({.bytes = PlacedBytes(buffer),
                     .alignment = AlignmentOf(buffer),
                     .for_ever = keep == Keep::kAll,
                     .first = kUnused,
                     .begins = everything});
  }
  for (const Binding& binding : schedule.bindings) lives[binding.view.buffer].for_ever = true;
  StepOrder order(schedule);
  for (int i = 0; i < static_cast<int>(schedule.ops.size()); ++i) {
    order.Add();
    ForEachUse(schedule.ops[i], [&](BufferId buffer) {
      Life& life = lives[buffer];
      life.first = std::min(life.first, i);
      for (size_t s = 0; s < kMostStreams; ++s) {
        life.begins[s] = std::min(life.begins[s], order.EndedBefore(i)[s]);
      }
      Join(life.ends, order.EndedWith(i));
    });
  }
  for (Life& life : lives) life.for_ever = life.for_ever || life.first == kUnused;
  return lives;
}

std::vector<int64_t> MemoryPlanner::OffsetsOf(const std::vector<Life>& lives) {
  std::vector<int64_t> offsets(lives.size());
  int64_t for_ever = 0;
  std::vector<size_t> by_size;
  for (size_t i = 0; i < lives.size(); ++i) {
    if (!lives[i].for_ever) {
      by_size.push_back(i);
      continue;
    }
    offsets[i] = RoundedUp(for_ever, lives[i].alignment);
    for_ever = offsets[i] + lives[i].bytes;
  }
  std::sort(by_size.begin(), by_size.end(), [&](size_t a, size_t b) {
    return std::tuple(-lives[a].bytes, lives[a].first, a) <
           std::tuple(-lives[b].bytes, lives[b].first, b);
  });
  const int64_t bottom = RoundedUp(for_ever, kPage);
  struct Placed {
    int64_t begin, end;
    Ended begins, ends;
  };
  std::vector<Placed> placed;  // by where they begin
  for (size_t i : by_size) {
    const Life& life = lives[i];
    int64_t free = bottom;  // behind all that it may not share with, so far
    int64_t best = -1;
    int64_t best_gap = std::numeric_limits<int64_t>::max();
    for (const Placed& other : placed) {
      if (Covers(life.begins, other.ends) || Covers(other.begins, life.ends)) continue;
      const int64_t gap = other.begin - free;
      if (gap >= life.bytes && gap < best_gap) {
        best = free;
        best_gap = gap;
      }
      free = std::max(free, RoundedUp(other.end, life.alignment));
    }
    offsets[i] = best >= 0 ? best : free;
    const Placed one{offsets[i], offsets[i] + life.bytes, life.begins, life.ends};
    const auto behind =
        std::upper_bound(placed.begin(), placed.end(), one,
                         [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
    placed.insert(behind, one);
  }
  return offsets;
}

void MemoryPlanner::Place(Schedule& schedule, Keep keep) {
  std::vector<Life> lives = LivesOf(schedule, keep);
  auto plan = std::ranges::find(plans_, lives, &Plan::lives);
  if (plan == plans_.end()) {
    std::vector<int64_t> offsets = OffsetsOf(lives);
    plan = plans_.insert(plan, {std::move(lives), std::move(offsets)});
  }
  for (size_t i = 0; i < plan->offsets.size(); ++i) schedule.buffers[i].offset = plan->offsets[i];
}

ArenaLayout ArenaOf(const Schedule& schedule) {
  ArenaLayout arena;
  for (const Buffer& buffer : schedule.buffers) {
    arena.offsets.push_back(buffer.offset);
    if (buffer.offset < 0) continue;
    arena.bytes = std::max(arena.bytes, buffer.offset + PlacedBytes(buffer));
  }
  for (size_t i = 0; i < arena.offsets.size(); ++i) {
    const Buffer& buffer = schedule.buffers[i];
    if (arena.offsets[i] >= 0) continue;
    arena.offsets[i] = RoundedUp(arena.bytes, AlignmentOf(buffer));
    arena.bytes = arena.offsets[i] + PlacedBytes(buffer);
  }
  arena.bytes = RoundedUp(arena.bytes, kPage);
  return arena;
}

int64_t BytesWithoutReuse(const Schedule& schedule) {
  int64_t bytes = 0;
  for (const Buffer& buffer : schedule.buffers) {
    bytes = RoundedUp(bytes, AlignmentOf(buffer)) + PlacedBytes(buffer);
  }
  return RoundedUp(bytes, kPage);
}

int64_t MostLiveBytes(const Schedule& schedule) {
  const int n = static_cast<int>(schedule.ops.size());
  std::vector<int> first(schedule.buffers.size(), n), last(schedule.buffers.size(), -1);
  for (int i = 0; i < n; ++i) {
    ForEachUse(schedule.ops[i], [&](BufferId buffer) {
      first[buffer] = std::min(first[buffer], i);
      last[buffer] = i;
    });
  }
  for (const Binding& binding : schedule.bindings) last[binding.view.buffer] = -1;
  int64_t live = 0;  // for ever, at first
  std::vector<int64_t> change(n + 1);
  for (size_t i = 0; i < schedule.buffers.size(); ++i) {
    const int64_t bytes = schedule.buffers[i].bytes();
    if (last[i] < 0) {
      live += bytes;
    } else {
      change[first[i]] += bytes;
      change[last[i] + 1] -= bytes;
    }
  }
  int64_t most = live;
  for (int64_t each : change) most = std::max(most, live += each);
  return most;
}

}  // namespace tp
