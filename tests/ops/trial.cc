#include "tests/ops/trial.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <utility>

#include "tests/program/evaluate.h"
#include "tests/program/programs.h"
#include "tp/core/bounded.h"
#include "tp/core/elementary.h"
#include "tp/ops/ops.h"
#include "tp/program/typing.h"
#include "tp/schedule/contraction.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

// What the C library promises of its functions in double, two of them in a row at most: 2^-50 of
// the result. FunctionError counts in units of the last place of fp32.
const FunctionErrors& ErrorsInDouble() {
  static const FunctionErrors errors = [] {
    FunctionErrors all;
    for (FunctionError& error : all.of) error.ulps = 0x1p-26;
    return all;
  }();
  return errors;
}

struct Rank {
  Schedule schedule;
  std::vector<std::vector<std::byte>> memory;  // by buffer
};

double At(const Rank& rank, const View& view, int64_t place) {
  const DType dtype = rank.schedule.buffers[view.buffer].dtype;
  const int64_t width = SizeOf(dtype);
  double value;
  DecodeToDouble(dtype, std::span(rank.memory[view.buffer]).subspan(place * width, width),
                 std::span(&value, 1));
  return value;
}

class Trial {
 public:
  Trial(const KernelTrial& trial, TrialKernels& kernels) : trial_(trial), kernels_(kernels) {}

  std::string Run() {
    for (size_t i = 0; i < trial_.shapes.size(); ++i) {
      Placements placements;
      placements.Set(Axis::kTp, trial_.on[i]);
      inputs_.push_back(Parameterlike(i, placements));
    }
    Op op{.def = trial_.def, .inputs = inputs_, .attributes = trial_.attributes};
    const StatusOr<std::vector<Value>> outputs = InferOutputs(program_, op);
    if (!outputs.ok()) return outputs.status().ToString();
    for (size_t k = 0; k < outputs->size(); ++k) {
      Value value = (*outputs)[k];
      value.name = "out" + std::to_string(k);
      op.outputs.push_back(program_.AddValue(std::move(value)));
      program_.AddResult(op.outputs.back());
    }
    outputs_ = op.outputs;
    program_.AddOp(std::move(op));
    const Mesh mesh = Mesh::Create(trial_.ranks, 1).value();
    for (int rank = 0; rank < trial_.ranks; ++rank) {
      StatusOr<Schedule> schedule = Lower(program_, mesh, rank);
      if (!schedule.ok()) return schedule.status().ToString();
      ranks_.push_back({*std::move(schedule), {}});
      if (trial_.layout != 0) LayAnew(ranks_.back());
      Fill(ranks_.back(), rank);
      const std::string wrong = RunKernels(ranks_.back());
      if (!wrong.empty()) return "rank " + std::to_string(rank) + ": " + wrong;
    }
    return Compare();
  }

 private:
  DType TypeOf(size_t operand) const {
    switch (trial_.def->operands.at(operand)) {
      case TypeRule::kInt32:
        return DType::kInt32;
      case TypeRule::kAccumulator:
        return AccumulatorOf(trial_.dtype);
      case TypeRule::kSame:
      case TypeRule::kNamed:
        break;
    }
    return trial_.dtype;
  }

  ValueId Parameterlike(size_t i, const Placements& placements) {
    const Value value{"in" + std::to_string(i), trial_.shapes[i], TypeOf(i), placements};
    const auto id =
        TypeOf(i) == DType::kInt32 ? AddInput(program_, value) : AddParameter(program_, value);
    return id.value();
  }

  // Rank `rank`'s share of an element; what is Partial is cut so that the shares sum to it.
  double Share(size_t operand, int64_t i, int rank) const {
    const double whole =
        TrialElement(*trial_.def, operand, i, IdsOf(*trial_.def, trial_.attributes, trial_.shapes));
    if (!IsPartial(trial_.on[operand])) return whole;
    const auto cut = [&](int r) { return static_cast<double>((i * 5 + r * 3) % 5 - 2) / 4; };
    if (rank + 1 < trial_.ranks) return cut(rank);
    double rest = whole;
    for (int r = 0; r + 1 < trial_.ranks; ++r) rest -= cut(r);
    return rest;
  }

