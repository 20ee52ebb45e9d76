#include "tp/ops/builder.h"

#include <utility>

namespace tp {

Builder::Scope::Scope(std::string& prefix, const std::string& name)
    : prefix_(prefix), outer_(prefix.size()) {
  prefix_ += name + ".";
}

ValueId Builder::Keep(StatusOr<ValueId> added) {
  if (added.ok()) return *added;
  Fail(added.status());
  return kNoValue;
}

void Builder::Fail(const Status& error) {
  if (!status_.ok()) return;
  const std::string scope = prefix_.substr(0, prefix_.empty() ? 0 : prefix_.size() - 1);
  status_ = scope.empty() ? error : error.WithContext("in '" + scope + "'");
}

ValueId Builder::Input(const std::string& name, Shape shape, DType dtype, Placements placements) {
  if (!status_.ok()) return kNoValue;
  return Keep(AddInput(program_, Value{prefix_ + name, std::move(shape), dtype, placements}));
}

ValueId Builder::Parameter(const std::string& name, Shape shape, DType dtype,
                           Placements placements) {
  if (!status_.ok()) return kNoValue;
  return Keep(AddParameter(program_, Value{prefix_ + name, std::move(shape), dtype, placements}));
}

ValueId Builder::Op(const std::string& name, const OpDef& def, std::vector<ValueId> inputs,
                    Attributes attributes) {
  if (!status_.ok()) return kNoValue;
  return Keep(
      AddOp(program_, phase_, prefix_ + name, def, std::move(inputs), std::move(attributes)));
}

std::vector<ValueId> Builder::Ops(const std::vector<std::string>& names, const OpDef& def,
                                  std::vector<ValueId> inputs, Attributes attributes) {
  const std::vector<ValueId> none(names.size(), kNoValue);
  if (!status_.ok()) return none;
  std::vector<std::string> full;
  for (const std::string& name : names) full.push_back(prefix_ + name);
  auto added = AddOp(program_, phase_, full, def, std::move(inputs), std::move(attributes));
  if (added.ok()) return *std::move(added);
  Fail(added.status());
  return none;
}

ValueId Builder::MatMul(const std::string& name, ValueId a, ValueId b, MatMulOptions options) {
  if (!status_.ok()) return kNoValue;
  return Keep(AddMatMul(program_, phase_, prefix_ + name, a, b, options));
}

ValueId Builder::Redistribute(const std::string& name, ValueId v, Axis axis, Placement to) {
  if (!status_.ok()) return kNoValue;
  return Keep(AddRedistribute(program_, phase_, prefix_ + name, v, axis, to));
}

void Builder::Result(ValueId v) {
  if (status_.ok()) program_.AddResult(v);
}

Value Builder::value(ValueId id) const { return id == kNoValue ? Value() : program_.value(id); }

}  // namespace tp
