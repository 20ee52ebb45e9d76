// Builder: how layers and models append to a Program, an op a line.
//
//   Builder b(program);
//   const ValueId x = b.Input("x", {tokens, features}, DType::kFloat32, batch);
//   for (int i = 0; i < layers; ++i) {
//     const Builder::Scope scope = b.In("layers", i);
//     const ValueId w = b.Parameter("w", {features, features}, DType::kFloat32, rows);
//     x = b.Add("sum", x, b.MatMul("y", x, w));       // "layers.3.sum"
//   }
//   TP_RETURN_IF_ERROR(b.status());
//
// An error is remembered, and from then on nothing is appended: status() tells the first one, which
// names its op with the scopes around it. Source of the idea: XlaBuilder of OpenXLA's XLA.
#pragma once

#include <string>
#include <vector>

#include "tp/core/status.h"
#include "tp/ops/ops.h"
#include "tp/program/program.h"

namespace tp {

// What a function returns once there is an error.
inline constexpr ValueId kNoValue = -1;

class Builder {
 public:
  // Appends to `program`, which outlives it, and is asked nothing else meanwhile.
  explicit Builder(Program& program) : program_(program) {}
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // While it lives, names have its name and a "." before them.
  class [[nodiscard]] Scope {
   public:
    ~Scope() { prefix_.resize(outer_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    friend class Builder;
    Scope(std::string& prefix, const std::string& name);

    std::string& prefix_;
    const size_t outer_;
  };
  Scope In(const std::string& name) { return Scope(prefix_, name); }
  Scope In(const std::string& name, int64_t index) {  // "layers.3"
    return Scope(prefix_, name + "." + std::to_string(index));
  }

  // Of what is appended; kForward at first.
  void set_phase(Phase phase) { phase_ = phase; }

  ValueId Input(const std::string& name, Shape shape, DType dtype, Placements placements = {});
  ValueId Parameter(const std::string& name, Shape shape, DType dtype, Placements placements = {});
  // Any op of one output.
  ValueId Op(const std::string& name, const OpDef& def, std::vector<ValueId> inputs,
             Attributes attributes = {});
  // Any op, with a name for each output; as many kNoValue after an error.
  std::vector<ValueId> Ops(const std::vector<std::string>& names, const OpDef& def,
                           std::vector<ValueId> inputs, Attributes attributes = {});
  ValueId Add(const std::string& name, ValueId a, ValueId b) { return Op(name, kAdd, {a, b}); }
  ValueId AddBias(const std::string& name, ValueId y, ValueId b) {
    return Op(name, kAddBias, {y, b});
  }
  // The product of two matrices.
  ValueId MatMul(const std::string& name, ValueId a, ValueId b, MatMulOptions options = {});
  // The product of two tensors over the letters that the result lacks: "te,gde -> tgd".
  ValueId Product(const std::string& name, const std::string& letters, ValueId a, ValueId b) {
    return Op(name, kMatMul, {a, b}, {{"letters", letters}});
  }
  // scale * sum((y - t)^2).
  ValueId MseLoss(const std::string& name, ValueId y, ValueId t, double scale) {
    return Op(name, kMseLoss, {y, t}, {{"scale", scale}});
  }
  // `v` with placement `to` on `axis`; `v` itself if it lies so already.
  ValueId Redistribute(const std::string& name, ValueId v, Axis axis, Placement to);
  void Result(ValueId v);

  // A copy of the value, as what is appended moves the Program's own; an empty one for kNoValue.
  Value value(ValueId id) const;
  // Remembers an error of the caller's own, unless there was one before.
  void Fail(const Status& error);
  // The first error.
  const Status& status() const { return status_; }

 private:
  ValueId Keep(StatusOr<ValueId> added);

  Program& program_;
  std::string prefix_;
  Phase phase_ = Phase::kForward;
  Status status_;
};

}  // namespace tp
