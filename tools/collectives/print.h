// The table of a collectives run, for people and for programs.
#pragma once

#include <cstdint>
#include <string>

#include "tools/bench/machine.h"
#include "tools/collectives/options.h"
#include "tools/collectives/run.h"

namespace tp::collective_bench {

// What runs where, and the table's header: nccl-tests' columns.
std::string RenderHead(const CollectiveOptions& options, const bench::Machine& machine,
                       const CollectiveResult& result);

std::string RenderRow(const Row& row);

// Whether the table has the row of the `nth` size of each collective: all of them with --verbose or
// where they are few; else as many sizes as keep the table within a screen, evenly spaced, with the
// largest. A row with something wrong is to be shown in any case.
bool IsShown(const CollectiveOptions& options, int64_t nth);

std::string RenderVerdict(const CollectiveOptions& options, const CollectiveResult& result);

// `config`, `host`, `run`, `complete`, `results[]` and `ok`; docs/sweeping.md describes each.
std::string ToJson(const CollectiveOptions& options, const bench::RunFacts& run,
                   const CollectiveResult& result);

}  // namespace tp::collective_bench
