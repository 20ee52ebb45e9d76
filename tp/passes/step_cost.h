// StepCost: about how long each op of a Program takes on one rank, for passes that choose by it.
//
// A simple model: an op takes its launch and the longer of its flops and its bytes at the machine's
// rates; a collective its latency and the bytes that a rank sends, at its link's rate. Both are
// counted from letters, shapes and placements, of the fullest rank. It says which of two orders is
// better, not how long a step takes: that is backends/predict's to say.
#pragma once

#include <cstdint>
#include <vector>

#include "tp/core/mesh.h"
#include "tp/program/program.h"

namespace tp {

struct LinkRates {
  double bytes_per_second = 0;  // that a rank sends
  double latency_seconds = 0;
};

// As an order of magnitude: of an H100 in a node of eight, NVIDIA's data sheet (2024) times the
// part of it that large products and copies are known to reach; links as in sim/topology/presets.
struct MachineRates {
  double flops_per_second = 690e12;
  double memory_bytes_per_second = 2.8e12;
  double launch_seconds = 2.5e-6;
  LinkRates within = {370e9, 0.6e-6};  // between ranks of one node
  LinkRates between = {48e9, 2.7e-6};  // between nodes
  int ranks_per_node = 8;              // neighbours by number
};

struct OpCost {
  // 0: computes. 1 + i: communicates along the mesh's axis number i. -1: takes no time, as a source
  // or a view of other memory does.
  int stream = -1;
  double seconds = 0;

  bool computes() const { return stream == 0; }
  bool communicates() const { return stream > 0; }
};

// By op. The program must verify.
std::vector<OpCost> CostsOf(const Program& program, const Mesh& mesh, const MachineRates& rates);

// The most bytes of values that a rank holds at a time, where the ops run in this order (indices
// into the program's ops), one after the other: sources and results for ever, others from the op
// that writes them to their last reader. What hands on its input's memory counts once.
int64_t BytesHeld(const Program& program, const Mesh& mesh, const std::vector<int>& order);

}  // namespace tp
