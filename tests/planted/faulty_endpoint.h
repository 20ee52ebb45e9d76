// Endpoints that lose or spoil what they receive.
#pragma once

#include <functional>

#include "sim/fabric/fabric.h"

namespace tp::planted {

// Of the received numbers that a member is about to add to its own, by an all_reduce or a
// reduce_scatter: `combine(local, received)` takes the place of their sum, rounded to the type.
// `chosen(member, size, nth)` says in which of a member's receives, counted from 0.
using Combine = std::function<double(double local, double received)>;
using ChooseReceive = std::function<bool(int member, int size, int nth)>;
sim::Fabric::WrapEndpoint CombineBy(Combine combine, ChooseReceive chosen);

// The first message with any bytes that `member` of a group sends is never sent.
sim::Fabric::WrapEndpoint LoseFirstMessage(int member);

}  // namespace tp::planted
