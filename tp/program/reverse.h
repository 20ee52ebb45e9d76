// Reverse: what an op's reverse rule sees and does. The reverse pass (tp/autodiff) implements it.
#pragma once

#include <vector>

#include "tp/core/status.h"
#include "tp/program/letters.h"
#include "tp/program/program.h"

namespace tp {

class Reverse {
 public:
  virtual ~Reverse() = default;

  virtual const Attributes& attributes() const = 0;
  virtual const Letters& letters() const = 0;
  virtual ValueId in(size_t i) const = 0;
  virtual ValueId out(size_t i) const = 0;
  virtual const Value& value(ValueId id) const = 0;
  // Whether the gradient starts here: this op's first output is the scalar to be differentiated.
  virtual bool starts() const = 0;
  // The gradient of output `i`. The reverse pass is refused where there is none (the gradient
  // starts here), and where there is one that the rule does not ask for.
  virtual ValueId gradient(size_t i) const = 0;
  // Whether anyone needs the gradient of input `i`; the pass is refused where the rule then gives
  // none.
  virtual bool Needs(size_t i) const = 0;

  // Says that the gradient of input `i` is `gradient`, or the output of this op, which is appended
  // to the Program and gets the gradient's name. Its placement may be any; where it is Partial, the
  // sum is taken when someone needs it.
  virtual Status Give(size_t i, ValueId gradient) = 0;
  virtual Status Give(size_t i, const OpDef& op, std::vector<ValueId> inputs,
                      Attributes attributes) = 0;
  // The same for an op of several outputs: its output k is the gradient of input of[k].
  virtual Status Give(const std::vector<size_t>& of, const OpDef& op, std::vector<ValueId> inputs,
                      Attributes attributes) = 0;
};

}  // namespace tp
