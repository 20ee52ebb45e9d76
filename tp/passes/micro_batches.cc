#include "tp/passes/micro_batches.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "tp/ops/ops.h"
#include "tp/passes/clone.h"

namespace tp {
namespace {

constexpr std::string_view kPrefix = "micro.";

// `sum` and `part`, under the name that `sum` had.
StatusOr<ValueId> AddTo(Program& program, Phase phase, ValueId sum, ValueId part) {
  const std::string name = program.value(sum).name;
  program.Rename(sum, program.FreeName(name + ".part"));
  return AddOp(program, phase, name, kAdd, {sum, part});
}

}  // namespace

std::string MicroBatchName(const std::string& name, int piece) {
  return piece == 0 ? name : std::string(kPrefix) + std::to_string(piece) + "." + name;
}

int PieceOf(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  const char* begin = name.data() + kPrefix.size();
  int piece = 0;
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), piece);
  const bool ours = error == std::errc() && end != name.data() + name.size() && *end == '.';
  return ours ? std::max(piece, 0) : 0;
}

StatusOr<std::vector<ValueId>> RepeatAndSum(Program& program, int count,
                                            const std::vector<ValueId>& values) {
  const std::vector<Op> piece = program.ops();
  ValueMap sums;
  for (ValueId id : values) sums[id] = id;
  for (int i = 1; i < count; ++i) {
    ValueMap places;
    for (const Op& op : piece) {
      if (op.Is(kParameter)) continue;
      const Op clone = CloneOp(program, op, MicroBatchName("", i), places);
      program.AddOp(clone);
      for (size_t k = 0; k < op.outputs.size(); ++k) {
        const auto sum = sums.find(op.outputs[k]);
        if (sum == sums.end()) continue;
        TP_ASSIGN_OR_RETURN(sum->second, AddTo(program, op.phase, sum->second, clone.outputs[k]));
      }
    }
  }
  std::vector<ValueId> result;
  for (ValueId id : values) result.push_back(sums.at(id));
  return result;
}

}  // namespace tp
