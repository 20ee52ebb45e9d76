#include "tests/verify/random_alarm.h"

#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/schedule/random_program.h"
#include "tp/core/random.h"
#include "tp/ops/ops.h"
#include "tp/passes/passes.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp::verify {
namespace {

// Elements of all sizes that the type has, so that some underflow; where not all make sense, those
// that were drawn.
Sources DrawSources(const RandomProgram& random) {
  Sources sources = random.sources;
  const auto seed = *rc::gen::inRange<uint64_t>(0, 1000);
  uint64_t stream = 0;
  for (auto& [name, source] : sources) {
    if (random.fixed.contains(name)) continue;
    const RandomTensor tensor(seed, stream++);
    const int exponent = *rc::gen::weightedElement<int>({{6, 0}, {1, -9}, {1, 5}});
    const bool integers = *rc::gen::weightedElement<bool>({{3, false}, {1, true}});
    source = [=](int64_t i) {
      const double uniform = tensor.Uniform(static_cast<uint64_t>(i));
      return integers ? std::round(3 * uniform) : std::ldexp(uniform, exponent);
    };
  }
  return sources;
}

// Whether what is called wrong is no number, made of numbers beyond what the type has: what a mask
// leaves out may be multiplied by 0, and infinity by 0 is no number.
bool IsOfInfinity(const OpReport& wrong, const Program& program, const ObservedValues& observed) {
  return std::isnan(wrong.worst_observed) &&
         std::ranges::any_of(program.ops()[wrong.op].inputs, [&](ValueId id) {
           const std::optional<LogicalValue>& value = observed.values[id];
           for (int64_t i = 0; value && i < value->size(); ++i) {
             if (!std::isfinite(value->At(i))) return true;
           }
           return false;
         });
}

void Hold(const AlarmSubject& subject, const Program& program, const Sources& sources,
          const Mesh& mesh, DType dtype) {
  const bool invariant = program.sum_order() == SumOrder::kInvariant;
  const auto backend = subject.make(program.sum_order());
  const int before = *rc::gen::inRange(0, 2);
  RC_LOG() << "step " << before << "\n";
  const auto observed = Observe(*backend, mesh, program, sources, {.steps_before = before});
  const std::string error = observed.status().message();
  // The invariant order takes what is one matrix product with one sum: others have no tree.
  RC_PRE(!invariant || error.find("the invariant order of sums takes") == std::string::npos);
  for (const std::string& refusal : subject.refusals) {
    RC_PRE(error.find(refusal) == std::string::npos);
  }
  RC_ASSERT(observed.status().ToString() == "OK");
  OpByOpOptions options;
  options.arithmetic = subject.arithmetic(dtype, program.sum_order());
  options.max_points = *rc::gen::element(0x1p20, 100.0);  // some are sampled
  const auto report = VerifyOpByOp(program, mesh, *observed, options);
  RC_ASSERT(report.status().ToString() == "OK");
  RC_CLASSIFY(report->outcome() == Outcome::kUndecided, "undecided");
  RC_CLASSIFY(report->worst_ratio() > 0.5, "a bound is more than half used");
  for (const OpReport& value : report->values) {
    if (value.outcome() != Outcome::kFail) continue;
    const bool of_infinity = IsOfInfinity(value, program, *observed);
    RC_CLASSIFY(of_infinity, "no number, of infinity");
    if (!of_infinity) RC_FAIL(ToString(*report));
  }
}

}  // namespace

void ExpectNoAlarm(const AlarmSubject& subject, const Mesh& mesh) {
  const DType dtype =
      *rc::gen::elementOf(std::vector<DType>(std::begin(kAllDTypes), std::end(kAllDTypes)));
  const RandomProgram random =
      DrawProgram({.ops = 40, .products = 8, .dtype = dtype, .exact = false});
  Program program = random.program;
  Program invariant = program;
  invariant.set_sum_order(SumOrder::kInvariant);
  const bool blocked =
      *rc::gen::arbitrary<bool>() && Verify(invariant).ok() && tp::SplitsIntoBlocks(mesh);
  if (blocked) program = std::move(invariant);
  if (*rc::gen::arbitrary<bool>()) Optimize(program, mesh);
  RC_CLASSIFY(blocked, "invariant");
  RC_LOG() << ToString(program) << Describe(mesh) << "\n";
  Hold(subject, program, DrawSources(random), mesh, dtype);
}

}  // namespace tp::verify
