#include "tests/program/evaluate.h"

#include <glog/logging.h>

namespace tp {
namespace {

using Tensor = std::vector<double>;

class Evaluation {
 public:
  Evaluation(const Program& program, const Sources& sources)
      : program_(program), sources_(sources), values_(program.values().size()) {}

  std::vector<Tensor> Run() {
    for (const Op& op : program_.ops()) Evaluate(op);
    return std::move(values_);
  }

 private:
  const Tensor& In(const Op& op, size_t i) const { return values_[op.inputs[i]]; }

  void Evaluate(const Op& op) {
    Tensor& out = values_[op.outputs[0]];
    switch (op.kind) {
      case OpKind::kInput:
      case OpKind::kParameter:
        out = Fed(program_.value(op.outputs[0]));
        return;
      case OpKind::kMatMul:
        out = MatMul(op);
        if (op.inputs.size() == 3) AddRow(out, In(op, 2));
        return;
      case OpKind::kAddBias:
        out = In(op, 0);
        AddRow(out, In(op, 1));
        return;
      case OpKind::kMseLoss:
        out = {Loss(op)};
        return;
      case OpKind::kMseGrad:
        out = Gradient(op);
        return;
      case OpKind::kMseLossGrad:
        out = {Loss(op)};
        values_[op.outputs[1]] = Gradient(op);
        return;
      case OpKind::kSumRows:
        out = SumRows(op);
        return;
      case OpKind::kRedistribute:
        out = In(op, 0);
        return;
      case OpKind::kSgdUpdate:
        out = In(op, 0);
        for (size_t i = 0; i < out.size(); ++i) out[i] -= op.scale * In(op, 1)[i];
        return;
    }
  }

  Tensor Fed(const Value& value) const {
    CHECK(sources_.contains(value.name)) << value.name;
    Tensor out;
    for (int64_t i = 0; i < NumElements(value.shape); ++i) {
      out.push_back(sources_.at(value.name)(i));
    }
    return out;
  }

  double MatrixAt(ValueId id, bool transpose, int64_t i, int64_t j) const {
    const int64_t columns = program_.value(id).shape[1];
    return values_[id][transpose ? j * columns + i : i * columns + j];
  }

  Tensor MatMul(const Op& op) const {
    const Shape& shape = program_.value(op.outputs[0]).shape;
    const int64_t depth = program_.value(op.inputs[0]).shape[op.transpose_a ? 0 : 1];
    Tensor out(NumElements(shape));
    for (int64_t i = 0; i < shape[0]; ++i) {
      for (int64_t j = 0; j < shape[1]; ++j) {
        for (int64_t k = 0; k < depth; ++k) {
          out[i * shape[1] + j] += MatrixAt(op.inputs[0], op.transpose_a, i, k) *
                                   MatrixAt(op.inputs[1], op.transpose_b, k, j);
        }
      }
    }
    return out;
  }

  static void AddRow(Tensor& out, const Tensor& row) {
    for (size_t i = 0; i < out.size(); ++i) out[i] += row[i % row.size()];
  }

  double Loss(const Op& op) const {
    double sum = 0;
    for (size_t i = 0; i < In(op, 0).size(); ++i) {
      sum += (In(op, 0)[i] - In(op, 1)[i]) * (In(op, 0)[i] - In(op, 1)[i]);
    }
    return op.scale * sum;
  }

  Tensor Gradient(const Op& op) const {
    Tensor out = In(op, 0);
    for (size_t i = 0; i < out.size(); ++i) out[i] = 2 * op.scale * (out[i] - In(op, 1)[i]);
    return out;
  }

  Tensor SumRows(const Op& op) const {
    Tensor out(program_.value(op.inputs[0]).shape[1]);
    for (size_t i = 0; i < In(op, 0).size(); ++i) out[i % out.size()] += In(op, 0)[i];
    return out;
  }

  const Program& program_;
  const Sources& sources_;
  std::vector<Tensor> values_;
};

}  // namespace

std::vector<std::vector<double>> Evaluate(const Program& program, const Sources& sources) {
  return Evaluation(program, sources).Run();
}

}  // namespace tp
