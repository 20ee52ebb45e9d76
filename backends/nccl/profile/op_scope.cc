#include "backends/nccl/profile/op_scope.h"

#include <nvtx3/nvToolsExt.h>

#include <string>

#include "tp/core/clock.h"

namespace tp::nccl {
namespace {

thread_local std::vector<OpNote>* noted = nullptr;

}  // namespace

PhaseScope::~PhaseScope() {
  if (entered_) nvtxRangePop();
}

void PhaseScope::Enter(Phase phase) {
  if (entered_ && phase == phase_) return;
  if (entered_) nvtxRangePop();
  nvtxRangePushA(std::string(Name(phase)).c_str());
  entered_ = true;
  phase_ = phase;
}

OpScope::OpScope(int index, const ScheduledOp& op) : index_(index) {
  nvtxRangePushA(op.name.c_str());
  if (noted != nullptr) (*noted)[static_cast<size_t>(index)].begin_ns = HostClock().NowNs();
}

OpScope::~OpScope() {
  nvtxRangePop();
  if (noted != nullptr) (*noted)[static_cast<size_t>(index_)].end_ns = HostClock().NowNs();
}

void OpScope::NoteIn(std::vector<OpNote>* notes) { noted = notes; }

}  // namespace tp::nccl
