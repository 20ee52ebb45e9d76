// Trainer: a transformer's training run, step by step, in a Session.
//
// What a step takes is a function of the options and the step's number alone, so a run that was cut
// short goes on to the same bits from a checkpoint: parameters, the optimizer's state, and the
// number. Steps are counted from 0, `done` of them are done.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/train/batch.h"
#include "tools/train/options.h"
#include "tools/train/text.h"
#include "tools/train/writer.h"
#include "tp/core/clock.h"
#include "tp/core/mesh.h"
#include "tp/core/status.h"
#include "tp/data/batches.h"
#include "tp/huggingface/config.h"
#include "tp/model/transformer.h"
#include "tp/optim/learning_rate.h"
#include "tp/runtime/backend.h"
#include "tp/runtime/session.h"

namespace tp::train {

struct StepMetrics {
  int64_t step = 0;  // from 1: how many are done
  double loss = 0;   // nats a token, before the step
  double norm = 0;   // of all gradients, before they are scaled down
  double rate = 0;
  double seconds = 0;
  // Of fp16: what the next step's loss is scaled by, 0 elsewhere; and whether this one's gradients
  // left the range, so that it changed no parameter.
  double loss_scale = 0;
  bool skipped = false;
};

// What the step's program is made from.
TransformerStepOptions StepOptions(const TrainOptions& options);

// The programs of a run, each of which has memory of its own on every rank: the step; the loss of
// held-out text; and where a sample is asked for, a token of it. Errors: sizes that the model
// cannot have.
StatusOr<std::vector<Program>> MakePrograms(const TransformerConfig& config,
                                            const TrainOptions& options, const Mesh& mesh);

class Trainer {
 public:
  // All arguments but the options outlive it. The parameters have no values yet. Errors: sizes that
  // the model cannot have, a text too short for one sequence; the backend's.
  static StatusOr<std::unique_ptr<Trainer>> Create(Backend& backend, const Mesh& mesh,
                                                   const hf::ModelConfig& config,
                                                   const TrainOptions& options, const Text& text);

  // The values that training begins with: drawn by the seed, or from a folder in Hugging Face's
  // layout.
  Status Initialize();
  Status InitializeFrom(const std::string& folder);
  // To and from a checkpoint of this run, in that layout too, with how many steps are done. Errors
  // of Load: those of a folder that is no checkpoint; INVALID_ARGUMENT for one of a run whose steps
  // took other batches, or computed in another type, or with masters where these have none.
  Status Save(const std::string& folder);
  Status Load(const std::string& folder);

  int64_t done() const { return done_; }
  // Errors: FAILED_PRECONDITION where the loss, or the norm of gradients that no scale brings back
  // into range, is no number any more.
  StatusOr<StepMetrics> Step();

  // Nats a token of the held-out text; none where it has no whole sequence.
  StatusOr<std::optional<double>> HeldOutLoss();

  // `count` tokens behind `prompt`, as Writer says. The options ask for a sample.
  StatusOr<std::vector<int32_t>> Write(std::vector<int32_t> prompt, int64_t count,
                                       double temperature);

 private:
  Trainer(const hf::ModelConfig& config, const TrainOptions& options, const Text& text,
          const BatchOrder& order, const BatchOptions& batches)
      : config_(config), options_(options), text_(text), order_(order), batches_(batches) {}

  // Feeds the batch and the scalars of step `step`.
  Status FeedStep(int64_t step);
  // Feeds a micro-batch, of which each token that counts has `weight`.
  Status FeedRows(Session& session, int piece, const Rows& rows, double weight);
  Status FeedScalar(const char* name, double value);

  const hf::ModelConfig config_;
  const TrainOptions options_;
  const Text& text_;
  const BatchOrder order_;
  const BatchOptions batches_;
  LearningRate rate_;
  AdamWOptions adamw_;
  std::unique_ptr<Session> step_, forward_;
  std::optional<Writer> writer_;
  int64_t done_ = 0;
  int64_t fed_ = -1;  // the step whose inputs are fed
  // Whether a step was done that left 1, the least, for the next one to scale the loss by.
  bool least_scale_ = false;
};

}  // namespace tp::train
