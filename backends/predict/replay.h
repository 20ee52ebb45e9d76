// Replay: the steps of ranks, op by op, in virtual time.
//
// Each rank runs the ops of a stream one after the other, as soon as what they wait for has ended.
// A meeting is one collective of one group: it begins when its last member has come, and ends for
// all at one time. While an op runs it uses its device's processors and memory, a meeting those of
// all its members and the links that nodes share: where they are wanted for more than there is,
// all of it slows down alike (sim/flow), so that the cost of overlap emerges. But a meeting takes
// what it wants before other ops do: its kernels stay where they are until it has ended.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/clock/virtual_clock.h"
#include "tp/schedule/schedule.h"

namespace tp::predict {

struct ReplayOp {
  Stream stream = Stream::kCompute;
  std::vector<int> waits;
  double seconds = 0;     // alone; of a meeting its own count
  double bytes = 0;       // of memory that it touches, on this rank
  double processors = 1;  // the part of its device's that it fills; of a meeting the world's
  int meeting = -1;
};

struct SharedUse {
  int shared = 0;         // index
  double per_second = 0;  // that it takes at full speed; of one that stands for many, theirs
};

struct Meeting {
  double seconds = 0;
  int members = 0;  // ranks of the replay that come
  std::vector<SharedUse> uses = {};
  bool copied = false;  // by copy engines: it occupies no processors
};

struct ReplayWorld {
  std::vector<std::vector<ReplayOp>> ranks;
  std::vector<Meeting> meetings;
  std::vector<double> shared;          // what nodes share: units a second
  double memory_bytes_per_second = 1;  // of each device
  double processors_of_meeting = 0;    // the part of a device's that a meeting occupies
};

struct OpTimes {
  sim::Picos begin = 0;  // of a meeting: when this rank came to it
  sim::Picos end = 0;
};

struct Replayed {
  std::vector<std::vector<OpTimes>> ranks;  // by op
  sim::Picos end = 0;                       // of the last one
  int64_t events = 0;
};

// CHECKs that nobody waits for ever.
Replayed Replay(const ReplayWorld& world);

// The same without contention: the longest path through all ops, each taking what it takes alone.
// In seconds.
double ReplayClosed(const ReplayWorld& world);

}  // namespace tp::predict