  View DrawView(const View& like, DType dtype, const std::string& name, Rank& rank) {
    const Shape sizes = SizesOf(like);
    Order order = Order::Own(sizes.size());
    if (!sizes.empty()) {
      order = Order::Outermost(static_cast<int>(random_() % sizes.size()), sizes.size());
    }
    Shape whole = sizes;
    for (int64_t& size : whole) size += static_cast<int64_t>(random_() % 3 == 0);
    const auto buffer = static_cast<BufferId>(rank.schedule.buffers.size());
    View view = PackedView(buffer, static_cast<int64_t>(random_() % 3), whole, order);
    rank.schedule.buffers.push_back({name, dtype, view.End() + 3});
    for (int d = 0; d < view.rank(); ++d) view.dims[d].size = sizes[d];
    return view;
  }

  // The op on other views of the same sizes.
  void LayAnew(Rank& rank) {
    random_.seed(trial_.layout + static_cast<uint64_t>(rank.schedule.rank));
    const auto draw = [&](ValueId id) {
      for (Binding& binding : rank.schedule.bindings) {
        if (binding.value != id) continue;
        return binding.view = DrawView(binding.view, binding.dtype, binding.name + ".anew", rank);
      }
      return View();
    };
    std::vector<View> reads, writes;
    for (ValueId id : inputs_) reads.push_back(draw(id));
    for (size_t k = 0; k < outputs_.size(); ++k) {
      if (k < static_cast<size_t>(trial_.def->updates)) {
        writes.push_back(reads[k]);
        for (Binding& binding : rank.schedule.bindings) {
          if (binding.value == outputs_[k]) binding.view = writes[k];
        }
      } else {
        writes.push_back(draw(outputs_[k]));
      }
    }
    ScheduledOp& op = rank.schedule.ops.at(0);
    if (IsProduct(op.action)) {
      const Op& of = program_.ops().back();
      const auto product =
          GroupLetters(LettersOf(program_, of).value(), reads[0], reads[1], writes[0], nullptr);
      if (!product.ok()) {  // so many loops that no view has them: as it was
        rank.schedule =
            Lower(program_, Mesh::Create(trial_.ranks, 1).value(), rank.schedule.rank).value();
        return;
      }
      reads = {product->a, product->b};
      writes = {product->c};
    }
    op.reads = reads;
    op.writes = writes;
  }

