// No false alarm: a random Program on a real backend, as it is or after all passes, held op by op.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/mesh.h"
#include "tp/program/program.h"
#include "tp/runtime/backend.h"
#include "tp/verify/local_reference.h"

namespace tp::verify {

struct AlarmSubject {
  // May draw how it runs.
  std::function<std::unique_ptr<Backend>(SumOrder order)> make;
  // How it computes where elements are of `dtype`.
  std::function<Arithmetic(DType dtype, SumOrder order)> arithmetic;
  // Parts of what it says of Programs that it has no kernel for: those are drawn again.
  std::vector<std::string> refusals = {};
};

// To be called in a RapidCheck property: draws a Program in one of the types and one of the orders
// of sums, runs it on `mesh`, and fails the property where a value is called wrong.
void ExpectNoAlarm(const AlarmSubject& subject, const Mesh& mesh);

}  // namespace tp::verify
