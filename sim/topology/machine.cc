#include "sim/topology/machine.h"

#include <glog/logging.h>

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace tp::sim {
namespace {

using Json = nlohmann::ordered_json;

// Reads an object key by key, and remembers the first thing that is wrong.
class Reader {
 public:
  Reader(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) Refuse("", "must be an object");
  }

  void Text(const char* key, std::string& value) {
    const Json* found = Find(key, false);
    if (found == nullptr) return;
    if (!found->is_string()) return Refuse(key, "must be text");
    value = found->get<std::string>();
  }

  enum class Least { kAboveZero, kZero };
  void Number(const char* key, double& value, bool needed, Least least, double most = 1e30) {
    const Json* found = Find(key, needed);
    if (found == nullptr) return;
    const double number = found->is_number() ? found->get<double>() : -1;
    if (!(number >= 0) || (least == Least::kAboveZero && number == 0) || number > most) {
      return Refuse(key, std::string("must be a number ") +
                             (least == Least::kZero ? "of 0 or more" : "above 0") +
                             (most < 1e30 ? ", at most " + Json(most).dump() : ""));
    }
    value = number;
  }
  void Count(const char* key, int& value, int most) {
    double number = value;
    Number(key, number, false, Least::kAboveZero, most);
    if (number != std::floor(number)) return Refuse(key, "must be a whole number");
    value = static_cast<int>(number);
  }
  void YesNo(const char* key, bool& value) {
    const Json* found = Find(key, false);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Refuse(key, "must be true or false");
    value = found->get<bool>();
  }
  template <typename Choice>
  void OneOf(const char* key, const std::map<std::string, Choice>& choices, Choice& value) {
    std::string text, all;
    Text(key, text);
    if (text.empty()) return;
    const auto found = choices.find(text);
    if (found != choices.end()) {
      value = found->second;
      return;
    }
    for (const auto& [name, _] : choices) all += (all.empty() ? "" : ", ") + name;
    Refuse(key, "must be one of " + all);
  }
  // The reader of an object in this one; of an empty one where it is missing.
  Reader Object(const char* key, bool needed) {
    static const Json kNone = Json::object();
    const Json* found = Find(key, needed);
    return Reader(found == nullptr ? kNone : *found, where_ + "." + key);
  }
  const Json& json() const { return json_; }
  const Json* Find(const char* key, bool needed) {
    known_.insert(key);
    if (!json_.is_object()) return nullptr;
    const auto found = json_.find(key);
    if (found != json_.end()) return &*found;
    if (needed) Refuse(key, "is missing");
    return nullptr;
  }

  void Refuse(const std::string& key, const std::string& what) {
    if (!status_.ok()) return;
    status_ = InvalidArgument(where_ + (key.empty() ? "" : "." + key) + ": " + what);
  }
  // OK, or the first thing that is wrong here; a key that nobody asked for is.
  Status Finish() {
    if (status_.ok() && json_.is_object()) {
      for (const auto& [key, _] : json_.items()) {
        if (!known_.contains(key)) Refuse(key, "is no key of a machine file");
      }
    }
    return status_;
  }

 private:
  const Json& json_;
  std::string where_;
  std::set<std::string> known_;
  Status status_;
};

Status ReadDevice(Reader reader, DeviceSpec& device) {
  using Least = Reader::Least;
  reader.Text("name", device.name);
  reader.Number("memory_bytes", device.memory_bytes, true, Least::kAboveZero);
  reader.Number("memory_bytes_per_second", device.memory_bytes_per_second, true, Least::kAboveZero);
  reader.Count("multiprocessors", device.multiprocessors, 1 << 20);
  reader.Number("reached_flops", device.reached_flops, false, Least::kAboveZero);
  reader.Number("reached_memory", device.reached_memory, false, Least::kAboveZero);
  reader.Number("launch_us", device.launch_us, false, Least::kZero, 1e9);
  reader.Number("gap_us", device.gap_us, false, Least::kZero, 1e9);
  reader.Number("handover_us", device.handover_us, false, Least::kZero, 1e9);
  reader.Number("collective_processors", device.collective_processors, false, Least::kZero, 1);
  reader.Number("copied_bytes", device.copied_bytes, false, Least::kZero, 1e15);
  Reader flops = reader.Object("flops", true);
  for (DType dtype : kAllDTypes) {
    const std::string key(Name(dtype));
    double value = 0;
    flops.Number(key.c_str(), value, false, Least::kAboveZero);
    if (value > 0) device.flops[dtype] = value;
  }
  if (device.flops.empty()) flops.Refuse("", "names no type of numbers; \"fp32\" is one");
  TP_RETURN_IF_ERROR(flops.Finish());
  return reader.Finish();
}

Status ReadLinks(Reader within, Reader between, Machine& machine) {
  using Least = Reader::Least;
  within.OneOf("kind",
               {{"switch", WithinSpec::Kind::kSwitch},
                {"mesh", WithinSpec::Kind::kMesh},
                {"bus", WithinSpec::Kind::kBus}},
               machine.within.kind);
  within.Number("bytes_per_second", machine.within.bytes_per_second, machine.devices_per_node > 1,
                Least::kAboveZero);
  within.YesNo("adds", machine.within.adds);
  within.Number("latency_us", machine.within.latency_us, false, Least::kZero, 1e9);
  TP_RETURN_IF_ERROR(within.Finish());
  between.OneOf("per", {{"device", BetweenSpec::Per::kDevice}, {"node", BetweenSpec::Per::kNode}},
                machine.between.per);
  between.Number("bytes_per_second", machine.between.bytes_per_second, machine.nodes > 1,
                 Least::kAboveZero);
  between.Number("latency_us", machine.between.latency_us, false, Least::kZero, 1e9);
  return between.Finish();
}

}  // namespace

