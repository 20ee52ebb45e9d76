#include "tests/house/include_rules.h"

#include <algorithm>
#include <map>
#include <set>

namespace tp {
namespace {

// What each folder may include beside itself. tools and tests may include everything that lies
// below them.
const std::map<std::string_view, std::set<std::string_view>> kMayInclude = {
    {"tp/core", {}},
    {"tp/io", {"tp/core"}},
    {"tp/program", {"tp/core"}},
    {"tp/ops", {"tp/core", "tp/program"}},
    {"tp/autodiff", {"tp/core", "tp/program", "tp/ops"}},
    {"tp/layers", {"tp/core", "tp/program", "tp/ops"}},
    {"tp/optim", {"tp/core", "tp/program", "tp/ops"}},
    {"tp/passes", {"tp/core", "tp/program", "tp/ops"}},
    {"tp/model",
     {"tp/core", "tp/program", "tp/ops", "tp/autodiff", "tp/layers", "tp/optim", "tp/passes"}},
    {"tp/data", {"tp/core", "tp/io"}},
    {"tp/huggingface", {"tp/core", "tp/io", "tp/program", "tp/model", "tp/runtime"}},
    {"tp/schedule", {"tp/core", "tp/program"}},
    {"tp/runtime", {"tp/core", "tp/program", "tp/schedule"}},
    {"tp/observe", {"tp/core", "tp/program", "tp/schedule", "tp/runtime"}},
    // The verifier's reference shares no code with the layers, so it cannot share their mistakes.
    {"tp/verify", {"tp/core", "tp/program", "tp/schedule", "tp/runtime"}},
    {"sim/clock", {"tp/core"}},
    {"sim/flow", {"tp/core", "sim/clock"}},
    {"sim/topology", {"tp/core", "sim/clock", "sim/flow"}},
    {"sim/fabric", {"tp/core"}},
    {"sim/collectives", {"tp/core", "sim/fabric"}},
    {"sim/timed",
     {"tp/core", "sim/clock", "sim/flow", "sim/topology", "sim/fabric", "sim/collectives"}},
    {"backends/cpu",
     {"tp/core", "tp/program", "tp/schedule", "tp/runtime", "sim/fabric", "sim/collectives"}},
    {"backends/predict",
     {"tp/core", "tp/program", "tp/schedule", "tp/runtime", "sim/clock", "sim/flow", "sim/topology",
      "sim/collectives", "sim/timed"}},
    {"backends/nccl", {"tp/core", "tp/program", "tp/schedule", "tp/runtime"}},
};

// The libraries that belong to one part of the tree, by the start of their headers' names.
struct Library {
  std::string_view prefix;
  std::string_view home;
};
constexpr Library kLibraries[] = {
    {"Eigen/", "backends/cpu"},  {"cblas", "backends/cpu"},   {"cuda", "backends/nccl"},
    {"cublas", "backends/nccl"}, {"nccl", "backends/nccl"},   {"gflags/", "tools"},
    {"cupti", "backends/nccl"},  {"nvtx3/", "backends/nccl"}, {"Random123/", "tp/core"},
    {"gtest/", "tests"},         {"gmock/", "tests"},         {"rapidcheck", "tests"},
    {"cudnn", "backends/nccl"},
};

bool IsIn(std::string_view path, std::string_view folder) {
  return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

bool IsHeader(std::string_view path) { return path.ends_with(".h") || path.ends_with(".cuh"); }

bool IsOurs(std::string_view path) {
  constexpr std::string_view kParts[] = {"tp", "sim", "backends", "tools", "tests"};
  return std::any_of(std::begin(kParts), std::end(kParts),
                     [&](std::string_view part) { return IsIn(path, part); });
}

// "tp/core" of "tp/core/status.h"; files that lie right in tp/, sim/ or backends/ have none.
std::string_view FolderOf(std::string_view path) {
  const size_t first = path.find('/');
  const size_t second = path.find('/', first + 1);
  return second == std::string_view::npos ? path.substr(0, first) : path.substr(0, second);
}

}  // namespace

std::string ObjectionToInclude(std::string_view from, std::string_view included) {
  if (included.starts_with(".")) return "paths begin at the repository's root";
  if (!IsOurs(included)) {
    if (included.starts_with("glog/") && IsHeader(from) && !IsIn(from, "tests")) {
      return "a header hands no CHECK and LOG on to those who include it; only .cc files take glog";
    }
    for (const Library& library : kLibraries) {
      if (!included.starts_with(library.prefix)) continue;
      // A test may use what it tests is made of.
      if (IsIn(from, library.home) || IsIn(from, "tests")) return "";
      return "only " + std::string(library.home) + " includes this library";
    }
    return "";
  }
  if (IsIn(from, "tests")) return "";
  if (IsIn(included, "tests")) return "only tests include tests";
  if (IsIn(from, "tools")) return "";
  const std::string_view folder = FolderOf(from);
  const std::string_view other = FolderOf(included);
  if (folder == other) return "";
  const auto row = kMayInclude.find(folder);
  if (row == kMayInclude.end()) return std::string(folder) + " has no row in the table of folders";
  if (row->second.contains(other)) return "";
  return std::string(folder) + " may not include " + std::string(other);
}

}  // namespace tp
