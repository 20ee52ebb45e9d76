// What a rank brings back of its profiled steps, and how that travels to rank 0.
//
// Beside the step's record it holds what the rank's own thread did: it came to the barrier, left
// it, handed the step over and saw it end. All times are nanoseconds of the record's clock; the
// ranks of one host share the host's, those of two hosts do not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tp/runtime/blob.h"
#include "tp/runtime/executor.h"

namespace tp {

struct ProfiledStep {
  int64_t number = 0;  // whole steps that the rank had run before it
  int64_t arrived_ns = 0;
  int64_t released_ns = 0;      // of the barrier that comes before every step
  int64_t handed_over_ns = 0;   // EnqueueStep returned
  int64_t synchronized_ns = 0;  // Synchronize returned
  StepRecord record;
};

struct RankProfile {
  std::string host;
  int64_t process = 0;
  DeviceInfo device;
  std::vector<ProfiledStep> steps;
};

// The profile of a rank of this process, without steps.
RankProfile MakeRankProfile(const DeviceInfo& device);

void PackStep(const StepRecord& step, BlobWriter& blob);
StepRecord UnpackStep(BlobReader& blob);

void PackProfile(const RankProfile& profile, BlobWriter& blob);
RankProfile UnpackProfile(BlobReader& blob);

}  // namespace tp
