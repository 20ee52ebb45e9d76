// Writer: a model that goes on with a text, one token a step, with a cache of keys and values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/model/transformer.h"
#include "tp/runtime/session.h"

namespace tp::train {

struct WriteOptions {
  int64_t count = 1;       // tokens
  double temperature = 0;  // 0: always the most likely token
  uint64_t seed = 0;       // of those that are drawn
};

class Writer {
 public:
  // `session` is of MakeTransformerDecode's program, for one sequence of up to `sequence` tokens.
  Writer(const TransformerConfig& config, int64_t sequence, std::unique_ptr<Session> session)
      : config_(config), sequence_(sequence), session_(std::move(session)) {}

  // Tokens that the model with the parameters of `model` writes behind `prompt`, which is not
  // empty, each drawn from its probabilities to the power of 1 / temperature. The model sees the
  // last tokens only: at first as many of the prompt's as a sequence has, and where they fill a
  // sequence it begins anew with the last half of them. Empty where rank 0 lives in another
  // process.
  StatusOr<std::vector<int32_t>> Write(Session& model, std::vector<int32_t> prompt,
                                       const WriteOptions& options);

 private:
  Status BeginAnew();
  // Has the model see `token` at the next place.
  Status See(int32_t token);

  const TransformerConfig config_;
  const int64_t sequence_;
  const std::unique_ptr<Session> session_;
  int64_t seen_ = 0;
};

// The index of a number of the `logits`, drawn by its weight exp((logit - greatest) / temperature)
// with `uniform` in [0, 1); at 0 the first one of the greatest.
int32_t Draw(const HostTensor& logits, double temperature, double uniform);

}  // namespace tp::train
