#include "tools/train/batch.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tp::train {

Status Rows::Add(const Text& text, int64_t begin) {
  std::vector<int32_t> row(static_cast<size_t>(options_.sequence + 1));
  TP_RETURN_IF_ERROR(text.Read(begin, row));
  tokens_.insert(tokens_.end(), row.begin(), row.end() - 1);
  targets_.insert(targets_.end(), row.begin() + 1, row.end());
  if (options_.packed) AddStarts(text, begin, row);
  return OkStatus();
}

void Rows::AddStarts(const Text& text, int64_t begin, const std::vector<int32_t>& row) {
  const size_t first = targets_.size() - static_cast<size_t>(options_.sequence);
  int32_t start = 0;
  for (int32_t i = 0; i <= options_.sequence; ++i) {
    const bool ended = i > 0 && row[static_cast<size_t>(i - 1)] == options_.end_of_text;
    if (i > 0 && (ended || text.BeginsFile(begin + i))) {
      start = i;
      targets_[first + static_cast<size_t>(i - 1)] = -1;
    }
    if (i == options_.sequence) break;
    starts_.push_back(start);
    places_.push_back(i - start);
  }
}

void Rows::AddEmpty() {
  const auto n = static_cast<size_t>(options_.sequence);
  tokens_.insert(tokens_.end(), n, 0);
  targets_.insert(targets_.end(), n, -1);
  starts_.insert(starts_.end(), n, 0);
  places_.insert(places_.end(), n, 0);
}

int64_t Rows::counted() const {
  return std::count_if(targets_.begin(), targets_.end(), [](int32_t id) { return id >= 0; });
}

std::vector<double> Rows::Weights(double weight) const {
  std::vector<double> weights;
  for (int32_t target : targets_) weights.push_back(target >= 0 ? weight : 0);
  return weights;
}

std::map<std::string, HostTensor> Rows::Inputs() const {
  std::map<std::string, HostTensor> inputs;
  const Shape shape = {static_cast<int64_t>(tokens_.size()) / options_.sequence, options_.sequence};
  const auto add = [&](const char* name, const std::vector<int32_t>& ids) {
    HostTensor tensor(shape, DType::kInt32);
    std::memcpy(tensor.bytes().data(), ids.data(), tensor.bytes().size());
    inputs.emplace(name, std::move(tensor));
  };
  add("tokens", tokens_);
  add("targets", targets_);
  if (options_.packed) add("starts", starts_);
  if (options_.packed && options_.places) add("places", places_);
  return inputs;
}

StatusOr<Batch> ReadBatch(const BatchOptions& options, const Text& text, const BatchOrder& order,
                          int64_t step) {
  Batch batch;
  batch.pieces.assign(static_cast<size_t>(options.micro_batches), Rows(options));
  int64_t counted = 0;
  for (int64_t row = 0; row < options.rows; ++row) {
    Rows& piece = batch.pieces[static_cast<size_t>(row * options.micro_batches / options.rows)];
    TP_RETURN_IF_ERROR(piece.Add(text, order.Begin(step * options.rows + row)));
  }
  for (const Rows& piece : batch.pieces) counted += piece.counted();
  if (counted == 0) {
    return InvalidArgument("no token of step " + std::to_string(step + 1) +
                           " has one behind it in its document: nothing can be learned from it");
  }
  batch.weight = 1 / static_cast<double>(counted);
  return batch;
}

}  // namespace tp::train
