// The shapes and placements that an op is tried with.
#pragma once

#include <string>
#include <vector>

#include "tp/program/letters.h"
#include "tp/program/op_def.h"

namespace tp {

// Operands of these letters: letter number i in order of appearance has size pick[i], from the
// beginning again behind its end; "*" stands for dimensions of the sizes `any`.
inline std::vector<Shape> ShapesFor(const Letters& letters, const std::vector<int64_t>& pick,
                                    const std::vector<int64_t>& any) {
  std::string known;
  std::vector<Shape> shapes;
  for (const std::string& dims : letters.operands()) {
    Shape shape;
    for (char letter : dims) {
      if (letter == '*') {
        shape.insert(shape.end(), any.begin(), any.end());
        continue;
      }
      if (known.find(letter) == std::string::npos) known += letter;
      shape.push_back(pick[known.find(letter) % pick.size()]);
    }
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

// Calls f(on) for every way in which the operands may lie on one axis; `on` is empty at first.
template <typename F>
void ForEachPlacement(const OpDef& def, const Letters& letters, std::vector<Placement>& on,
                      const F& f) {
  const std::vector<std::string> operands = letters.operands();
  if (on.size() == operands.size()) {
    if (letters.Rule(on, def.whole, def.linear, def.reductions)) f(on);
    return;
  }
  std::vector<Placement> choices = {Replicate(), Partial()};
  for (size_t d = 0; d < operands[on.size()].size(); ++d) {
    choices.push_back(Shard(static_cast<int>(d)));
  }
  for (Placement choice : choices) {
    on.push_back(choice);
    ForEachPlacement(def, letters, on, f);
    on.pop_back();
  }
}

}  // namespace tp
