// Machines that nobody here has measured.
//
// Peaks and memories are NVIDIA's data sheets': A100 SXM 80GB (2021), H100 SXM and H200 SXM (2024),
// B200 in DGX (2024; dense). What of an NVLink a collective gets is 20.6 GB/s of each of the 18
// links of a Hopper GPU by NCCL 2.30's tuning model, and the same part of the others'; latencies
// are that model's base and hop of a ring of LL messages; so are those of the network. What
// products and memory reach, what a launch takes and that a collective occupies 16 multiprocessors
// are guesses until a calibration of the machine says.
#include <charconv>
#include <optional>

#include "sim/topology/machine.h"

namespace tp::sim {
namespace {

struct Gpu {
  std::string_view key;
  std::string_view name;
  double memory_bytes, memory_bytes_per_second;
  int multiprocessors;
  double bf16, fp32, fp64;
  double nvlink;  // bytes a second, one way, that collectives get
  bool adds;      // its switch
  int port;       // Gbit/s of the network that its nodes come with
  int most;       // in a node
};
constexpr Gpu kGpus[] = {
    {"a100", "A100 SXM", 80e9, 2.039e12, 108, 312e12, 19.5e12, 19.5e12, 247e9, false, 200, 8},
    {"h100", "H100 SXM", 80e9, 3.35e12, 132, 989.4e12, 66.9e12, 66.9e12, 370.8e9, true, 400, 8},
    {"h200", "H200 SXM", 141e9, 4.8e12, 132, 989.4e12, 66.9e12, 66.9e12, 370.8e9, true, 400, 8},
    {"b200", "B200", 180e9, 7.7e12, 148, 2250e12, 75e12, 37e12, 741.6e9, true, 400, 72},
};

std::optional<int> ParseCount(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

Status Unknown(std::string_view name) {
  std::string all;
  for (const std::string& known : PresetNames()) all += (all.empty() ? "" : ", ") + known;
  return InvalidArgument("no preset is called '" + std::string(name) + "'; there are " + all +
                         ", with other numbers of GPUs in a node after the x and of Gbit/s "
                         "after -ib");
}

}  // namespace

std::vector<std::string> PresetNames() {
  std::vector<std::string> names;
  for (const Gpu& gpu : kGpus) {
    names.push_back(std::string(gpu.key) + "x8-ib" + std::to_string(gpu.port));
  }
  return names;
}

StatusOr<Machine> PresetMachine(std::string_view name) {
  const size_t x = name.find('x');
  if (x == std::string_view::npos) return Unknown(name);
  const size_t dash = name.find("-ib");
  const std::optional<int> per_node = ParseCount(name.substr(x + 1, dash - x - 1));
  std::optional<int> port = 0;
  if (dash != std::string_view::npos) port = ParseCount(name.substr(dash + 3));
  for (const Gpu& gpu : kGpus) {
    if (name.substr(0, x) != gpu.key) continue;
    if (!per_node || !port || *per_node > gpu.most) return Unknown(name);
    Machine machine;
    machine.name = name;
    machine.unvalidated = "preset: no measurement of such a machine backs it";
    machine.source = "data sheets, and NCCL 2.30's tuning model for links";
    machine.device = {.name = std::string(gpu.name),
                      .memory_bytes = gpu.memory_bytes,
                      .memory_bytes_per_second = gpu.memory_bytes_per_second,
                      .multiprocessors = gpu.multiprocessors,
                      .flops = {{DType::kBFloat16, gpu.bf16},
                                {DType::kFloat16, gpu.bf16},
                                {DType::kFloat32, gpu.fp32},
                                {DType::kFloat64, gpu.fp64}},
                      .reached_flops = 0.7,
                      .reached_memory = 0.85,
                      .launch_us = 2.5,
                      .collective_processors = 16.0 / gpu.multiprocessors};
    machine.devices_per_node = *per_node;
    machine.within = {WithinSpec::Kind::kSwitch, gpu.nvlink, 0.6, gpu.adds};
    if (*port > 0) {
      constexpr int kMostDevices = 1 << 16;
      machine.nodes = kMostDevices / machine.devices_per_node;
      constexpr double kReached = 0.96;  // of a port, after headers
      machine.between = {BetweenSpec::Per::kDevice, kReached * *port * 1e9 / 8, 2.7};
    }
    return machine;
  }
  return Unknown(name);
}

}  // namespace tp::sim
