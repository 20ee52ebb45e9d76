// The GPUs at hand, and worlds of more ranks than these: what only more than two members show must
// show on any machine with a GPU.
#pragma once

namespace tp::nccl {

// How many there are; fails the test where there is none.
int CountGpus();

}  // namespace tp::nccl
