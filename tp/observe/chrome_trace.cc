#include "tp/observe/chrome_trace.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace tp {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRankThread = 1;
constexpr int kFirstStream = 2;      // thread numbers tell tracks apart in all of a trace
constexpr int64_t kHostPid = 10000;  // + rank: a device's pid is its number, below 64

double Microseconds(int64_t ns) { return static_cast<double>(ns) / 1e3; }

// As PyTorch spells it.
const char* TypeName(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return "double";
    case DType::kFloat32:
      return "float";
    case DType::kBFloat16:
      return "c10::BFloat16";
    case DType::kFloat16:
      return "c10::Half";
    case DType::kInt32:
      return "int";
  }
  return "";
}

const char* CategoryOf(KernelRecord::Kind kind) {
  switch (kind) {
    case KernelRecord::Kind::kKernel:
      return "kernel";
    case KernelRecord::Kind::kCopy:
      return "gpu_memcpy";
    case KernelRecord::Kind::kFill:
      return "gpu_memset";
  }
  return "";
}

struct Track {
  int64_t pid = 0;
  int tid = 0;
};

class Writer {
 public:
  explicit Writer(const Timeline& timeline) : timeline_(timeline) {}

  Json Write() {
    NameTracks();
    for (const TimelineStep& step : timeline_.steps) AddStep(step);
    return {{"schemaVersion", 1},
            {"deviceProperties", DeviceProperties()},
            {"distributedInfo",
             {{"backend", timeline_.backend},
              {"rank", timeline_.rank},
              {"world_size", timeline_.world}}},
            {"times", tp::Name(timeline_.clock)},
            {"clock", "std::chrono::steady_clock of the host"},
            {"traceEvents", std::move(events_)}};
  }

 private:
  std::string Kind() const { return " (" + std::string(tp::Name(timeline_.clock)) + ")"; }
  Track RankThread() const { return {kHostPid + timeline_.rank, kRankThread}; }
  Track StreamTrack(Stream stream) const {
    return {timeline_.device.index, kFirstStream + static_cast<int>(stream)};
  }

  void Slice(const Track& track, const std::string& name, const char* category, int64_t begin_ns,
             int64_t end_ns, Json args) {
    // The clock is old enough that the difference is exact, so that begin and duration add up to
    // the end and no slice sticks out of the one around it.
    const double begin = Microseconds(begin_ns);
    events_.push_back({{"ph", "X"},
                       {"cat", category},
                       {"name", name},
                       {"pid", track.pid},
                       {"tid", track.tid},
                       {"ts", begin},
                       {"dur", Microseconds(end_ns) - begin},
                       {"args", std::move(args)}});
  }

  void Arrow(const char* phase, const Track& track, int64_t at_ns, int64_t id) {
    Json arrow = {{"ph", phase},      {"cat", "ac2g"},    {"name", "ac2g"},           {"id", id},
                  {"pid", track.pid}, {"tid", track.tid}, {"ts", Microseconds(at_ns)}};
    if (*phase == 'f') arrow["bp"] = "e";
    events_.push_back(std::move(arrow));
  }

  void Name(const char* what, const Track& track, const char* key, Json value) {
    events_.push_back({{"ph", "M"},
                       {"name", what},
                       {"pid", track.pid},
                       {"tid", track.tid},
                       {"ts", 0},
                       {"args", {{key, std::move(value)}}}});
  }

  void NameTracks() {
    const std::string rank = "rank " + std::to_string(timeline_.rank);
    const DeviceInfo& device = timeline_.device;
    const Track thread = RankThread();
    Name("process_name", thread, "name",
         rank + " of " + std::to_string(timeline_.world) + " on " + timeline_.host + ", process " +
             std::to_string(timeline_.process) + Kind());
    Name("process_sort_index", thread, "sort_index", 0);
    Name("thread_name", thread, "name", "the rank's thread");
    for (Stream stream : AllStreams()) {
      // The two that a rank of a mesh of one axis has are always told.
      if (stream > Stream::kCommunication && !HasOpsOn(stream)) continue;
      const Track track = StreamTrack(stream);
      if (stream == Stream::kCompute) {
        const std::string where =
            device.gpu ? "GPU " + std::to_string(device.index) : std::string("CPU workers");
        Name("process_name", track, "name", rank + ": " + where + Kind());
        Name("process_sort_index", track, "sort_index", 1);
      }
      Name("thread_name", track, "name",
           tp::Name(stream) + " stream" + (device.gpu ? "" : ", a CPU worker"));
      Name("thread_sort_index", track, "sort_index", track.tid);
    }
  }

  bool HasOpsOn(Stream stream) const {
    return std::ranges::any_of(timeline_.steps, [&](const TimelineStep& step) {
      return std::ranges::any_of(step.ops,
                                 [&](const TimelineOp& op) { return op.stream == stream; });
    });
  }

  Json DeviceProperties() const {
    const DeviceInfo& device = timeline_.device;
    Json properties = Json::array();
    for (int other = 0; other < device.index; ++other) properties.push_back({{"id", other}});
    Json own = {{"id", device.index},
                {"name", device.gpu ? device.name : device.name + " (CPU, no GPU)"},
                {"totalGlobalMem", device.memory_bytes}};
    if (device.gpu) {
      own["computeMajor"] = device.compute_major;
      own["computeMinor"] = device.compute_minor;
      own["numSms"] = device.multiprocessors;
    }
    properties.push_back(std::move(own));
    return properties;
  }

