// A step of a few blocks, as a transformer has them: what passes over blocks and batches are tried
// with.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/runtime/parts.h"

namespace tp {

struct BlocksOptions {
  int64_t batch = 6;  // of one micro-batch
  int pieces = 1;     // micro-batches
  int layers = 3;
  int64_t features = 5, hidden = 7;
  bool recompute = false;
  bool integers = false;  // relu in fp64 and whole numbers, so that all is exact; else silu in fp32
};

// x + act(x up) down, block by block ("layers.i"), the sum of squares against targets, all
// gradients, an update by SGD. Results: "loss" and each parameter's gradient.
Program MakeBlocks(const BlocksOptions& options);

// By name. Row i of a step's whole batch is the same, however many pieces it comes in.
std::map<std::string, ElementSource> SourcesOf(const Program& program,
                                               const BlocksOptions& options);

// All results after a step on the CPU backend, and parameters after it.
std::map<std::string, std::vector<double>> RunStep(const Program& program,
                                                   const BlocksOptions& options, const Mesh& mesh);

}  // namespace tp
