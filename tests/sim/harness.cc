#include "tests/sim/harness.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "tp/core/dtype.h"

namespace tp::sim {
namespace {

uint64_t Mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// The value of element `i` of a member's input.
double Value(int member, int64_t i, Values values) {
  const uint64_t bits = Mix((static_cast<uint64_t>(member) << 40) + static_cast<uint64_t>(i) + 1);
  if (values == Values::kIntegers) return static_cast<double>(bits % 15) - 7;
  return static_cast<double>(static_cast<int64_t>(bits)) * 0x1p-63;
}

int64_t Sum(const std::vector<int64_t>& counts, size_t begin, size_t end, size_t step = 1) {
  int64_t sum = 0;
  for (size_t i = begin; i < end; i += step) sum += counts[i];
  return sum;
}

double Combine(Reduction reduction, double a, double b) {
  switch (reduction) {
    case Reduction::kSum:
      return a + b;
    case Reduction::kMax:
      return std::max(a, b);
    case Reduction::kMin:
      return std::min(a, b);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::vector<Algorithm> FormsOf(CollectiveKind kind) {
  std::vector<Algorithm> forms;
  for (Algorithm algorithm : kAllAlgorithms) {
    if (HasForm(kind, algorithm)) forms.push_back(algorithm);
  }
  return forms;
}

CollectiveCall MakeCall(CollectiveKind kind, DType dtype, int members, int64_t count,
                        uint64_t variant) {
  CollectiveCall call;
  call.kind = kind;
  call.dtype = dtype;
  call.root = static_cast<int>(variant % members);
  size_t blocks = 1;
  if (kind == CollectiveKind::kAllGather || kind == CollectiveKind::kReduceScatter) {
    blocks = members;
  } else if (kind == CollectiveKind::kAllToAll) {
    blocks = static_cast<size_t>(members) * members;
  } else if (kind == CollectiveKind::kBarrier) {
    return call;
  }
  std::vector<int64_t> cuts = {0, count};
  for (size_t i = 1; i < blocks; ++i) {
    cuts.push_back(static_cast<int64_t>(Mix(variant * 1000 + i) % (count + 1)));
  }
  std::sort(cuts.begin(), cuts.end());
  for (size_t i = 0; i < blocks; ++i) call.counts.push_back(cuts[i + 1] - cuts[i]);
  return call;
}

int64_t InputElements(const CollectiveCall& call, int member, int members) {
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kReduceScatter:
      return TotalElements(call);
    case CollectiveKind::kBroadcast:
      return member == call.root ? call.counts[0] : 0;
    case CollectiveKind::kAllGather:
      return call.counts[member];
    case CollectiveKind::kAllToAll:
      return Sum(call.counts, member * members, (member + 1) * members);
    case CollectiveKind::kBarrier:
      return 0;
  }
  return -1;
}

int64_t OutputElements(const CollectiveCall& call, int member, int members) {
  switch (call.kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kBroadcast:
    case CollectiveKind::kAllGather:
      return TotalElements(call);
    case CollectiveKind::kReduceScatter:
      return call.counts[member];
    case CollectiveKind::kAllToAll:
      return Sum(call.counts, member, call.counts.size(), members);
    case CollectiveKind::kBarrier:
      return 0;
  }
  return -1;
}

Bytes MakeInput(const CollectiveCall& call, int member, int members, Values values) {
  std::vector<double> input(InputElements(call, member, members));
  for (size_t i = 0; i < input.size(); ++i) {
    input[i] = Value(member, static_cast<int64_t>(i), values);
  }
  Bytes bytes(input.size() * SizeOf(call.dtype));
  EncodeFromDouble(call.dtype, input, bytes);
  return bytes;
}

Bytes Reference(const CollectiveCall& call, int member, int members, Values values) {
  std::vector<double> output(OutputElements(call, member, members));
  const auto rounded = [&](int from, int64_t i) {
    return RoundTo(call.dtype, Value(from, i, values));
  };
  if (call.kind == CollectiveKind::kAllReduce || call.kind == CollectiveKind::kReduceScatter) {
    const int64_t offset =
        call.kind == CollectiveKind::kAllReduce ? 0 : Sum(call.counts, 0, member);
    for (size_t i = 0; i < output.size(); ++i) {
      output[i] = rounded(0, offset + static_cast<int64_t>(i));
      for (int from = 1; from < members; ++from) {
        output[i] =
            Combine(call.reduction, output[i], rounded(from, offset + static_cast<int64_t>(i)));
      }
    }
  } else if (call.kind == CollectiveKind::kBroadcast) {
    for (size_t i = 0; i < output.size(); ++i) {
      output[i] = rounded(call.root, static_cast<int64_t>(i));
    }
  } else {
    size_t next = 0;
    for (int from = 0; from < members && call.kind != CollectiveKind::kBarrier; ++from) {
      const bool gather = call.kind == CollectiveKind::kAllGather;
      const size_t block = gather ? from : static_cast<size_t>(from) * members + member;
      const int64_t offset = gather ? 0 : Sum(call.counts, from * members, block);
      for (int64_t i = 0; i < call.counts[block]; ++i) output[next++] = rounded(from, offset + i);
    }
  }
  Bytes bytes(output.size() * SizeOf(call.dtype));
  EncodeFromDouble(call.dtype, output, bytes);
  return bytes;
}

Buffers::Buffers(const CollectiveCall& call, int member, int members, Place place)
    : result_(OutputElements(call, member, members) * SizeOf(call.dtype)) {
  const size_t input_bytes = InputElements(call, member, members) * SizeOf(call.dtype);
  if (place == Place::kOutOfPlace) {
    memory_[0].resize(input_bytes);
    memory_[1].resize(result_.size());
    in_ = memory_[0].data();
    out_ = memory_[1].data();
    return;
  }
  memory_[0].resize(std::max(input_bytes, result_.size()));
  in_ = out_ = memory_[0].data();
  if (call.kind == CollectiveKind::kAllGather) {
    in_ += Sum(call.counts, 0, member) * SizeOf(call.dtype);
  } else if (call.kind == CollectiveKind::kReduceScatter) {
    out_ += Sum(call.counts, 0, member) * SizeOf(call.dtype);
  }
}

void Buffers::Fill(const Bytes& input) {
  Spoil();
  std::copy(input.begin(), input.end(), in_);
}

void Buffers::Take() {
  std::copy(out_, out_ + result_.size(), result_.begin());
  Spoil();
}

void Buffers::Spoil() {
  for (Bytes& memory : memory_) std::fill(memory.begin(), memory.end(), std::byte{0xee});
}

std::vector<Status> RunRanks(Scheduler& scheduler, int world,
                             const std::function<Status(int rank)>& body) {
  std::vector<Status> statuses(world);
  std::vector<Agent> agents;
  for (int rank = 0; rank < world; ++rank) {
    agents.push_back(
        {"rank " + std::to_string(rank), rank, [&, rank] { return statuses[rank] = body(rank); }});
  }
  static_cast<void>(scheduler.Run(std::move(agents)));
  return statuses;
}

std::vector<Status> RunOnce(Fabric& fabric, const CollectiveCall& call, Algorithm algorithm) {
  const int world = fabric.world();
  // Outlive the run: where one rank fails, others may still be reading its memory.
  std::vector<Buffers> all;
  for (int rank = 0; rank < world; ++rank) all.emplace_back(call, rank, world, Place::kOutOfPlace);
  return RunRanks(fabric.scheduler(), world, [&](int rank) -> Status {
    TP_ASSIGN_OR_RETURN(const auto communicator,
                        Communicator::Create(fabric, Ranks(world), rank, 1));
    Buffers& buffers = all[rank];
    buffers.Fill(MakeInput(call, rank, world, Values::kIntegers));
    TP_RETURN_IF_ERROR(communicator->Run(call, algorithm, buffers.in(), buffers.out()));
    buffers.Take();
    if (buffers.result() != Reference(call, rank, world, Values::kIntegers)) {
      return Internal("wrong result");
    }
    return OkStatus();
  });
}

std::vector<int> Ranks(int count) {
  std::vector<int> ranks(count);
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace tp::sim
