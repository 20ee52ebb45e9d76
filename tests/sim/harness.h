// What the simulator's tests share: calls of every kind, inputs whose answer is known, a plain
// reference that shares no code with the collectives, and a world that runs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sim/collectives/communicator.h"
#include "sim/fabric/fabric.h"
#include "sim/fabric/scheduler.h"
#include "tp/core/collective.h"
#include "tp/core/status.h"

namespace tp::sim {

using Bytes = std::vector<std::byte>;

inline constexpr CollectiveKind kAllKinds[] = {
    CollectiveKind::kAllReduce, CollectiveKind::kAllGather, CollectiveKind::kReduceScatter,
    CollectiveKind::kBroadcast, CollectiveKind::kAllToAll,  CollectiveKind::kBarrier};

// Every form that a collective of `kind` has.
std::vector<Algorithm> FormsOf(CollectiveKind kind);

// A call that moves `count` elements in all: uneven blocks, cut where `variant` says, some empty.
CollectiveCall MakeCall(CollectiveKind kind, DType dtype, int members, int64_t count,
                        uint64_t variant);

// Elements of member `member`'s input and output.
int64_t InputElements(const CollectiveCall& call, int member, int members);
int64_t OutputElements(const CollectiveCall& call, int member, int members);

// Element `i` of a member's input: small integers, exact in every dtype together with their sums
// over 17 members; or floats, whose sums depend on their order.
enum class Values { kIntegers, kFloats };
Bytes MakeInput(const CollectiveCall& call, int member, int members, Values values);

// What a member must end with, from the definition of the collective, summed in double.
Bytes Reference(const CollectiveCall& call, int member, int members, Values values);

// Whether the member's memory is one buffer, as far as the kind allows.
enum class Place { kOutOfPlace, kInPlace };

// The memory of one member of one call; `in` and `out` are what Run takes.
class Buffers {
 public:
  Buffers(const CollectiveCall& call, int member, int members, Place place);

  // Lays the input down and spoils the rest.
  void Fill(const Bytes& input);

  // Keeps the output as the result and spoils all memory, so that whoever still reads it is caught.
  void Take();

  const void* in() const { return in_; }
  void* out() { return out_; }
  const Bytes& result() const { return result_; }

 private:
  void Spoil();

  Bytes memory_[2];
  std::byte* in_ = nullptr;
  std::byte* out_ = nullptr;
  Bytes result_;
};

// Runs `body` once for each rank of a world, as an agent of its name. Status of each, by rank.
std::vector<Status> RunRanks(Scheduler& scheduler, int world,
                             const std::function<Status(int rank)>& body);

// Runs `call` once among all ranks of the fabric's world, each of which compares its result on
// integers with the reference: INTERNAL, "wrong result". Status of each, by rank.
std::vector<Status> RunOnce(Fabric& fabric, const CollectiveCall& call, Algorithm algorithm);

// 0, 1, .., count - 1.
std::vector<int> Ranks(int count);

}  // namespace tp::sim
