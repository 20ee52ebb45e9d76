// OpWork: what one launch asks of a device, from its letters and views alone.
#pragma once

#include <cstdint>
#include <string>

#include "backends/predict/product_trend.h"
#include "tp/core/dtype.h"
#include "tp/program/action.h"
#include "tp/program/program.h"
#include "tp/schedule/schedule.h"

namespace tp::predict {

struct OpWork {
  Action action = Action::kCopy;
  DType dtype = DType::kFloat32;  // of its first operand that is no list of ids
  int64_t loops = 0;              // how many matrix products of `product`; 0: it is no product
  ProductShape product;
  bool turned = false;  // it is none, and the columns of its first operand are packed
  double flops = 0;     // twice the points of its letters for each operand but one
  double bytes = 0;     // that it reads and writes, each element of each view once

  bool IsProduct() const { return loops > 0; }
};

// "sum_rows", or "sum_rows turned": what of one name and type takes as long as its bytes say.
std::string ActionOf(const OpWork& work);

// The part of so many multiprocessors that the launch fills: products by tiles of 128 x 256, all
// else whole.
double ProcessorsOf(const OpWork& work, int multiprocessors);

// Of an op that is no collective. Of what is looked up by id only the rows that are asked for
// count.
OpWork WorkOf(const Program& program, const Schedule& schedule, const ScheduledOp& op);

}  // namespace tp::predict