  void Fill(Rank& rank, int number) {
    for (const Buffer& buffer : rank.schedule.buffers) {
      rank.memory.emplace_back(buffer.bytes(), std::byte{0xff});  // NaN
    }
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const Binding& binding = rank.schedule.BindingOf("in" + std::to_string(i));
      const int64_t width = SizeOf(binding.dtype);
      ForEachElement(binding.view, [&](const Index& index, int64_t place) {
        const double value = Share(i, binding.GlobalIndex(index), number);
        EncodeFromDouble(binding.dtype, std::span(&value, 1),
                         std::span(rank.memory[binding.view.buffer]).subspan(place * width, width));
      });
    }
  }

  std::string RunKernels(Rank& rank) {
    for (const ScheduledOp& op : rank.schedule.ops) {
      std::vector<std::vector<std::byte>> before = rank.memory;
      const std::string wrong = kernels_.Run(rank.schedule, op, rank.memory);
      if (!wrong.empty()) return wrong;
      for (const View& view : op.writes) {
        const int64_t width = SizeOf(rank.schedule.buffers[view.buffer].dtype);
        ForEachElement(view, [&](const Index&, int64_t place) {
          std::copy_n(rank.memory[view.buffer].begin() + place * width, width,
                      before[view.buffer].begin() + place * width);
        });
      }
      if (before != rank.memory) return "it wrote beside its outputs";
    }
    return "";
  }

  std::vector<std::vector<BoundedNumber>> Expected() const {
    std::vector<std::vector<BoundedNumber>> in;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      in.emplace_back();
      for (int64_t e = 0; e < NumElements(trial_.shapes[i]); ++e) {
        BoundedNumber number = BoundedNumber::Exactly(Share(i, e, 0));
        for (int r = 1; r < trial_.ranks && IsPartial(trial_.on[i]); ++r) {
          const BoundedNumber share = BoundedNumber::Exactly(Share(i, e, r));
          number = {number.value + share.value, 0, number.size + share.size,
                    std::fmin(number.grid, share.grid), /*are_shares=*/true};
        }
        in.back().push_back(number);
      }
    }
    return EvaluateOp(*trial_.def, trial_.attributes, trial_.shapes, std::move(in));
  }

  std::string Compare() const {
    const DType accumulator = AccumulatorOf(trial_.dtype);
    Rounding rounding = RoundingOn(trial_.dtype);
    rounding.functions = accumulator == DType::kFloat32 ? kernels_.functions() : &ErrorsInDouble();
    rounding.shared = std::any_of(trial_.on.begin(), trial_.on.end(), IsPartial);
    const RoundingScope scope(rounding);
    const auto expected = Expected();
    for (size_t k = 0; k < outputs_.size(); ++k) {
      const std::string wrong = CompareOutput(k, expected[k]);
      if (!wrong.empty()) return wrong;
    }
    return "";
  }

  std::string CompareOutput(size_t k, const std::vector<BoundedNumber>& expected) const {
    const Value& value = program_.value(outputs_[k]);
    const Placement on = value.placements[Axis::kTp];
    std::vector<std::vector<double>> held(expected.size());  // by rank
    for (const Rank& rank : ranks_) {
      const Binding& binding = rank.schedule.BindingOf(value.name);
      ForEachElement(binding.view, [&](const Index& index, int64_t place) {
        held[binding.GlobalIndex(index)].push_back(At(rank, binding.view, place));
      });
    }
    const Rounding stored = RoundingOf(value.dtype);
    for (size_t i = 0; i < held.size(); ++i) {
      const size_t holders = IsShard(on) ? 1 : ranks_.size();
      const std::string where = value.name + "[" + std::to_string(i) + "]";
      if (held[i].size() != holders) return where + " is held by the wrong number of ranks";
      double got = held[i][0];
      double size = std::abs(got);
      for (size_t r = 1; r < holders; ++r) {
        if (!IsPartial(on)) {
          if (held[i][r] != got) return where + " differs between replicas";
          continue;
        }
        size += std::abs(held[i][r]);
        got = on == Partial() ? got + held[i][r] : std::max(got, held[i][r]);
      }
      const BoundedNumber& want = expected[i];
      double bound = want.error;
      if (value.dtype != AccumulatorOf(trial_.dtype) &&
          !(want.error == 0 && RoundTo(value.dtype, want.value) == want.value && holders == 1)) {
        bound += stored.roundoff * (size + bound) + static_cast<double>(holders) * stored.underflow;
      }
      if (std::isfinite(bound) && std::abs(got - want.value) <= bound) continue;
      // What is too large for the type is infinite there.
      if (std::isinf(got) && got * want.value > 0 &&
          std::abs(want.value) + want.error > MaxFinite(value.dtype)) {
        continue;
      }
      // Compiled for other instructions, elementary functions in fp32 have errors that nobody has
      // worked out.
      if (std::isinf(bound) && kernels_.functions() == nullptr && std::isfinite(got)) continue;
      return where + " is " + std::to_string(got) + ", not " + std::to_string(want.value) +
             " to within " + std::to_string(bound);
    }
    return "";
  }

  const KernelTrial& trial_;
  TrialKernels& kernels_;
  Program program_;
  std::vector<ValueId> inputs_, outputs_;
  std::vector<Rank> ranks_;
  std::mt19937_64 random_;
};

}  // namespace

