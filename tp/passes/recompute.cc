#include "tp/passes/recompute.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "tp/passes/clone.h"

namespace tp {
namespace {

// What one block computes, as indices into the program's ops.
struct Block {
  std::vector<int> forward;
};

class Recomputation {
 public:
  explicit Recomputation(Program& program)
      : program_(program), ops_(program.ops()), before_(ops_.size()) {}

  // Notes what is to be computed anew for this block, and where.
  void Add(const Block& block) {
    std::vector<bool> inside(ops_.size());
    for (int op : block.forward) inside[op] = true;
    // From the backward pass to what it reads, and on to what that is made of.
    std::vector<bool> again(ops_.size());
    int first = static_cast<int>(ops_.size());
    for (int op : block.forward) {
      for (ValueId id : ops_[op].outputs) {
        if (IsKept(id, inside)) continue;
        for (int reader : program_.ReadersOf(id)) {
          if (ops_[reader].phase == Phase::kForward) continue;
          again[op] = true;
          first = std::min(first, reader);
        }
      }
    }
    for (auto op = block.forward.rbegin(); op != block.forward.rend(); ++op) {
      if (!again[*op]) continue;
      for (ValueId id : ops_[*op].inputs) {
        const int maker = program_.DefinitionOf(id);
        if (inside[maker] && !IsKept(id, inside)) again[maker] = true;
      }
    }
    for (int op : block.forward) {
      if (again[op]) before_[first].push_back(op);
    }
    for (int op : block.forward) {
      for (ValueId id : ops_[op].outputs) {
        if (again[op] && !IsKept(id, inside)) anew_.insert({id, id});
      }
    }
  }

  void Run() {
    std::vector<Op> ops;
    for (size_t i = 0; i < ops_.size(); ++i) {
      for (int op : before_[i]) {
        ops.push_back(CloneOp(program_, ops_[op], "again.", made_));
        ops.back().phase = Phase::kBackward;
        // What is kept is read where it is.
        for (ValueId id : ops_[op].outputs) {
          if (!anew_.contains(id)) made_.erase(id);
        }
      }
      ops.push_back(ops_[i]);
      if (ops_[i].phase != Phase::kForward) RenameInputs(ops.back(), made_);
    }
    program_.ReplaceOps(std::move(ops));
  }

 private:
  // Whether `id` is there after the forward pass of its block: others read it, or the caller.
  bool IsKept(ValueId id, const std::vector<bool>& inside) const {
    const std::vector<int>& readers = program_.ReadersOf(id);
    return program_.IsResult(id) || std::any_of(readers.begin(), readers.end(), [&](int reader) {
             return ops_[reader].phase == Phase::kForward && !inside[reader];
           });
  }

  Program& program_;
  const std::vector<Op> ops_;             // as they were
  std::vector<std::vector<int>> before_;  // by op: those to run again in front of it
  ValueMap anew_;                         // what is read anew, by itself
  ValueMap made_;                         // what took its place so far
};

// "layers.3" of "layers.3.attention.q"; "" of what is in no block.
std::string BlockOf(const std::string& name, const std::string& scope) {
  if (!name.starts_with(scope + ".")) return "";
  const size_t end = name.find('.', scope.size() + 1);
  return end == std::string::npos ? "" : name.substr(0, end);
}

}  // namespace

Status Recompute(Program& program, const std::string& scope) {
  std::map<std::string, Block> blocks;
  for (size_t i = 0; i < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    if (op.IsSource() || op.phase != Phase::kForward) continue;
    const std::string block = BlockOf(program.value(op.outputs[0]).name, scope);
    if (!block.empty()) blocks[block].forward.push_back(static_cast<int>(i));
  }
  if (blocks.empty()) {
    return InvalidArgument("nothing is recomputed: the program has no blocks called '" + scope +
                           ".0' and so on");
  }
  Recomputation recomputation(program);
  for (const auto& [name, block] : blocks) recomputation.Add(block);
  recomputation.Run();
  return OkStatus();
}

}  // namespace tp
