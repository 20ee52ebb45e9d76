// The table of a collectives run, for people and for programs.
#pragma once

#include <string>

#include "tools/collective_bench/options.h"
#include "tools/collective_bench/run.h"

namespace tp::collective_bench {

// A head, nccl-tests' columns with a row a case, and the verdict.
std::string Render(const CollectiveOptions& options, const CollectiveResult& result);

// `config`, `host`, `results[]` and `ok`; docs/sweeping.md describes each.
std::string ToJson(const CollectiveOptions& options, const CollectiveResult& result);

}  // namespace tp::collective_bench
