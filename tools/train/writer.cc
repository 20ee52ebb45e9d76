#include "tools/train/writer.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "tp/core/random.h"
#include "tp/model/decode.h"

namespace tp::train {
namespace {

// Of the tokens that are drawn; the weights' streams are hashes of their names.
constexpr uint64_t kSampleStream = 1;

}  // namespace

int32_t Draw(const HostTensor& logits, double temperature, double uniform) {
  int64_t best = 0;
  for (int64_t i = 1; i < logits.size(); ++i) {
    if (logits.At(i) > logits.At(best)) best = i;
  }
  if (temperature == 0) return static_cast<int32_t>(best);
  std::vector<double> sums;
  double sum = 0;
  for (int64_t i = 0; i < logits.size(); ++i) {
    sum += std::exp((logits.At(i) - logits.At(best)) / temperature);
    sums.push_back(sum);
  }
  const auto place = std::upper_bound(sums.begin(), sums.end(), uniform * sum);
  return static_cast<int32_t>(std::min<int64_t>(place - sums.begin(), logits.size() - 1));
}

Status Writer::BeginAnew() {
  seen_ = 0;
  for (const std::string& cache : CachesOf(session_->program())) {
    TP_RETURN_IF_ERROR(session_->Write(cache, [](int64_t) { return 0.0; }));
  }
  return OkStatus();
}

Status Writer::See(int32_t token) {
  TP_RETURN_IF_ERROR(
      session_->Feed("tokens", [token](int64_t) { return static_cast<double>(token); }));
  for (const auto& [name, elements] : PlaceInputs(config_, sequence_, {seen_})) {
    TP_RETURN_IF_ERROR(session_->Feed(name, elements));
  }
  ++seen_;
  return session_->Step();
}

StatusOr<std::vector<int32_t>> Writer::Write(Session& model, std::vector<int32_t> prompt,
                                             const WriteOptions& options) {
  const std::vector<std::string> caches = CachesOf(session_->program());
  TP_RETURN_IF_ERROR(session_->CopyParametersFrom(model, {caches.begin(), caches.end()}));
  TP_RETURN_IF_ERROR(BeginAnew());
  const RandomTensor random(options.seed, kSampleStream);
  std::vector<int32_t> written, context = std::move(prompt);
  const auto keep = [&context](int64_t most) {
    const int64_t size = static_cast<int64_t>(context.size());
    context.erase(context.begin(), context.begin() + std::max<int64_t>(size - most, 0));
  };
  keep(sequence_);
  for (int64_t i = 0; i < options.count; ++i) {
    if (seen_ == sequence_) {
      TP_RETURN_IF_ERROR(BeginAnew());
      keep((sequence_ + 1) / 2);
    }
    while (seen_ < static_cast<int64_t>(context.size())) {
      TP_RETURN_IF_ERROR(See(context[static_cast<size_t>(seen_)]));
    }
    TP_ASSIGN_OR_RETURN(const HostTensor logits, session_->Read("logits"));
    // Where rank 0 lives in another process, nobody knows the token here, nor needs to.
    int32_t token = 0;
    if (session_->IsRoot()) {
      const double uniform = 0.5 + random.Uniform(static_cast<uint64_t>(i)) / 2;
      token = Draw(logits, options.temperature, uniform);
      written.push_back(token);
    }
    context.push_back(token);
  }
  return written;
}

}  // namespace tp::train
