#include "tests/verify/random_alarm.h"

#include <rapidcheck.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/schedule/random_program.h"
#include "tp/core/random.h"
#include "tp/ops/ops.h"
#include "tp/passes/passes.h"
#include "tp/program/typing.h"
#include "tp/verify/observe.h"
#include "tp/verify/op_by_op.h"

namespace tp::verify {
namespace {

// `program` with its sources in another type, and all that follows from it.
Program InType(const Program& program, DType dtype) {
  Program typed = program;
  for (const Op& op : program.ops()) {
    for (size_t i = 0; i < op.outputs.size(); ++i) {
      DType& type = typed.mutable_value(op.outputs[i]).dtype;
      if (op.IsSource()) {
        type = dtype;
      } else if (op.Is(kRedistribute)) {
        type = typed.value(op.inputs[0]).dtype;
      } else {
        const auto outputs = InferOutputs(typed, op);
        RC_PRE(outputs.ok());  // a loss, which is wide, meets what is narrow
        type = (*outputs)[i].dtype;
      }
    }
  }
  typed.ReplaceOps(typed.ops());  // what ranks ask of it at one time must not be made then
  return typed;
}

// Elements of all sizes that the type has, so that some underflow.
std::map<std::string, std::function<double(int64_t)>> DrawSources(const Program& program) {
  std::map<std::string, std::function<double(int64_t)>> sources;
  const auto seed = *rc::gen::inRange<uint64_t>(0, 1000);
  uint64_t stream = 0;
  for (const Op& op : program.ops()) {
    if (!op.IsSource()) continue;
    const RandomTensor random(seed, stream++);
    const int exponent = *rc::gen::weightedElement<int>({{6, 0}, {1, -9}, {1, 5}});
    const bool integers = *rc::gen::weightedElement<bool>({{3, false}, {1, true}});
    sources[program.value(op.outputs[0]).name] = [=](int64_t i) {
      const double uniform = random.Uniform(static_cast<uint64_t>(i));
      return integers ? std::round(3 * uniform) : std::ldexp(uniform, exponent);
    };
  }
  return sources;
}

void Hold(const AlarmSubject& subject, const Program& program, const Mesh& mesh, DType dtype) {
  const bool invariant = program.sum_order() == SumOrder::kInvariant;
  const auto sources = DrawSources(program);
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
  if (report->outcome() == Outcome::kFail) RC_FAIL(ToString(*report));
}

}  // namespace

void ExpectNoAlarm(const AlarmSubject& subject, const Mesh& mesh) {
  RandomProgram random = DrawProgram({.ops = 40, .products = 8});
  const DType dtype =
      *rc::gen::elementOf(std::vector<DType>(std::begin(kAllDTypes), std::end(kAllDTypes)));
  Program program = InType(random.program, dtype);
  RC_PRE(Verify(program).ok());
  Program invariant = program;
  invariant.set_sum_order(SumOrder::kInvariant);
  const bool blocked =
      *rc::gen::arbitrary<bool>() && Verify(invariant).ok() && tp::SplitsIntoBlocks(mesh);
  if (blocked) program = std::move(invariant);
  if (*rc::gen::arbitrary<bool>()) Optimize(program, mesh);
  RC_CLASSIFY(blocked, "invariant");
  RC_LOG() << ToString(program) << Describe(mesh) << "\n";
  Hold(subject, program, mesh, dtype);
}

}  // namespace tp::verify