  void AddStep(const TimelineStep& step) {
    const Track thread = RankThread();
    Slice(thread, "barrier", "wait", step.arrived_ns, step.released_ns, Json::object());
    Slice(thread, "ProfilerStep#" + std::to_string(step.number), "user_annotation", step.begin_ns,
          step.end_ns,
          {{"step us", Microseconds(step.duration_ns)}, {"times", tp::Name(timeline_.clock)}});
    const bool enqueued_first =
        !step.ops.empty() && step.ops.front().enqueue_begin_ns < step.begin_ns;
    const int64_t enqueue_begin_ns = enqueued_first ? step.released_ns : step.begin_ns;
    const int64_t enqueue_end_ns = enqueued_first ? step.begin_ns : step.handed_over_ns;
    // The join of a call to its op goes by the id; a step is of no op.
    Slice(thread, "EnqueueStep", "runtime", enqueue_begin_ns, enqueue_end_ns,
          {{"External id", 0}, {"correlation", NextId()}});
    Slice(thread, "Synchronize", "wait", enqueue_end_ns, step.end_ns, Json::object());
    for (const TimelinePhase& phase : step.phases) {
      Slice(StreamTrack(phase.stream), std::string(tp::Name(phase.phase)), "gpu_user_annotation",
            phase.begin_ns, phase.end_ns, {{"step", step.number}});
    }
    for (const TimelineWait& wait : step.waits) {
      Slice(StreamTrack(wait.stream), "wait for " + wait.value, "wait", wait.begin_ns, wait.end_ns,
            Json::object());
    }
    for (const TimelineOp& op : step.ops) AddOp(op);
  }

  void AddOp(const TimelineOp& op) {
    const int64_t id = NextId();
    const Track stream = StreamTrack(op.stream);
    // TensorBoard wants collectives within the step. Other ops of a GPU may overlap where they run.
    if (timeline_.device.gpu && !op.collective) {
      Slice(RankThread(), OpName(op), "cpu_op", op.enqueue_begin_ns, op.enqueue_end_ns,
            OpArgs(op, id));
    } else {
      Slice(stream, OpName(op), "cpu_op", op.begin_ns, op.end_ns, OpArgs(op, id));
    }
    Slice(RankThread(), "enqueue " + TimelineName(op), "runtime", op.enqueue_begin_ns,
          op.enqueue_end_ns, {{"External id", id}, {"correlation", id}});
    if (op.kernels.empty()) return;
    Arrow("s", RankThread(), op.enqueue_begin_ns, id);
    Arrow("f", stream, op.kernels.front().begin_ns, id);
    for (const KernelRecord& kernel : op.kernels) {
      Slice(stream, kernel.name, CategoryOf(kernel.kind), kernel.begin_ns, kernel.end_ns,
            KernelArgs(op, kernel, id));
    }
  }

  std::string OpName(const TimelineOp& op) const {
    if (!op.collective) return TimelineName(op);
    return (timeline_.device.gpu ? "nccl:" : "gloo:") + std::string(tp::Name(op.collective->kind));
  }

  Json OpArgs(const TimelineOp& op, int64_t id) const {
    Json dims = Json::array();
    Json types = Json::array();
    for (const TimelineOperand& input : op.inputs) {
      dims.push_back({input.rows, input.columns});
      types.push_back(TypeName(input.dtype));
    }
    Json args = {{"External id", id},
                 {"Input Dims", dims},
                 {"Input type", types},
                 {"value", op.value},
                 {"phase", tp::Name(op.phase)}};
    if (op.collective) AddCollective(*op.collective, args);
    return args;
  }

  void AddCollective(const TimelineCollective& collective, Json& args) const {
    args["bytes sent"] = collective.bytes_sent;
    args["array bytes"] = collective.array_bytes;
    args["algorithm"] = collective.algorithm;
    args["axis"] = tp::Name(collective.axis);
    args["group"] = collective.group;
    args["sequence number"] = collective.sequence;
  }

  Json KernelArgs(const TimelineOp& op, const KernelRecord& kernel, int64_t id) const {
    Json args = {{"External id", id},
                 {"correlation", id},
                 {"device", timeline_.device.index},
                 {"stream", static_cast<int>(op.stream)},
                 {"value", op.value},
                 {"phase", tp::Name(op.phase)}};
    if (kernel.kind == KernelRecord::Kind::kKernel) {
      args["grid"] = kernel.grid;
      args["block"] = kernel.block;
      args["registers per thread"] = kernel.registers_per_thread;
      args["shared memory"] = kernel.shared_bytes;
    }
    if (timeline_.device.gpu) {
      args["CUPTI correlation"] = kernel.correlation;
      if (kernel.kind == KernelRecord::Kind::kKernel) {
        args["blocks per SM"] = kernel.blocks_per_multiprocessor;
        args["est. achieved occupancy %"] = kernel.occupancy_percent;
      }
    } else {
      args["ran on"] = "a CPU worker: grid and block are 1 for want of a GPU";
    }
    if (op.collective) AddCollective(*op.collective, args);
    return args;
  }

  int64_t NextId() { return ++last_id_; }

  const Timeline& timeline_;
  Json events_ = Json::array();
  int64_t last_id_ = 0;
};

}  // namespace

std::string ToChromeTrace(const Timeline& timeline) {
  // A host's or device's name may hold bytes that are no UTF-8: those are replaced.
  return Writer(timeline).Write().dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace tp
