#include "tp/optim/sgd.h"

#include <glog/logging.h>

#include "tp/ops/ops.h"

namespace tp {

Status AddSgd(Program& program, const std::vector<ValueId>& parameters,
              const std::vector<ValueId>& gradients, double learning_rate) {
  CHECK_EQ(parameters.size(), gradients.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    const std::string name = program.value(parameters[i]).name + ".updated";
    StatusOr<ValueId> updated =
        AddSgdUpdate(program, Phase::kOptimizer, name, parameters[i], gradients[i], learning_rate);
    if (!updated.ok()) return updated.status();
  }
  return OkStatus();
}

}  // namespace tp
