// Measurements: what was timed on a machine, as a machine file keeps it under "fit".
//
// Times are microseconds, medians of repeats. A file may be hostile: errors name the entry.
//
//   {"when": "2026-11-27T10:00:00Z", "where": "host, device", "repeat_floor": 0.01,
//    "products": [["bf16", m, n, k, us], ["bf16 nt", m, n, k, us], ...], "ops": [["add", "fp32",
//    bytes, us], ...], "collectives": [["all_reduce", members, array bytes, us], ...], "steps":
//    [["row", "fp32", tokens, in, out, tp, dp, us], ...], "step_spread": 1.07,
//    "product_parameters": {"bf16": [...]}}
//
// "nt": the second operand of the product is turned, "tn" the first, "tt" both; a third letter says
// the same of what comes out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backends/predict/product_fit.h"
#include "tp/core/collective.h"
#include "tp/core/dtype.h"
#include "tp/core/status.h"

namespace tp::predict {

struct MeasuredProduct {
  DType dtype = DType::kFloat32;
  ProductShape shape;
  double us = 0;
};
struct MeasuredOp {
  std::string action;
  DType dtype = DType::kFloat32;
  double bytes = 0;  // that it reads and writes
  double us = 0;
};
struct MeasuredCollective {
  CollectiveKind kind = CollectiveKind::kAllReduce;
  int members = 2;
  double bytes = 0;  // of the whole array
  double us = 0;
};
// Of the linear step.
struct MeasuredStep {
  std::string mode;  // "row", "column"
  DType dtype = DType::kFloat32;
  int64_t tokens = 0;
  int64_t in_features = 0;
  int64_t out_features = 0;
  int tp = 1;
  int dp = 1;
  double us = 0;
};

// "bf16 product 4096 x 4096 x 4096", ...: what is the same is called the same.
std::string NameOf(const MeasuredProduct& product);
std::string NameOf(const MeasuredOp& op);
std::string NameOf(const MeasuredCollective& collective);
std::string NameOf(const MeasuredStep& step);

// Whether a thing of this name is kept from fitting, for scoring: one in four, by its hash. So it
// is fixed before anything is measured.
bool IsHeldOut(std::string_view name);

struct Measurements {
  std::string when;
  std::string where;
  double repeat_floor = 0;  // geomean of what repeats differ by, as a part
  std::vector<MeasuredProduct> products;
  std::vector<MeasuredOp> ops;
  std::vector<MeasuredCollective> collectives;
  std::vector<MeasuredStep> steps;
  // Of the steps that were fitted on, each left out in turn and with its ops timed, nine in ten
  // took within so many times what was predicted; 0: nobody knows.
  double step_spread = 0;
  std::map<DType, std::vector<double>> product_parameters;
};

// From the text of a file: the object itself, or a machine file's "fit"; empty where a machine file
// has none. Errors: INVALID_ARGUMENT that names `name` and the entry.
StatusOr<Measurements> ParseMeasurements(std::string_view text, const std::string& name);
// The object; the second puts it into a machine file as "fit".
std::string ToJson(const Measurements& measurements);
std::string WithFit(const std::string& machine_json, const Measurements& measurements);

}  // namespace tp::predict
