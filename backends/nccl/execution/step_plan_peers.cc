// The collectives of a step over peer memory: who reaches whom, where, and what waits for their
// begin.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "backends/nccl/error.h"
#include "backends/nccl/execution/step_plan.h"

namespace tp::nccl {
namespace {

// Where a rank's memory of a collective lies in its arena.
struct Place {
  int64_t send = 0;
  int64_t receive = 0;
  int64_t scratch = 0;
};

int MemberCount(const ScheduledOp& op) { return static_cast<int>(op.group.size()); }

}  // namespace

std::string StepPlan::DescribeCollectives() const {
  std::string bytes;
  for (size_t i = 0; i < collectives_.size(); ++i) {
    const ScheduledOp& op = schedule_.ops[collectives_[i]];
    const auto offset = [&](const View& view) {
      return arena_->OffsetOf(view.buffer) +
             view.offset * SizeOf(schedule_.buffers[view.buffer].dtype);
    };
    const int scratch = static_cast<int>(schedule_.buffers.size() + i);
    const Place place{offset(op.send), offset(op.receive), arena_->OffsetOf(scratch)};
    bytes.append(reinterpret_cast<const char*>(&place), sizeof(place));
  }
  return bytes;
}

std::vector<PeerMember> StepPlan::MembersOf(int collective) const {
  std::vector<PeerMember> members;
  for (int rank : schedule_.ops[collectives_[collective]].group) {
    char* base = memory_->BaseOf(rank);
    const std::string& note = memory_->NoteOf(rank);
    if (base == nullptr || note.size() != collectives_.size() * sizeof(Place)) return {};
    Place place;
    std::memcpy(&place, note.data() + collective * sizeof(Place), sizeof(place));
    members.push_back({base + place.send, base + place.receive, base + place.scratch});
  }
  return members;
}

// That all ranks say so for their groups keeps the making of NCCL's communicators alike on all of
// them. A group whose part is empty has nothing to run and keeps no other from it.
Status StepPlan::AgreeOnPeers() {
  std::string mine;
  for (size_t i = 0; i < collectives_.size(); ++i) {
    const ScheduledOp& op = schedule_.ops[collectives_[i]];
    const bool can =
        TotalElements(op.call) == 0 || (MemberCount(op) >= 2 && MemberCount(op) <= kMostPeers &&
                                        !MembersOf(static_cast<int>(i)).empty());
    mine.push_back(can ? 1 : 0);
  }
  TP_ASSIGN_OR_RETURN(const std::vector<std::string> all,
                      rank_.control().Gather(mine, Receivers::kEveryone, rank_.options().deadline));
  for (size_t i = 0; i < mine.size(); ++i) {
    over_peers_[i] = std::all_of(all.begin(), all.end(), [&](const std::string& other) {
      return other.size() == mine.size() && other[i] == 1;
    });
  }
  return OkStatus();
}

Status StepPlan::MakePeers() {
  peers_.resize(schedule_.ops.size());
  over_peers_.resize(collectives_.size());
  if (rank_.options().peers == Peers::kNever || rank_.control().world() == 1) return OkStatus();
  TP_ASSIGN_OR_RETURN(memory_, PeerMemory::Share(rank_.control(), arena_->base(),
                                                 DescribeCollectives(), rank_.options().deadline));
  TP_RETURN_IF_ERROR(AgreeOnPeers());
  for (size_t i = 0; i < collectives_.size(); ++i) {
    const ScheduledOp& op = schedule_.ops[collectives_[i]];
    if (!over_peers_[i] || TotalElements(op.call) == 0) continue;
    TP_CUDA(LoadPeerKernels(op.call.dtype, MemberCount(op)));
    const PeerAlgorithm algorithm =
        ChoosePeerAlgorithm(op.call, MemberCount(op), rank_.options().peers);
    peers_[collectives_[i]] = std::make_unique<PeerCollective>(
        op.call, algorithm, MemberOf(op.group, rank_.control().rank()),
        MembersOf(static_cast<int>(i)), rank_.stop(), rank_.shares_gpus());
  }
  return OkStatus();
}

// A collective may take some multiprocessors and wait there for the other ranks. If the product
// behind it takes them all first, here or on another rank, all ranks wait for the end of that
// product. In a graph it comes first by itself; launched one by one it comes some microseconds
// late, so the product waits for its begin. Not where other collectives may still hold the sum up.
//
// A gather or a turn by copies needs one for the kernel in which its members meet, and that may
// come late in a graph, too: 45 us where the product behind it has them all (two H200). There it
// goes first. Other ops between the two leave multiprocessors free as their blocks end, and wait
// for nobody.
Status StepPlan::LetBegin(int collective) {
  if (peers_[collective] == nullptr) return OkStatus();
  const bool copies = MeetsBeforeCopies(collective);
  if (!peers_[collective]->MeetsOnMultiprocessors() && !copies) return OkStatus();
  const auto& ops = schedule_.ops;
  int before = collective - 1, behind = collective + 1;
  while (before >= 0 && ops[before].stream != ops[collective].stream) --before;
  const int end = static_cast<int>(ops.size());
  while (behind < end &&
         (ops[behind].stream != Stream::kCompute || (copies && !IsProduct(ops[behind].action)))) {
    ++behind;
  }
  if (behind == end) return OkStatus();
  if (before >= 0 && !HasEnded(before, behind)) return OkStatus();
  goes_after_[behind] = collective;
  return FromCuda(cudaEventCreateWithFlags(&begun_[collective], cudaEventDisableTiming),
                  "cudaEventCreateWithFlags");
}

// Whether `earlier`, of another stream, has ended when the compute stream comes to op `at`.
bool StepPlan::HasEnded(int earlier, int at) const {
  const auto& ops = schedule_.ops;
  for (int i = earlier + 1; i <= at; ++i) {
    const auto follows = [&](int wait) {
      return wait >= earlier && ops[wait].stream == ops[earlier].stream;
    };
    if (ops[i].stream == Stream::kCompute && std::ranges::any_of(ops[i].waits, follows))
      return true;
  }
  return false;
}

bool StepPlan::MeetsBeforeCopies(int collective) const {
  if (peers_[collective]->algorithm() != PeerAlgorithm::kCopies) return false;
  return IsTurn(collective) ? meets_[collective]
                            : schedule_.ops[collective].call.kind == CollectiveKind::kAllGather;
}

bool StepPlan::IsAwaited(int collective) const {
  return begun_[collective] != nullptr && (one_by_one_ || MeetsBeforeCopies(collective));
}

}  // namespace tp::nccl
