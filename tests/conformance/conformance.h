// Conformance: what every backend must do, as one body of tests.
//
// A backend's own test describes the ways to run on it as Subjects, and instantiates the suites for
// them, as sim_conformance_test.cc does. Nothing else here knows a backend. All ranks must live in
// the test's process.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/runtime/backend.h"

namespace tp::conformance {

using MakeBackend = std::function<std::unique_ptr<Backend>()>;

// One way to run on a backend.
struct Subject {
  std::string name;  // letters, digits and underscores
  MakeBackend make;
  int max_world = 1;
  std::vector<DType> dtypes;
  // Other ways that must give the same bits: another scheduler, say, or another seed of it.
  std::vector<MakeBackend> twins;
  int first_turn = 0;
};

struct Param {
  Subject subject;
  int tp = 1;
  int dp = 1;
  DType dtype = DType::kFloat32;
  // Counts over meshes and types, from where the subject says. What a test has several of and does
  // not need all of at once (shapes, modes, twins) it takes by turn: every mesh and every type
  // meets each, but not each with each other. Faults that take more than two of these to show are
  // rare; Kuhn, Wallace & Gallo, "Software Fault Interactions and Implications for Software
  // Testing", 2004.
  int turn = 0;
};

// For INSTANTIATE_TEST_SUITE_P: "free_tp2_dp3_bf16".
std::string ParamName(const testing::TestParamInfo<Param>& info);

// tp in {1, 2, 3, 4, 5, 8} x dp in {1, 2, 3} x every type, as far as the subject goes.
std::vector<Param> AllParams(const Subject& subject);
// Of those, every mesh with one of the types, by turn.
std::vector<Param> EveryMesh(const Subject& subject);
// Of all, the ones with this type.
std::vector<Param> ParamsOf(const Subject& subject, DType dtype);

// Training steps of a linear layer, in both modes: they agree with the reference and with each
// other in both lanes, move the bytes that their algorithms say, and are the same bits every time.
class LinearStepTest : public testing::TestWithParam<Param> {};

// Every change of placement, alone in a program.
class RedistributeTest : public testing::TestWithParam<Param> {};

}  // namespace tp::conformance