double DeviceSpec::FlopsOf(DType dtype) const {
  auto found = flops.find(dtype);
  if (found == flops.end()) found = flops.find(DType::kFloat32);
  if (found == flops.end()) found = flops.begin();
  CHECK(found != flops.end());
  return found->second * reached_flops;
}

double Machine::SlownessOf(int device) const {
  const auto found = slower.find(device);
  return found == slower.end() ? 1 : found->second;
}

StatusOr<Machine> ParseMachine(std::string_view text, const std::string& name) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) return InvalidArgument(name + ": is no JSON");
  Machine machine;
  Reader reader(json, name);
  reader.Text("name", machine.name);
  reader.Text("unvalidated", machine.unvalidated);
  reader.Text("source", machine.source);
  constexpr int kMost = 1 << 16;
  reader.Count("devices_per_node", machine.devices_per_node, kMost);
  reader.Count("nodes", machine.nodes, kMost);
  reader.Find("fit", false);
  double part_bytes = 0;
  reader.Number("sum_part_bytes", part_bytes, false, Reader::Least::kZero, 1e15);
  machine.sum_part_bytes = static_cast<int64_t>(part_bytes);
  if (int64_t{machine.devices_per_node} * machine.nodes > kMost)
    reader.Refuse("nodes", "makes more than 65536 devices");
  Reader device = reader.Object("device", true);
  Reader within = reader.Object("within", false);
  Reader between = reader.Object("between", false);
  TP_RETURN_IF_ERROR(reader.Finish());
  TP_RETURN_IF_ERROR(ReadDevice(device, machine.device));
  TP_RETURN_IF_ERROR(ReadLinks(within, between, machine));
  return machine;
}

std::string ToJson(const Machine& machine) {
  const DeviceSpec& device = machine.device;
  Json flops = Json::object();
  for (const auto& [dtype, value] : device.flops) flops[std::string(Name(dtype))] = value;
  const char* kKinds[] = {"switch", "mesh", "bus"};
  Json json = {{"name", machine.name},
               {"unvalidated", machine.unvalidated},
               {"source", machine.source},
               {"sum_part_bytes", machine.sum_part_bytes},
               {"devices_per_node", machine.devices_per_node},
               {"nodes", machine.nodes},
               {"device",
                {{"name", device.name},
                 {"memory_bytes", device.memory_bytes},
                 {"memory_bytes_per_second", device.memory_bytes_per_second},
                 {"multiprocessors", device.multiprocessors},
                 {"flops", flops},
                 {"reached_flops", device.reached_flops},
                 {"reached_memory", device.reached_memory},
                 {"launch_us", device.launch_us},
                 {"gap_us", device.gap_us},
                 {"handover_us", device.handover_us},
                 {"collective_processors", device.collective_processors},
                 {"copied_bytes", device.copied_bytes}}}};
  if (machine.devices_per_node > 1) {
    json["within"] = {{"kind", kKinds[static_cast<int>(machine.within.kind)]},
                      {"bytes_per_second", machine.within.bytes_per_second},
                      {"latency_us", machine.within.latency_us},
                      {"adds", machine.within.adds}};
  }
  if (machine.nodes > 1) {
    json["between"] = {
        {"per", machine.between.per == BetweenSpec::Per::kDevice ? "device" : "node"},
        {"bytes_per_second", machine.between.bytes_per_second},
        {"latency_us", machine.between.latency_us}};
  }
  return json.dump(1) + "\n";
}

}  // namespace tp::sim
