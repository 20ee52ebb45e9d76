#include "backends/nccl/kernels/fused_attention.h"

#include <cudnn_frontend.h>
#include <fmt/format.h>
#include <glog/logging.h>

#include <bit>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/nccl/kernels/cudnn_library.h"

namespace cudnn_frontend {
// Where its calls find their symbols.
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace tp::nccl {
namespace {

namespace fe = cudnn_frontend;

// Up to this version the frontend copies lengths from the host, which has no place in a step, to
// work gradients out of sequences that tiles of so many keys do not fill.
constexpr size_t kLastToPad = 91500;
constexpr int64_t kTile = 128;

// Where the order of sums is fixed, cuDNN keeps the slopes of a gradient, 2 bytes for each query,
// key and head. It may have this part of a GPU's memory; the own kernel keeps none of them.
constexpr int64_t kScratchPart = 16;

bool IsGradient(const KernelCall& c) { return c.in.size() == 6; }

// As cuDNN counts a tensor's dimensions: batch, head, place, and element of the head.
struct Layout {
  std::vector<int64_t> sizes, strides;
};

// Of [b, place, g, (r,) (d)]; null where the heads of the groups are not evenly apart.
std::optional<Layout> LayoutOf(const DeviceView& x, bool of_queries, bool of_heads) {
  const Dims& dims = x.dims;
  Dim head = dims[2];
  if (of_queries) {
    const Dim& in_group = dims[3];
    if (head.size > 1 && in_group.size > 1 && head.stride != in_group.size * in_group.stride) {
      return std::nullopt;
    }
    head = {head.size * in_group.size, in_group.size > 1 ? in_group.stride : head.stride};
  }
  const Dim element = of_heads ? dims[dims.size() - 1] : Dim{1, 1};
  if (element.stride != 1) return std::nullopt;
  Layout layout{{dims[0].size, head.size, dims[1].size, element.size},
                {dims[0].stride, head.stride, dims[1].stride, 1}};
  int64_t extent = element.size;
  for (int d = 0; d < 3; ++d) extent = std::max(extent, layout.sizes[d] * layout.strides[d]);
  for (int d = 0; d < 3; ++d) {
    if (layout.sizes[d] == 1) layout.strides[d] = extent;  // nobody asks where the next one is
  }
  return layout;
}

// A tensor that cuDNN reads or writes.
struct Part {
  const DeviceView* view = nullptr;
  bool of_queries = false, of_heads = true;
};

// In the order of the op: in, then out.
std::vector<Part> PartsOf(const KernelCall& c) {
  if (!IsGradient(c)) {
    return {{&c.in[0], true},
            {&c.in[1], false},
            {&c.in[2], false},
            {&c.out[0], true},
            {&c.out[1], true, false}};
  }
  return {{&c.in[0], true},  {&c.in[1], false},       {&c.in[2], false},
          {&c.in[3], true},  {&c.in[4], true, false}, {&c.in[5], true},
          {&c.out[0], true}, {&c.out[1], false},      {&c.out[2], false}};
}

// Whether 16 bytes can be taken at once, wherever a line of the head begins.
bool IsAligned(const Part& part, const Layout& layout) {
  const int64_t bytes = SizeOf(part.view->dtype);
  const int64_t unit = part.of_heads ? 16 : bytes;
  if (reinterpret_cast<uintptr_t>(part.view->data) % unit != 0) return false;
  for (int d = 0; d < 3; ++d) {
    if (layout.strides[d] * bytes % unit != 0 || layout.strides[d] <= 0) return false;
  }
  return true;
}

// The layouts of a call that cuDNN could take; empty of others.
std::vector<Layout> LayoutsOf(const KernelCall& c) {
  const DeviceView &q = c.in[0], &k = c.in[1];
  if (q.dtype != DType::kBFloat16 && q.dtype != DType::kFloat16) return {};
  if (c.order == SumOrder::kInvariant || q.empty() || k.empty()) return {};
  const int64_t size = q.Last().size;
  if (size > 128 || size % 8 != 0) return {};
  if (IsGradient(c) && k.dims[1].size % kTile != 0 && CudnnVersion() <= kLastToPad) return {};
  if (c.op.PartOf('q').begin != 0 || q.dims[1].size != k.dims[1].size) return {};
  std::vector<Layout> layouts;
  for (const Part& part : PartsOf(c)) {
    const std::optional<Layout> layout = LayoutOf(*part.view, part.of_queries, part.of_heads);
    if (!layout || !IsAligned(part, *layout)) return {};
    layouts.push_back(*layout);
  }
  return layouts;
}

// One for each GPU, since a handle belongs to one. They are used under the lock of the plans.
StatusOr<cudnnHandle_t> HandleOf(int device) {
  static std::map<int, cudnnHandle_t>& handles = *new std::map<int, cudnnHandle_t>;
  const auto found = handles.find(device);
  if (found != handles.end()) return found->second;
  cudnnHandle_t handle = nullptr;
  const cudnnStatus_t status = fe::detail::create_handle(&handle);
  if (status != CUDNN_STATUS_SUCCESS) {
    return Unavailable(std::string("cudnnCreate: ") + fe::detail::get_error_string(status));
  }
  return handles[device] = handle;
}

std::mutex& Lock() {
  static std::mutex& lock = *new std::mutex;
  return lock;
}

class Plan : public FusedAttention {
 public:
  // Throws what the frontend throws.
  static StatusOr<std::unique_ptr<Plan>> Make(const KernelCall& c,
                                              const std::vector<Layout>& layouts, int device) {
    TP_ASSIGN_OR_RETURN(const cudnnHandle_t handle, HandleOf(device));
    std::unique_ptr<Plan> plan(new Plan(handle));
    plan->Describe(c, layouts);
    fe::error_t error = plan->graph_.build(handle, {fe::HeurMode_t::A});
    if (error.is_bad()) return Unavailable(error.get_message());
    if (plan->graph_.get_workspace_size(plan->scratch_bytes_).is_bad()) {
      return Internal("a plan that does not know its workspace");
    }
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess) return Internal("cudaMemGetInfo failed");
    const int64_t most = static_cast<int64_t>(total) / kScratchPart;
    if (plan->scratch_bytes_ > most) {
      return Unavailable(fmt::format("it would take {} bytes of scratch memory, and may take {}",
                                     plan->scratch_bytes_, most));
    }
    std::string name;
    VLOG(1) << "cuDNN's plan: "
            << (plan->graph_.get_plan_name(name).is_good() ? name : "without a name") << ", "
            << plan->scratch_bytes_ << " bytes of scratch memory";
    return plan;
  }

  int64_t scratch_bytes() const override { return scratch_bytes_; }

  cudaError_t Enqueue(const KernelCall& c, cudaStream_t stream) const override {
    std::unordered_map<int64_t, void*> data;
    int64_t id = 0;
    for (const Part& part : PartsOf(c)) data[++id] = part.view->data;
    const std::lock_guard<std::mutex> lock(Lock());
    try {
      if (fe::detail::set_stream(handle_, stream) != CUDNN_STATUS_SUCCESS) {
        return cudaErrorInvalidResourceHandle;
      }
      fe::error_t error = graph_.execute(handle_, data, c.scratch.partials);
      if (error.is_good()) return cudaSuccess;
      LOG(ERROR) << "cuDNN's attention: " << error.get_message();
    } catch (const std::exception& e) {
      LOG(ERROR) << "cuDNN's attention: " << e.what();
    }
    return cudaErrorLaunchFailure;
  }

 private:
  using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;

  explicit Plan(cudnnHandle_t handle) : handle_(handle) {}

  // Tensors are numbered from 1 on, as PartsOf has them.
  void Describe(const KernelCall& c, const std::vector<Layout>& layouts) {
    const fe::DataType_t type =
        c.in[0].dtype == DType::kBFloat16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::HALF;
    graph_.set_io_data_type(type)
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT);
    const auto scale = static_cast<float>(c.op.attributes.Number("scale"));
    const auto name = [&](size_t i, const Tensor& tensor) {
      const bool wide = PartsOf(c)[i].view->dtype == DType::kFloat32;
      tensor->set_output(true)
          .set_uid(static_cast<int64_t>(i) + 1)
          .set_dim(layouts[i].sizes)
          .set_stride(layouts[i].strides)
          .set_data_type(wide ? fe::DataType_t::FLOAT : type);
    };
    std::vector<Tensor> in;
    for (size_t i = 0; i < c.in.size(); ++i) {
      const bool wide = c.in[i].dtype == DType::kFloat32;
      in.push_back(graph_.tensor(fe::graph::Tensor_attributes()
                                     .set_uid(static_cast<int64_t>(i) + 1)
                                     .set_dim(layouts[i].sizes)
                                     .set_stride(layouts[i].strides)
                                     .set_data_type(wide ? fe::DataType_t::FLOAT : type)));
    }
    if (IsGradient(c)) {
      auto [dq, dk, dv] =
          graph_.sdpa_backward(in[0], in[1], in[2], in[3], in[5], in[4],
                               fe::graph::SDPA_backward_attributes()
                                   .set_attn_scale(scale)
                                   .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                                   .set_diagonal_band_right_bound(0)
                                   .set_deterministic_algorithm(true));
      name(6, dq);
      name(7, dk);
      name(8, dv);
      return;
    }
    auto [o, lse] = graph_.sdpa(in[0], in[1], in[2],
                                fe::graph::SDPA_attributes()
                                    .set_attn_scale(scale)
                                    .set_diagonal_alignment(fe::DiagonalAlignment_t::TOP_LEFT)
                                    .set_diagonal_band_right_bound(0)
                                    .set_implementation(fe::AttentionImplementation_t::COMPOSITE)
                                    .set_generate_stats(true));
    name(3, o);
    name(4, lse);
  }

  const cudnnHandle_t handle_;
  fe::graph::Graph graph_;
  int64_t scratch_bytes_ = 0;
};

std::string ToString(const KernelCall& c) {
  const Dims &q = c.in[0].dims, &k = c.in[1].dims;
  return fmt::format("{} of {} x {} queries and {} keys, {} x {} heads of {}, {}",
                     IsGradient(c) ? "the gradient" : "attention", q[0].size, q[1].size, k[1].size,
                     q[2].size, q[3].size, q[4].size, Name(c.in[0].dtype));
}

std::unique_ptr<Plan> TryToMake(const KernelCall& c, const std::vector<Layout>& layouts,
                                int device) {
  std::string why;
  try {
    StatusOr<std::unique_ptr<Plan>> plan = Plan::Make(c, layouts, device);
    if (plan.ok()) return *std::move(plan);
    why = plan.status().ToString();
  } catch (const std::exception& e) {
    why = e.what();
  }
  LOG(WARNING) << "attention on GPUs goes by this engine's own kernel, since cuDNN does not take "
               << ToString(c) << ": " << why;
  return nullptr;
}

// All that a plan depends on.
std::vector<int64_t> KeyOf(const KernelCall& c, const std::vector<Layout>& layouts, int device) {
  std::vector<int64_t> key = {device, static_cast<int64_t>(c.in[0].dtype), IsGradient(c),
                              std::bit_cast<int64_t>(c.op.attributes.Number("scale"))};
  for (const Layout& layout : layouts) {
    key.insert(key.end(), layout.sizes.begin(), layout.sizes.end());
    key.insert(key.end(), layout.strides.begin(), layout.strides.end());
  }
  return key;
}

}  // namespace

const FusedAttention* FusedAttention::Of(const KernelCall& c) {
  static auto& plans = *new std::map<std::vector<int64_t>, std::unique_ptr<Plan>>;
  const std::vector<Layout> layouts = LayoutsOf(c);
  if (layouts.empty()) return nullptr;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return nullptr;
  void* const library = CudnnLibrary();
  if (library == nullptr) return nullptr;
  const std::lock_guard<std::mutex> lock(Lock());
  fe::cudnn_dlhandle = library;
  const std::vector<int64_t> key = KeyOf(c, layouts, device);
  auto found = plans.find(key);
  if (found == plans.end()) found = plans.emplace(key, TryToMake(c, layouts, device)).first;
  return found->second.get();
}

}  // namespace tp::nccl
