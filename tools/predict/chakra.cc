#include "tools/predict/chakra.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "tp/io/atomic_file.h"

namespace tp::predict_tool {
namespace {

// Numbers of fields and values of the schema.
constexpr int kMetadataVersion = 1;
constexpr int kNodeId = 1, kNodeName = 2, kNodeType = 3, kNodeDataDeps = 5;
constexpr int kNodeStartMicros = 6, kNodeDurationMicros = 7, kNodeAttribute = 10;
constexpr int kAttributeName = 1, kInt64 = 9, kUint64 = 13, kBool = 27, kString = 29;
constexpr uint64_t kComputeNode = 4, kCollectiveNode = 7;
constexpr char kVersion[] = "0.0.4";

uint64_t ChakraKind(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kAllReduce:
      return 0;
    case CollectiveKind::kAllGather:
      return 2;
    case CollectiveKind::kBroadcast:
      return 5;
    case CollectiveKind::kAllToAll:
      return 6;
    case CollectiveKind::kReduceScatter:
      return 7;
    case CollectiveKind::kBarrier:
      break;
  }
  return 9;
}

// A protobuf message's bytes.
class Message {
 public:
  void Number(int field, uint64_t value) {
    Varint(static_cast<uint64_t>(field) << 3);
    Varint(value);
  }
  void Text(int field, std::string_view text) {
    Varint(static_cast<uint64_t>(field) << 3 | 2);
    Varint(text.size());
    bytes_ += text;
  }
  void Packed(int field, const std::vector<uint64_t>& values) {
    if (values.empty()) return;
    Message packed;
    for (uint64_t value : values) packed.Varint(value);
    Text(field, packed.bytes_);
  }
  // Behind its length, as a file has them one after the other.
  std::string Delimited() const {
    Message file;
    file.Varint(bytes_.size());
    return file.bytes_ + bytes_;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value) {
    for (; value >= 128; value >>= 7) bytes_ += static_cast<char>(value | 128);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

void AddNumber(Message& node, std::string_view name, int field, uint64_t value) {
  Message attribute;
  attribute.Text(kAttributeName, name);
  attribute.Number(field, value);
  node.Text(kNodeAttribute, attribute.bytes());
}

void AddText(Message& node, std::string_view name, std::string_view value) {
  Message attribute;
  attribute.Text(kAttributeName, name);
  attribute.Text(kString, value);
  node.Text(kNodeAttribute, attribute.bytes());
}

// Groups of two or more, in the order of axes and of their first ranks.
std::vector<std::vector<int>> GroupsOf(const Mesh& mesh) {
  std::vector<std::vector<int>> groups;
  for (const Axis& axis : mesh.axes()) {
    if (mesh.Size(axis) < 2) continue;
    for (int rank = 0; rank < mesh.world(); ++rank) {
      if (mesh.Coordinate(rank, axis) == 0) groups.push_back(mesh.Group(rank, axis));
    }
  }
  return groups;
}

void AddCollective(const ScheduledOp& op, const std::vector<std::vector<int>>& groups,
                   const std::vector<int>& group, Message& node) {
  const int64_t bytes = TotalElements(op.call) * SizeOf(op.call.dtype);
  AddNumber(node, "comm_type", kInt64, ChakraKind(op.call.kind));
  AddNumber(node, "comm_size", kInt64, static_cast<uint64_t>(bytes));
  const auto number = std::find(groups.begin(), groups.end(), group) - groups.begin();
  AddText(node, "pg_name", std::to_string(number));
}

}  // namespace

std::string ToChakra(const predict::Prediction& prediction, const Mesh& mesh, int rank) {
  const predict::PredictedRank& like = prediction.ranks[prediction.stand_in[rank]];
  const std::vector<std::vector<int>> groups = GroupsOf(mesh);
  Message metadata;
  metadata.Text(kMetadataVersion, kVersion);
  std::string file = metadata.Delimited();
  std::array<int, kMostStreams> last;
  last.fill(-1);
  for (size_t i = 0; i < like.schedule.ops.size(); ++i) {
    const ScheduledOp& op = like.schedule.ops[i];
    const predict::OpTimes& times = like.times[i];
    const bool collective = op.action == Action::kCollective;
    std::vector<uint64_t> deps(op.waits.begin(), op.waits.end());
    int& before = last[static_cast<int>(op.stream)];
    if (before >= 0) deps.push_back(static_cast<uint64_t>(before));
    before = static_cast<int>(i);
    Message node;
    node.Number(kNodeId, i);
    node.Text(kNodeName, op.name);
    node.Number(kNodeType, collective ? kCollectiveNode : kComputeNode);
    node.Packed(kNodeDataDeps, deps);
    node.Number(kNodeStartMicros, static_cast<uint64_t>(times.begin) / 1'000'000);
    node.Number(kNodeDurationMicros, static_cast<uint64_t>(times.end - times.begin) / 1'000'000);
    AddNumber(node, "is_cpu_op", kBool, 0);
    AddText(node, "phase", Name(op.phase));
    AddText(node, "stream", Name(op.stream));
    AddNumber(node, "predicted_duration_ps", kInt64,
              static_cast<uint64_t>(times.end - times.begin));
    if (collective) {
      AddCollective(op, groups, mesh.Group(rank, op.axis), node);
    } else {
      const predict::OpWork& work = like.works[i];
      AddNumber(node, "num_ops", kInt64, static_cast<uint64_t>(std::llround(work.flops)));
      AddNumber(node, "tensor_size", kUint64, static_cast<uint64_t>(std::llround(work.bytes)));
    }
    file += node.Delimited();
  }
  return file;
}

std::string ChakraGroups(const Mesh& mesh) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const std::vector<int>& group : GroupsOf(mesh)) json[std::to_string(json.size())] = group;
  return json.dump() + "\n";
}

Status WriteChakra(const predict::Prediction& prediction, const Mesh& mesh,
                   const std::string& prefix) {
  TP_RETURN_IF_ERROR(io::WriteFileAtomically(prefix + ".groups.json", ChakraGroups(mesh)));
  for (int rank = 0; rank < mesh.world(); ++rank) {
    TP_RETURN_IF_ERROR(io::WriteFileAtomically(prefix + "." + std::to_string(rank) + ".et",
                                               ToChakra(prediction, mesh, rank)));
  }
  return OkStatus();
}

}  // namespace tp::predict_tool
