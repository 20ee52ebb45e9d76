// Sessions on GPUs: what is fed while steps run is what each step reads, bit by bit, as a graph and
// op by op; and what one mesh saves another loads.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/backends/nccl/gpus.h"
#include "tests/backends/nccl/small_step.h"
#include "tp/runtime/session.h"

namespace tp::nccl {
namespace {

constexpr int kSteps = 6;

std::unique_ptr<Session> MustCreate(Backend& backend, int tp, int dp,
                                    const LinearStepOptions& step) {
  const Mesh mesh = *Mesh::Create(tp, dp);
  return Must(Session::Create(backend, mesh, MustMakeStep(step, mesh)));
}

// Another one for each step, and the same for all of them.
ElementSource Batch(const std::string& name, int step) {
  const RandomTensor random(100 + step, name == "x" ? 0 : 1);
  return [random](int64_t i) { return random.Uniform(static_cast<uint64_t>(i)); };
}

void FeedBatch(Session& session, int step) {
  for (const char* name : {"x", "targets"}) Must(session.Feed(name, Batch(name, step)));
}

void WriteWeights(Session& session) {
  for (const char* name : {"w", "b"}) Must(session.Write(name, Sources().at(name)));
}

std::map<std::string, std::vector<double>> ReadEverything(Session& session) {
  std::map<std::string, std::vector<double>> values;
  for (const char* name : {"y", "loss", "dx", "dw", "db", "w", "b"}) {
    values[name] = Must(session.Read(name)).ToDoubles();
  }
  return values;
}

// Whether somebody waits for each step before the next batch is fed.
std::map<std::string, std::vector<double>> TrainOnBatches(const Options& options, int tp, int dp,
                                                          const LinearStepOptions& step,
                                                          bool wait) {
  const auto backend = MustMakeBackend(options);
  const auto session = MustCreate(*backend, tp, dp, step);
  WriteWeights(*session);
  for (int i = 0; i < kSteps; ++i) {
    if (i != 3) FeedBatch(*session, i);  // the batch before once more
    Must(session->Step());
    if (wait) Must(session->Wait());
  }
  return ReadEverything(*session);
}

TEST(GpuSession, WhatIsFedWhileStepsRunIsWhatTheyRead) {
  for (LinearMode mode : {LinearMode::kRow, LinearMode::kColumn}) {
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      for (auto [tp, dp] : {std::pair(1, 1), std::pair(2, 1), std::pair(1, 2), std::pair(2, 2)}) {
        for (bool graph : {true, false}) {
          Options options;
          options.share_gpus = true;
          options.gemm_search = false;
          options.graph = graph;
          EXPECT_EQ(TrainOnBatches(options, tp, dp, Small(mode, dtype), false),
                    TrainOnBatches(options, tp, dp, Small(mode, dtype), true))
              << fmt::format("{} {} tp {} dp {} graph {}", Name(mode), Name(dtype), tp, dp, graph);
        }
      }
    }
  }
}

// The same numbers as when they are written before the first step.
TEST(GpuSession, FeedingIsNoOtherStep) {
  for (auto [tp, dp] : {std::pair(2, 1), std::pair(1, 2)}) {
    Options options;
    options.share_gpus = true;
    options.gemm_search = false;
    const LinearStepOptions step = Small(LinearMode::kColumn, DType::kFloat32);
    const TrainResult trained = MustTrain(options, tp, dp, step);
    const auto backend = MustMakeBackend(options);
    const auto session = MustCreate(*backend, tp, dp, step);
    WriteWeights(*session);
    const TrainOptions steps = Short();
    for (int i = 0; i < steps.warmup + steps.steps; ++i) {
      for (const char* name : {"x", "targets"}) Must(session->Feed(name, Sources().at(name)));
      Must(session->Step());
    }
    for (const auto& [name, tensor] : trained.last) {
      EXPECT_EQ(session->Read(name)->ToDoubles(), tensor.ToDoubles()) << name;
    }
  }
}

TEST(GpuSession, AnyMeshLoadsWhatAnotherSaved) {
  const std::string folder = std::filesystem::path(testing::TempDir()) / "gpu_checkpoint";
  std::filesystem::remove_all(folder);
  const LinearStepOptions step = Small(LinearMode::kRow, DType::kBFloat16);
  const auto backend = MustMakeBackend({.share_gpus = true});
  std::vector<double> w;
  {
    const auto session = MustCreate(*backend, 4, 1, step);
    WriteWeights(*session);
    FeedBatch(*session, 0);
    Must(session->Step());
    w = session->Read("w")->ToDoubles();
    Must(session->Save(folder));
  }
  for (auto [tp, dp] : {std::pair(3, 2), std::pair(1, 1)}) {
    const auto session = MustCreate(*backend, tp, dp, step);
    Must(session->Load(folder));
    EXPECT_EQ(session->Read("w")->ToDoubles(), w);
  }
  std::filesystem::remove_all(folder);
}

TEST(GpuSession, AFailedRankEndsEveryCallWithItsName) {
  const int world = std::min(2, CountGpus());
  const auto backend = MustMakeBackend({});
  const auto session = MustCreate(*backend, world, 1, Small(LinearMode::kColumn, DType::kFloat32));
  WriteWeights(*session);
  FeedBatch(*session, 0);
  const int last = world - 1;
  const Status failed = session->OnEachRank([&](LocalRank& rank) {
    return rank.context.rank() == last ? InvalidArgument("no more") : OkStatus();
  });
  for (const Status& status : {failed, session->Step(), session->Wait(),
                               session->Feed("x", Batch("x", 0)), session->Read("w").status()}) {
    EXPECT_EQ(status.ToString(), "INVALID_ARGUMENT: rank " + std::to_string(last) + ": no more");
  }
}

}  // namespace
}  // namespace tp::nccl