Attributes AttributesFor(const OpDef& def, const std::string& letters) {
  Attributes attributes;
  if (def.letters.empty()) attributes.Set("letters", letters);
  for (const AttributeDef& attribute : def.attributes) {
    if (attribute.name.empty()) break;
    if (attribute.type == AttributeType::kInteger) {
      attributes.Set(attribute.name, int64_t{1});
    } else if (attribute.type == AttributeType::kText) {
      attributes.Set(attribute.name, std::string("fp32"));
    } else {
      attributes.Set(attribute.name, 0.5);
    }
  }
  return attributes;
}

std::vector<Attributes> AttributesToTry(const OpDef& def, const std::string& letters) {
  const Attributes plain = AttributesFor(def, letters);
  std::vector<Attributes> all;
  const auto with = [&](std::initializer_list<Attributes::Entry> changes) {
    all.push_back(plain);
    for (const auto& [name, value] : changes) all.back().Set(name, value);
  };
  if (std::ranges::find(def.types, TypeRule::kNamed) != def.types.end()) {
    for (DType to : kAllDTypes) with({{"to", std::string(Name(to))}});
  } else if (&def == &kRope) {
    for (int64_t interleaved : {0, 1}) {
      with({{"interleaved", interleaved}, {"original", 0.0}});
      // Slower, in between and as it was: by its pairs, which turn 1.3 and 0.4 times in 8 places.
      for (double low : {0.25, 1.0, 4.0}) {
        with({{"interleaved", interleaved},
              {"base", 10.0},
              {"factor", 4.0},
              {"original", 8.0},
              {"low", low},
              {"high", low + 0.5}});
      }
    }
  } else {
    all.push_back(plain);
  }
  return all;
}

int64_t IdsOf(const OpDef& def, const Attributes& attributes, const std::vector<Shape>& shapes) {
  if (def.ids_of == 0) return 0;
  const std::vector<std::string> names(shapes.size());
  const std::string_view text = def.letters.empty() ? attributes.Text("letters") : def.letters;
  const Letters letters = Letters::Parse(text).value().For(shapes, names).value();
  return letters.Sizes(shapes, names).value().at(def.ids_of);
}

double TrialElement(const OpDef& def, size_t operand, int64_t i, int64_t ids) {
  // Mixed (Steele et al., "Fast splittable pseudorandom number generators", 2014), so that no
  // pattern of a shape meets a pattern of the numbers.
  uint64_t bits = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15u + operand * 977;
  bits = (bits ^ bits >> 30) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ bits >> 27) * 0x94d049bb133111ebu;
  bits ^= bits >> 31;
  if (def.operands.at(operand) == TypeRule::kInt32) {
    return static_cast<double>(static_cast<int64_t>(bits % static_cast<uint64_t>(ids + 2)) - 1);
  }
  const auto number = static_cast<double>(static_cast<int64_t>(bits % 17) - 8) / 4;
  return (def.positive >> operand & 1) != 0 ? std::abs(number) + 0.25 : number;
}

std::string RunTrial(const KernelTrial& trial, TrialKernels& kernels) {
  return Trial(trial, kernels).Run();
}

std::string ToString(const KernelTrial& trial) {
  std::string text = std::string(trial.def->name) + "(" + ToString(trial.attributes) + ") in " +
                     std::string(Name(trial.dtype)) + " on " + std::to_string(trial.ranks) +
                     " ranks, layout " + std::to_string(trial.layout) + ":";
  for (size_t i = 0; i < trial.shapes.size(); ++i) {
    text += " " + ToString(trial.shapes[i]) + " " + ToString(trial.on[i]);
  }
  return text;
}

}  // namespace tp
