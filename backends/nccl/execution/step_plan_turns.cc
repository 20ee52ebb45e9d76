// The turns of a step: which there are, who meets before one, and how they are awaited.
#include <cstring>
#include <string>
#include <vector>

#include "backends/nccl/error.h"
#include "backends/nccl/execution/step_plan.h"

namespace tp::nccl {
namespace {

// What all ranks say of their vouchers.
std::vector<Vouchers> AgreedOn(const std::vector<std::string>& all, size_t collectives) {
  std::vector<Vouchers> agreed(collectives);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    // Other schedules: then nobody vouches for anything.
    if (all[rank].size() != collectives * sizeof(Vouchers)) {
      return std::vector<Vouchers>(collectives);
    }
    for (size_t c = 0; c < collectives; ++c) {
      Vouchers one;
      std::memcpy(&one, all[rank].data() + c * sizeof(one), sizeof(one));
      agreed[c].always = rank == 0 ? one.always : agreed[c].always & one.always;
      agreed[c].if_it_meets = rank == 0 ? one.if_it_meets : agreed[c].if_it_meets & one.if_it_meets;
    }
  }
  return agreed;
}

}  // namespace

Status StepPlan::PlanTurns() {
  std::vector<Passing> passing(schedule_.ops.size());
  for (size_t i = 0; i < passing.size(); ++i) {
    if (peers_[i] == nullptr) continue;
    const int turn = peers_[i]->turn();
    passing[i] = {turn == 0 ? Passing::kTogether : Passing::kTurn, turn};
    has_turns_ = has_turns_ || turn != 0;
  }
  awaited_ = AwaitedTurns(schedule_, passing);
  meets_.assign(schedule_.ops.size(), false);
  if (memory_ == nullptr) return OkStatus();
  const std::vector<Vouchers> mine = VouchersOf(schedule_, passing, awaited_);
  const std::string bytes(reinterpret_cast<const char*>(mine.data()),
                          mine.size() * sizeof(Vouchers));
  TP_ASSIGN_OR_RETURN(
      const std::vector<std::string> all,
      rank_.control().Gather(bytes, Receivers::kEveryone, rank_.options().deadline));
  meets_ = TurnsThatMeet(schedule_, passing, AgreedOn(all, mine.size()));
  return has_turns_ ? rank_.MakeTellStream() : OkStatus();
}

bool StepPlan::IsTurn(int op) const { return peers_[op] != nullptr && peers_[op]->turn() != 0; }

unsigned* StepPlan::StepNumber() const {
  const size_t behind_all = schedule_.buffers.size() + collectives_.size();
  return reinterpret_cast<unsigned*>(arena_->At(static_cast<int>(behind_all)));
}

Status StepPlan::BeginStep(StepKind kind) {
  if (!has_turns_ || kind != StepKind::kWhole) return OkStatus();
  return FromCuda(EnqueueNextStep(StepNumber(), rank_.stream(Stream::kCompute)),
                  "the step's number");
}

Status StepPlan::EnqueueTurn(int op, cudaStream_t stream) {
  const PeerCollective& turn = *peers_[op];
  if (meets_[op]) {
    TP_RETURN_IF_ERROR(turn.MeetBeforeTurn(stream, IsAwaited(op) ? begun_[op] : nullptr));
  }
  return turn.SendTurn(stream);
}

// On a stream of its own the word does not hold up the next turn. Where ops are launched one by one
// it comes behind what was sent, and that stream is for those who want to know when the block from
// the other member has come.
Status StepPlan::TellOfTurn(int op, cudaEvent_t arrived) {
  const cudaStream_t sending = rank_.stream(schedule_.ops[op].stream);
  const cudaStream_t beside = rank_.tell_stream();
  if (one_by_one_) TP_RETURN_IF_ERROR(peers_[op]->TellOfTurn(StepNumber(), sending));
  if (!one_by_one_ || measured_) TP_CUDA(cudaStreamWaitEvent(beside, ended_[op], 0));
  if (!one_by_one_) return peers_[op]->TellOfTurn(StepNumber(), beside);
  if (!measured_) return OkStatus();
  TP_RETURN_IF_ERROR(AwaitTurns({op}, beside));
  if (arrived != nullptr) TP_CUDA(cudaEventRecord(arrived, beside));
  return OkStatus();
}

Status StepPlan::AwaitTurns(const std::vector<int>& turns, cudaStream_t stream) {
  Arrivals arrivals{{}, 0, StepNumber(), rank_.stop()};
  for (size_t i = 0; i < turns.size(); ++i) {
    arrivals.told[arrivals.count++] = peers_[turns[i]]->told();
    if (arrivals.count < kMostPeers && i + 1 < turns.size()) continue;
    TP_RETURN_IF_ERROR(FromCuda(EnqueueArrivals(arrivals, stream), "awaiting turns"));
    arrivals.count = 0;
  }
  return OkStatus();
}

}  // namespace tp::nccl
