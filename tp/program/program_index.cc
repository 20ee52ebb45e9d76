// What a Program answers by value or by name, from an index that grows with it.
#include <glog/logging.h>

#include <algorithm>
#include <charconv>
#include <unordered_set>
#include <utility>

#include "tp/program/program.h"

namespace tp {
namespace {

// The entry of value `id`, which a broken program may have no value for. Negative ids have none.
template <typename T>
T* EntryOf(std::vector<T>& by_value, ValueId id, T absent) {
  if (id < 0) return nullptr;
  if (static_cast<size_t>(id) >= by_value.size()) by_value.resize(id + 1, std::move(absent));
  return &by_value[id];
}

// "x.3" as ("x", 3); a number below 2 where `name` does not end in one.
std::pair<std::string, int> SplitNumber(const std::string& name) {
  const size_t dot = name.rfind('.');
  int number = 0;
  if (dot == std::string::npos) return {name, 0};
  const char* end = name.data() + name.size();
  const auto [behind, error] = std::from_chars(name.data() + dot + 1, end, number);
  if (error != std::errc() || behind != end) return {name, 0};
  return {name.substr(0, dot), number};
}

}  // namespace

const Program::Index& Program::index() const {
  // Nothing is written where nothing was handed out: threads may ask at one time.
  if (handed_out_) {
    MakeIndex();
    handed_out_ = false;
  }
  return index_;
}

void Program::MakeIndex() const {
  index_ = Index();
  for (size_t i = 0; i < values_.size(); ++i) IndexValue(static_cast<ValueId>(i));
  for (size_t i = 0; i < ops_.size(); ++i) IndexOp(static_cast<int>(i));
  for (ValueId id : results_) IndexResult(id);
}

void Program::IndexValue(ValueId id) const {
  EntryOf(index_.definition, id, -1);
  EntryOf(index_.update, id, -1);
  EntryOf(index_.readers, id, {});
  EntryOf(index_.results, id, 0);
  index_.named[values_[id].name].push_back(id);
}

void Program::IndexOp(int op) const {
  const Op& indexed = ops_[op];
  for (ValueId id : indexed.outputs) {
    int* definition = EntryOf(index_.definition, id, -1);
    if (definition != nullptr && *definition < 0) *definition = op;
  }
  for (ValueId id : indexed.inputs) {
    if (auto* readers = EntryOf(index_.readers, id, {})) readers->push_back(op);
  }
  const int updates = std::min(indexed.def->updates, static_cast<int>(indexed.inputs.size()));
  for (int i = 0; i < updates; ++i) {
    int* update = EntryOf(index_.update, indexed.inputs[i], -1);
    if (update != nullptr && *update < 0) *update = op;
  }
}

void Program::IndexResult(ValueId id) const {
  if (int* results = EntryOf(index_.results, id, 0)) ++*results;
}

void Program::ForgetName(ValueId id) {
  const std::string& name = values_[id].name;
  const auto found = index_.named.find(name);
  if (found == index_.named.end()) return;
  std::erase(found->second, id);
  if (!found->second.empty()) return;
  index_.named.erase(found);
  const auto [base, number] = SplitNumber(name);
  const auto free = index_.free_number.find(base);
  if (number >= 2 && free != index_.free_number.end()) {
    free->second = std::min(free->second, number);
  }
}

ValueId Program::AddValue(Value value) {
  values_.push_back(std::move(value));
  const auto id = static_cast<ValueId>(values_.size()) - 1;
  IndexValue(id);
  return id;
}

void Program::DropLastValue() {
  const auto id = static_cast<ValueId>(values_.size()) - 1;
  ForgetName(id);
  values_.pop_back();
  index_.definition.resize(id);
  index_.update.resize(id);
  index_.readers.resize(id);
  index_.results.resize(id);
}

void Program::AddOp(Op op) {
  ops_.push_back(std::move(op));
  IndexOp(static_cast<int>(ops_.size()) - 1);
}

void Program::AddResult(ValueId id) {
  results_.push_back(id);
  IndexResult(id);
}

void Program::Rename(ValueId id, std::string name) {
  ForgetName(id);
  values_.at(id).name = std::move(name);
  index_.named[values_[id].name].push_back(id);
}

void Program::ReplaceOps(std::vector<Op> ops) {
  ops_ = std::move(ops);
  handed_out_ = false;
  MakeIndex();
}

Value& Program::mutable_value(ValueId id) {
  handed_out_ = true;
  return values_.at(id);
}

std::vector<Op>& Program::mutable_ops() {
  handed_out_ = true;
  return ops_;
}

int Program::DefinitionOf(ValueId id) const {
  const int op = index().definition.at(id);
  CHECK_GE(op, 0) << "no op writes value " << id << " (" << value(id).name << ")";
  return op;
}

int Program::UpdateOf(ValueId id) const { return index().update.at(id); }

int Program::UsesOf(ValueId id) const {
  const Index& index = this->index();
  return static_cast<int>(index.readers.at(id).size()) + index.results.at(id);
}

std::vector<ValueId> Program::SharersOf(ValueId id) const {
  const Index& index = this->index();
  std::vector<ValueId> sharers = {id};
  std::unordered_set<ValueId> known = {id};  // a broken program may go round in circles
  for (size_t i = 0; i < sharers.size(); ++i) {
    for (int reader : index.readers.at(sharers[i])) {
      if (!ops_[reader].Is(kRedistribute)) continue;
      for (ValueId out : ops_[reader].outputs) {
        if (known.insert(out).second) sharers.push_back(out);
      }
    }
  }
  std::sort(sharers.begin(), sharers.end(),
            [&](ValueId a, ValueId b) { return index.definition[a] < index.definition[b]; });
  return sharers;
}

std::string Program::FreeName(const std::string& name) const {
  const Index& index = this->index();
  if (!index.named.contains(name)) return name;
  int& number = index_.free_number.try_emplace(name, 2).first->second;
  while (index.named.contains(name + "." + std::to_string(number))) ++number;
  return name + "." + std::to_string(number);
}

StatusOr<ValueId> Program::Find(std::string_view name) const {
  const Index& index = this->index();
  int first = -1;
  if (const auto found = index.named.find(std::string(name)); found != index.named.end()) {
    for (ValueId id : found->second) {
      const int definition = index.definition[id];
      if (definition >= 0 && (first < 0 || definition < first)) first = definition;
    }
  }
  if (first < 0) return NotFound("the program has no value named '" + std::string(name) + "'");
  const std::vector<ValueId>& outputs = ops_[first].outputs;
  return *std::find_if(outputs.begin(), outputs.end(),
                       [&](ValueId id) { return value(id).name == name; });
}

}  // namespace tp
