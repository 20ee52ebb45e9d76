#include "backends/nccl/profile/kernel_times.h"

#include <algorithm>

namespace tp::nccl {

void CorrectClock(int64_t seen_to_end_ns, KernelsByOp& kernels) {
  int64_t late = 0;
  for (const auto& of_op : kernels) {
    for (const KernelRecord& k : of_op) late = std::max(late, k.end_ns - seen_to_end_ns);
  }
  for (auto& of_op : kernels) {
    for (KernelRecord& k : of_op) {
      k.begin_ns -= late;
      k.end_ns -= late;
    }
  }
}

void CountFromEndOfEarlier(const std::vector<ScheduledOp>& ops, KernelsByOp& kernels) {
  for (Stream stream : AllStreams()) {
    std::vector<KernelRecord*> in_order;
    for (size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].stream != stream) continue;
      for (KernelRecord& k : kernels[i]) in_order.push_back(&k);
    }
    std::stable_sort(
        in_order.begin(), in_order.end(),
        [](const KernelRecord* a, const KernelRecord* b) { return a->begin_ns < b->begin_ns; });
    for (size_t i = 1; i < in_order.size(); ++i) {
      KernelRecord& k = *in_order[i];
      const int64_t earlier_end_ns = in_order[i - 1]->end_ns;
      k.begin_ns = std::max(k.begin_ns, earlier_end_ns);
      k.end_ns = std::max(k.end_ns, k.begin_ns);  // the clock's steps
    }
  }
}

}  // namespace tp::nccl
