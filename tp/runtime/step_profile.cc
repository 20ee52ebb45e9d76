#include "tp/runtime/step_profile.h"

#include <limits.h>
#include <unistd.h>

namespace tp {
namespace {

void PackKernel(const KernelRecord& kernel, BlobWriter& blob) {
  blob.Number(static_cast<int64_t>(kernel.kind));
  blob.Text(kernel.name);
  for (int64_t number : {kernel.begin_ns, kernel.end_ns, kernel.correlation, kernel.grid[0],
                         kernel.grid[1], kernel.grid[2], kernel.block[0], kernel.block[1],
                         kernel.block[2], kernel.registers_per_thread, kernel.shared_bytes}) {
    blob.Number(number);
  }
  blob.Number(kernel.blocks_per_multiprocessor);
  blob.Number(kernel.occupancy_percent);
}

KernelRecord UnpackKernel(BlobReader& blob) {
  KernelRecord kernel;
  kernel.kind = static_cast<KernelRecord::Kind>(blob.Int());
  kernel.name = blob.Text();
  for (int64_t* number : {&kernel.begin_ns, &kernel.end_ns, &kernel.correlation, &kernel.grid[0],
                          &kernel.grid[1], &kernel.grid[2], &kernel.block[0], &kernel.block[1],
                          &kernel.block[2], &kernel.registers_per_thread, &kernel.shared_bytes}) {
    *number = blob.Int();
  }
  kernel.blocks_per_multiprocessor = blob.Double();
  kernel.occupancy_percent = blob.Double();
  return kernel;
}

}  // namespace

RankProfile MakeRankProfile(const DeviceInfo& device) {
  RankProfile profile;
  char host[HOST_NAME_MAX + 1] = {};
  // A name that is too long is cut; the array's last byte stays zero.
  if (gethostname(host, HOST_NAME_MAX) == 0) profile.host = host;
  if (profile.host.empty()) profile.host = "localhost";
  profile.process = getpid();
  profile.device = device;
  return profile;
}

void PackStep(const StepRecord& step, BlobWriter& blob) {
  blob.Number(static_cast<int64_t>(step.clock));
  blob.Number(step.begin_ns);
  blob.Number(step.end_ns);
  blob.Number(static_cast<int64_t>(step.ops.size()));
  for (const OpRecord& op : step.ops) {
    blob.Number(op.begin_ns);
    blob.Number(op.end_ns);
    blob.Number(op.bytes_sent);
  }
  blob.Number(static_cast<int64_t>(step.profile.size()));
  for (const OpProfile& op : step.profile) {
    blob.Number(op.enqueue_begin_ns);
    blob.Number(op.enqueue_end_ns);
    blob.Number(static_cast<int64_t>(op.kernels.size()));
    for (const KernelRecord& kernel : op.kernels) PackKernel(kernel, blob);
  }
}

StepRecord UnpackStep(BlobReader& blob) {
  StepRecord step;
  step.clock = static_cast<ClockKind>(blob.Int());
  step.begin_ns = blob.Int();
  step.end_ns = blob.Int();
  step.ops.resize(blob.Int());
  for (OpRecord& op : step.ops) {
    op.begin_ns = blob.Int();
    op.end_ns = blob.Int();
    op.bytes_sent = blob.Int();
  }
  step.profile.resize(blob.Int());
  for (OpProfile& op : step.profile) {
    op.enqueue_begin_ns = blob.Int();
    op.enqueue_end_ns = blob.Int();
    op.kernels.resize(blob.Int());
    for (KernelRecord& kernel : op.kernels) kernel = UnpackKernel(blob);
  }
  return step;
}

void PackProfile(const RankProfile& profile, BlobWriter& blob) {
  blob.Text(profile.host);
  blob.Number(profile.process);
  blob.Text(profile.device.name);
  for (int64_t number :
       {int64_t{profile.device.gpu}, int64_t{profile.device.index}, profile.device.memory_bytes,
        int64_t{profile.device.compute_major}, int64_t{profile.device.compute_minor},
        int64_t{profile.device.multiprocessors}}) {
    blob.Number(number);
  }
  blob.Number(static_cast<int64_t>(profile.steps.size()));
  for (const ProfiledStep& step : profile.steps) {
    for (int64_t number : {step.number, step.arrived_ns, step.released_ns, step.handed_over_ns,
                           step.synchronized_ns}) {
      blob.Number(number);
    }
    PackStep(step.record, blob);
  }
}

RankProfile UnpackProfile(BlobReader& blob) {
  RankProfile profile;
  profile.host = blob.Text();
  profile.process = blob.Int();
  profile.device.name = blob.Text();
  profile.device.gpu = blob.Int() != 0;
  profile.device.index = static_cast<int>(blob.Int());
  profile.device.memory_bytes = blob.Int();
  profile.device.compute_major = static_cast<int>(blob.Int());
  profile.device.compute_minor = static_cast<int>(blob.Int());
  profile.device.multiprocessors = static_cast<int>(blob.Int());
  profile.steps.resize(blob.Int());
  for (ProfiledStep& step : profile.steps) {
    for (int64_t* number : {&step.number, &step.arrived_ns, &step.released_ns, &step.handed_over_ns,
                            &step.synchronized_ns}) {
      *number = blob.Int();
    }
    step.record = UnpackStep(blob);
  }
  return profile;
}

}  // namespace tp
