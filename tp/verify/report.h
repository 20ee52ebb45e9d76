// Observed results, and the report that comparing them gives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/host_tensor.h"
#include "tp/verify/bounds.h"
#include "tp/verify/expectation.h"

namespace tp::verify {

// What a run gave: whole tensors, assembled from the ranks. A default-made tensor, or no losses,
// means that the quantity is not there and is not checked.
struct Observed {
  HostTensor y, dx, dw, db;    // of the first step
  HostTensor w, b;             // after the last step
  std::vector<double> losses;  // of each step

  // Of every quantity but the loss.
  const HostTensor& Of(Quantity quantity) const;
  bool Has(Quantity quantity) const;
};

enum class Lane {
  kBounded,  // any inputs; errors up to the bound
  kExact,    // inputs proven to leave no room for rounding; no error at all
};
std::string_view Name(Lane lane);  // "bounded", "exact"

// What a check with a computed bound can say.
enum class Outcome {
  kOk,         // every error is within its bound
  kUndecided,  // none is beyond its bound, but a bound passes the size of what it judges
  kFail,       // an error is beyond its bound
};
std::string_view Name(Outcome outcome);  // "ok", "undecided", "FAIL"

// The gravest of both.
constexpr Outcome Worse(Outcome a, Outcome b) { return a < b ? b : a; }

struct QuantityReport {
  Quantity quantity = Quantity::kY;
  Shape shape;
  bool given = false;   // the run had it
  int64_t checked = 0;  // elements; 0 where it could not be checked, and `notes` say why
  int64_t total = 0;
  int64_t failing = 0;
  int64_t first_failing = 0;  // row-major, the first that fails; of the losses: the step
  // Elements that do not fail, but whose bound is above `size` or no finite number: whatever stood
  // there would pass.
  int64_t undecided = 0;
  // The size of what is judged: the root mean square of the expected elements that were checked.
  // Where all of these are 0, the smallest normal number of the type.
  double size = 0;

  // The element with the largest error in units of its bound; where the quantity is undecided, that
  // with the largest bound.
  int64_t worst_index = 0;  // row-major
  double observed = 0;
  double expected = 0;
  double error = 0;
  double bound = 0;
  double ratio = 0;         // error / bound; at most 1 passes; infinite for what is not finite
  std::vector<int> owners;  // the ranks that make the worst element

  std::optional<Quantity> follows_from;  // it fails because this one, which it is made of, does
  std::vector<std::string> causes;       // of a failure, likeliest first
  std::vector<std::string> notes;

  Outcome outcome() const {
    if (failing > 0) return Outcome::kFail;
    return undecided > 0 ? Outcome::kUndecided : Outcome::kOk;
  }
  bool ok() const { return outcome() == Outcome::kOk; }
};

struct Report {
  std::string title;
  Lane lane = Lane::kBounded;
  std::vector<QuantityReport> quantities;  // in program order
  // In program order: a loss that is wrong only after the first step comes after dX, dW and db.
  std::optional<Quantity> first_divergence;
  std::string coverage;  // "all of it", or which part was verified

  // The gravest of the quantities'.
  Outcome outcome() const;
  bool ok() const { return outcome() == Outcome::kOk; }

  const QuantityReport& Of(Quantity quantity) const {
    return quantities[static_cast<size_t>(quantity)];
  }
};

// An aligned table, a line a quantity, then the verdict, causes and notes; ends in a newline.
std::string ToString(const Report& report);

// "[3, 17]": where element `index` lies in `shape`.
std::string ElementName(const Shape& shape, int64_t index);

}  // namespace tp::verify
