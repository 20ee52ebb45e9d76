// The table of a collectives run, for people and for programs.
#pragma once

#include <string>

#include "tools/bench/machine.h"
#include "tools/collectives/options.h"
#include "tools/collectives/run.h"

namespace tp::collective_bench {

// What runs where, and the table's header: nccl-tests' columns.
std::string RenderHead(const CollectiveOptions& options, const bench::Machine& machine,
                       const CollectiveResult& result);

std::string RenderRow(const Row& row);

std::string RenderVerdict(const CollectiveOptions& options, const CollectiveResult& result);

// `config`, `host`, `run`, `complete`, `results[]` and `ok`; docs/sweeping.md describes each.
std::string ToJson(const CollectiveOptions& options, const bench::RunFacts& run,
                   const CollectiveResult& result);

}  // namespace tp::collective_bench
