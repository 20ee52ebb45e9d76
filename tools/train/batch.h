// Batch: the sequences that a step is fed, in the rows of its micro-batches.
//
// A row is a window of a text: tokens, and for each the one that follows it. Where rows are packed,
// a token belongs to a document: what lies between the beginnings of files, or behind a token that
// ends a text. It says where that document begins in the row, and the first token of the next
// document is nobody's target.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/train/text.h"
#include "tp/core/host_tensor.h"
#include "tp/core/status.h"
#include "tp/data/batches.h"

namespace tp::train {

struct BatchOptions {
  int64_t rows = 1;           // of all micro-batches
  int64_t micro_batches = 1;  // divides rows
  int64_t sequence = 1;
  bool packed = false;       // whether documents are told apart
  int64_t end_of_text = -1;  // the token that ends one; -1: files alone are documents
  bool places = false;       // whether a model with learned positions is fed
};

class Rows {
 public:
  explicit Rows(const BatchOptions& options) : options_(options) {}

  // The window of the text from `begin` on, with the token behind it. Errors: those of Text::Read.
  Status Add(const Text& text, int64_t begin);
  // A row of which nothing counts.
  void AddEmpty();

  // How many targets there are.
  int64_t counted() const;
  // `weight` for each token with a target, row-major, and 0 for the others.
  std::vector<double> Weights(double weight) const;

  // [rows, sequence] int32, by the names of tp/model/transformer.h: "tokens" and "targets", and
  // where packed "starts" and "places".
  std::map<std::string, HostTensor> Inputs() const;

 private:
  void AddStarts(const Text& text, int64_t begin, const std::vector<int32_t>& row);

  BatchOptions options_;
  std::vector<int32_t> tokens_, targets_, starts_, places_;
};

struct Batch {
  std::vector<Rows> pieces;  // one of each micro-batch
  double weight = 0;         // of each token that counts: 1 / (how many do, in all pieces)
};

// The batch of step `step`, from 0. Errors: those of Text::Read; INVALID_ARGUMENT where no token of
// it has a target.
StatusOr<Batch> ReadBatch(const BatchOptions& options, const Text& text, const BatchOrder& order,
                          int64_t step);

}  // namespace tp::train
