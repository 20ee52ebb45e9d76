#include "tests/schedule/direct_collective.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace tp {

double Reduced(Reduction reduction, double a, double b) {
  if (reduction == Reduction::kSum) return a + b;
  return std::isnan(a) || std::isnan(b)
             ? std::numeric_limits<double>::quiet_NaN()
             : (reduction == Reduction::kMax ? std::max(a, b) : std::min(a, b));
}

std::vector<double> ReceivedBy(size_t me, const CollectiveCall& call,
                               const std::vector<std::vector<double>>& sent) {
  std::vector<double> received;
  const auto sum = [&](int64_t begin, int64_t count) {
    for (int64_t k = begin; k < begin + count; ++k) {
      received.push_back(sent[0].at(k));
      for (size_t i = 1; i < sent.size(); ++i) {
        received.back() = Reduced(call.reduction, received.back(), sent[i].at(k));
      }
    }
  };
  const auto before = [&](size_t first, size_t last) {  // elements in blocks [first, last)
    return std::accumulate(call.counts.begin() + static_cast<std::ptrdiff_t>(first),
                           call.counts.begin() + static_cast<std::ptrdiff_t>(last), int64_t{0});
  };
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
      sum(0, call.counts[0]);
      return received;
    case CollectiveKind::kAllGather:
      for (const auto& block : sent) received.insert(received.end(), block.begin(), block.end());
      return received;
    case CollectiveKind::kReduceScatter:
      sum(before(0, me), call.counts[me]);
      return received;
    case CollectiveKind::kAllToAll:
      for (size_t from = 0; from < sent.size(); ++from) {
        const size_t row = from * sent.size();
        const int64_t begin = before(row, row + me);
        for (int64_t k = 0; k < call.counts[row + me]; ++k) {
          received.push_back(sent[from].at(begin + k));
        }
      }
      return received;
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kBarrier:
      break;
  }
  LOG(FATAL) << "no redistribute is a " << Name(call.kind);
}

}  // namespace tp
