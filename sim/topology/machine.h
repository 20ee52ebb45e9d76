// Machine: what a simulation knows of the devices and links that it times, from a file or a preset.
//
// A machine has nodes of devices of one kind. Devices of a node talk over links of one kind, nodes
// over a network; what is not regular is an exception: a device that is slower, a pair that has
// less. The file is JSON, with every size in plain units:
//
//   {"name": "h100x8-ib400", "unvalidated": "data sheet", "source": "...", "devices_per_node": 8,
//    "nodes": 128, "sum_part_bytes": 8388608,
//    "device": {"name": "H100 SXM", "memory_bytes": 80e9, "memory_bytes_per_second": 3.35e12,
//               "multiprocessors": 132, "flops": {"bf16": 989e12, "fp32": 67e12},
//               "reached_flops": 0.7, "reached_memory": 0.85, "launch_us": 2.5,
//               "gap_us": 1, "handover_us": 1, "collective_processors": 0.12,
//               "copied_bytes": 6291457},
//    "within": {"kind": "switch", "bytes_per_second": 370e9, "latency_us": 1.5,
//              "adds": true},
//    "between": {"per": "device", "bytes_per_second": 48e9, "latency_us": 5}}
//
// `unvalidated` says why nobody should trust it: no measurement of this project backs it. It is
// empty in files that calibration wrote. The key "fit" is the cost model's (backends/predict).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tp/core/dtype.h"
#include "tp/core/status.h"

namespace tp::sim {

struct DeviceSpec {
  std::string name;
  double memory_bytes = 0;
  double memory_bytes_per_second = 0;
  int multiprocessors = 1;
  std::map<DType, double> flops;  // a second, at the most, of matrix products
  double reached_flops = 1;       // the part of these that large products reach
  double reached_memory = 1;
  double launch_us = 0;              // that each op takes beside its work
  double gap_us = 0;                 // from the end of an op's kernels to the next op's
  double handover_us = 0;            // that an op takes more where it waits for the other stream
  double collective_processors = 0;  // the part of its multiprocessors that a collective occupies
  // An all_gather of which a member sends so many bytes, or more, goes by copy engines, as each
  // turn of an all_to_all does, and occupies no multiprocessors; 0: none does.
  double copied_bytes = 0;

  // That products reach, of the type or else of fp32; above 0.
  double FlopsOf(DType dtype) const;
};

// How devices of one node talk.
struct WithinSpec {
  enum class Kind {
    kSwitch,  // each device sends and receives at the rate, with whomever
    kMesh,    // each pair of devices has the rate, each way
    kBus,     // all of the node's traffic together has the rate
  };
  Kind kind = Kind::kSwitch;
  double bytes_per_second = 0;
  double latency_us = 0;
  bool adds = false;  // the switch adds what it hands on (NVLink SHARP)
};

// How nodes talk.
struct BetweenSpec {
  enum class Per { kDevice, kNode };  // who has a port of its own
  Per per = Per::kDevice;
  double bytes_per_second = 0;  // of a port, each way; 0: there is one node
  double latency_us = 0;
};

struct Machine {
  std::string name;
  std::string unvalidated;
  std::string source;
  DeviceSpec device;
  // Of the backend that runs there: sums over ranks are cut into parts of so many bytes (lower.h).
  int64_t sum_part_bytes = 0;
  int devices_per_node = 1;
  int nodes = 1;
  WithinSpec within;
  BetweenSpec between;

  // What is not as the rest.
  std::map<int, double> slower;  // by device: its work takes so many times as long
  struct SlowPair {
    int a = 0;
    int b = 0;
    double part = 1;  // of what the pair would have, both ways
  };
  std::vector<SlowPair> slow_pairs;

  int devices() const { return devices_per_node * nodes; }
  int NodeOf(int device) const { return device / devices_per_node; }
  double SlownessOf(int device) const;
};

// From the text of a file, which errors call `name`. Errors: INVALID_ARGUMENT that names the key
// and what it must be.
StatusOr<Machine> ParseMachine(std::string_view text, const std::string& name);
// What ParseMachine reads back.
std::string ToJson(const Machine& machine);

// "h100x8-ib400": a GPU, how many in a node, and with "-ib" the Gbit/s of each GPU's port on the
// network. GPUs: a100, h100, h200, b200; all presets are unvalidated. Errors: INVALID_ARGUMENT that
// says which there are.
StatusOr<Machine> PresetMachine(std::string_view name);
std::vector<std::string> PresetNames();

}  // namespace tp::sim
