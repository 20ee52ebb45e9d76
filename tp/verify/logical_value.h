// LogicalValue: a value of a Program as the ranks held it in one step, without their number.
//
// Shards are put together and replicas are one. What is Partial stays apart in its shares, whole
// tensors that add up to the value: their sum may be no number of the element type, and their sizes
// say what rounding may have taken.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"

namespace tp::verify {

struct LogicalValue {
  // One where the value is Partial on no axis; else one for each place on the axes where it is.
  std::vector<HostTensor> shares;

  int64_t size() const { return shares[0].size(); }
  bool partial() const { return shares.size() > 1; }

  // The value of an element, summed in double.
  double At(int64_t index) const {
    double sum = 0;
    for (const HostTensor& share : shares) sum += share.At(index);
    return sum;
  }
  // The sum of the absolute values of its shares.
  double SizeAt(int64_t index) const {
    double sum = 0;
    for (const HostTensor& share : shares) sum += std::abs(share.At(index));
    return sum;
  }
};

// By value of the Program; nothing where it was not read.
struct ObservedValues {
  std::vector<std::optional<LogicalValue>> values;
  // By value: of ranks that should hold the same elements and do not; empty otherwise.
  std::vector<std::vector<std::string>> replica_defects;
};

}  // namespace tp::verify
