// A linear step of few whole numbers, which every backend gets exactly, and the same in plain
// loops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/model/plain_step.h"
#include "tp/core/host_tensor.h"
#include "tp/core/mesh.h"
#include "tp/model/linear_step.h"
#include "tp/runtime/session.h"

namespace tp {

inline constexpr int64_t kTokens = 5, kIn = 7, kOut = 4;  // little of that divides

// All that the step makes.
inline constexpr const char* kAllNames[] = {"y", "loss", "dx", "dw", "db", "w", "b"};

LinearStepOptions Options(LinearMode mode);

Mesh MeshOf(int tp, int dp);

// Whole numbers, so that every sum is exact; another batch for every step.
double X(int step, int64_t i);
double Target(int step, int64_t i);
double W(int64_t i);
double B(int64_t i);

std::vector<double> Elements(int64_t count, const ElementSource& source);

// The step on plain loops, before its first step.
Plain PlainStep();
void RunPlain(Plain& plain, int step);

HostTensor Tensor(const Shape& shape, const ElementSource& source, DType dtype = DType::kFloat64);

// x as a tensor and targets element by element: both ways.
Status FeedBatch(Session& session, int step);
Status WriteWeights(Session& session);

std::unique_ptr<Session> MustCreate(Backend& backend, const Mesh& mesh, LinearMode mode);

// Expects that the session holds what the plain step does.
void ExpectSame(Session& session, const Plain& plain, const std::string& name);

void ExpectOk(const Status& status);

}  // namespace tp
