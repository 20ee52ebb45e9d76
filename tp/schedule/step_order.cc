#include "tp/schedule/step_order.h"

namespace tp {

void StepOrder::Add() {
  const auto op = static_cast<int>(place_.size());
  const auto stream = static_cast<size_t>(schedule_.ops[op].stream);
  place_.push_back(added_[stream]);
  ended_.emplace_back(Ended{});
  if (added_[stream] > 0) Join(ended_.back(), EndedWith(last_[stream]));
  for (int wait : schedule_.ops[op].waits) AddWait(wait);
  ++added_[stream];
  last_[stream] = op;
}

Ended StepOrder::EndedWith(int op) const {
  Ended ended = ended_[op];
  const auto stream = static_cast<size_t>(schedule_.ops[op].stream);
  ended[stream] = place_[op] + 1;
  return ended;
}

}  // namespace tp
