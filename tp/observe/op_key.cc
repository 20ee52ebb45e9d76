#include "tp/observe/op_key.h"

#include <map>

namespace tp {

std::vector<OpKey> KeysOf(const Schedule& schedule) {
  std::vector<OpKey> keys;
  std::map<OpKey, int> parts;
  for (const ScheduledOp& op : schedule.ops) {
    OpKey key{.value = op.value, .action = op.action, .axis = op.axis};
    if (op.action == Action::kCollective) key.kind = op.call.kind;
    const int part = parts[key]++;
    key.part = part;
    keys.push_back(key);
  }
  return keys;
}

}  // namespace tp
