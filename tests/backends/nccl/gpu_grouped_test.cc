// Kernels that work on many pieces at once, against each piece alone, to the bit: groups of ops
// against one after the other, and the gradient of a lookup against parts of its table.
#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backends/nccl/kernels/all.h"
#include "backends/nccl/kernels/grouped.h"
#include "tests/backends/nccl/device_memory.h"
#include "tp/core/random.h"

namespace tp::nccl {
namespace {

// Tensors in memory of their own, with random numbers in [0, 1).
class Tensors {
 public:
  DeviceView Make(DType dtype, std::vector<int64_t> sizes) {
    int64_t count = 1;
    for (int64_t size : sizes) count *= size;
    std::vector<double> values(count);
    const RandomTensor random(/*seed=*/3, /*stream=*/memory_.size());
    for (int64_t i = 0; i < count; ++i) values[i] = (1 + random.Uniform(i)) / 2;
    DeviceView view = Make(dtype, sizes, values);
    return view;
  }
  DeviceView Make(DType dtype, const std::vector<int64_t>& sizes,
                  const std::vector<double>& values) {
    std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
    EncodeFromDouble(dtype, values, bytes);
    memory_.push_back(std::make_unique<Memory>(static_cast<int64_t>(bytes.size())));
    DeviceView view{memory_.back()->data(), dtype};
    EXPECT_EQ(cudaMemcpy(view.data, bytes.data(), bytes.size(), cudaMemcpyHostToDevice),
              cudaSuccess);
    auto stride = static_cast<int64_t>(values.size());
    for (int64_t size : sizes) {
      stride = size == 0 ? 0 : stride / size;
      view.dims.push_back({size, stride});
    }
    all_.push_back(view);
    return view;
  }

  // What is in all of them.
  std::vector<std::vector<std::byte>> Read() const {
    std::vector<std::vector<std::byte>> all;
    for (const DeviceView& view : all_) {
      all.emplace_back(view.size() * SizeOf(view.dtype));
      EXPECT_EQ(cudaMemcpy(all.back().data(), view.data, all.back().size(), cudaMemcpyDeviceToHost),
                cudaSuccess);
    }
    return all;
  }
  // Which of them begins where a view does.
  size_t PlaceOf(const DeviceView& view) const {
    size_t place = 0;
    while (place + 1 < all_.size() && all_[place].data != view.data) ++place;
    return place;
  }
  void Write(const std::vector<std::vector<std::byte>>& all) const {
    for (size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(cudaMemcpy(all_[i].data, all[i].data(), all[i].size(), cudaMemcpyHostToDevice),
                cudaSuccess);
    }
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }

 private:
  std::vector<std::unique_ptr<Memory>> memory_;
  std::vector<DeviceView> all_;
};

class Scratched {
 public:
  explicit Scratched(const ScratchSize& size)
      : partials_(size.partial_bytes), counters_(size.counters * int64_t{sizeof(unsigned)}) {}
  Scratch get() const { return {partials_.data(), static_cast<unsigned*>(counters_.data())}; }

 private:
  const Memory partials_, counters_;
};

void RunAlone(const std::vector<KernelCall>& calls) {
  for (KernelCall call : calls) {
    const Kernel* kernel = FindKernel(call.op.action);
    const Scratched scratch(kernel->scratch == nullptr ? ScratchSize{} : kernel->scratch(call));
    call.scratch = scratch.get();
    ASSERT_EQ(kernel->enqueue(call, nullptr), cudaSuccess);
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
}

// From one piece to many, and of none; the last ones cannot be moved 16 bytes at a time.
constexpr int64_t kCounts[] = {8, 16, 2048, 100'000, 8 * 16384, 0, 1, 7, 8193};

TEST(GpuGrouped, UpdatesGiveTheBitsOfEachAlone) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
    const DType wide = AccumulatorOf(dtype);
    Tensors tensors;
    std::vector<DeviceView> fed;
    for (int i = 0; i < 4; ++i) fed.push_back(tensors.Make(wide, {}));
    std::deque<ScheduledOp> ops;
    std::vector<KernelCall> calls;
    for (int i = 0; i < 150; ++i) {
      const int64_t count = kCounts[i % std::size(kCounts)];
      const bool master = wide != dtype && i % 75 != 74;
      ScheduledOp& op = ops.emplace_back();
      op.action = Action{master ? "adamw_master" : "adamw"};
      op.attributes = {{"beta_moment", 0.9},
                       {"beta_square", i < 100 ? 0.95 : 0.999},
                       {"eps", 1e-8},
                       {"decay", i % 3 == 0 ? 0.1 : 0.0}};
      KernelCall& call = calls.emplace_back(KernelCall{.op = op});
      call.in.push_back(tensors.Make(dtype, {count}));
      for (int state = master ? 0 : 1; state < 3; ++state) {
        call.in.push_back(tensors.Make(wide, {count}));
      }
      call.in.push_back(tensors.Make(dtype, {count}));
      call.in.insert(call.in.end(), fed.begin(), fed.end());
    }
    const auto before = tensors.Read();
    RunAlone(calls);
    const auto alone = tensors.Read();
    EXPECT_NE(alone, before);
    tensors.Write(before);
    ASSERT_EQ(EnqueueUpdates(calls, nullptr), cudaSuccess);
    EXPECT_EQ(tensors.Read(), alone) << Name(dtype);
  }
}

// sum.i = sum.(i - 1) + square.i, where each square lies in the memory of the one before, as it may
// in an arena.
TEST(GpuGrouped, SquaresGiveTheBitsOfEachAlone) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32, DType::kFloat64}) {
    const DType wide = AccumulatorOf(dtype);
    Tensors tensors;
    std::deque<ScheduledOp> ops;
    std::vector<KernelCall> calls;
    const auto add = [&](const char* action, std::vector<DeviceView> in, const DeviceView& out) {
      ops.emplace_back().action = Action{action};
      calls.push_back(KernelCall{.op = ops.back(), .in = std::move(in), .out = {out}});
    };
    const DeviceView square = tensors.Make(wide, {});
    DeviceView sum = tensors.Make(wide, {});
    for (int i = 0; i < 150; ++i) {
      add("square_sum", {tensors.Make(dtype, {kCounts[i % std::size(kCounts)]})}, square);
      const DeviceView next = tensors.Make(wide, {});
      add("add", {sum, square}, next);
      sum = next;
    }
    const DeviceView whole = tensors.Make(dtype, {300, 50});  // of which a part is squared
    DeviceView part = whole;
    part.dims[1].size = 33;
    add("square_sum", {part}, tensors.Make(wide, {}));
    const auto before = tensors.Read();
    RunAlone(calls);
    const auto alone = tensors.Read();
    EXPECT_NE(alone, before);
    const Scratched scratch(SquaresScratch(calls));
    calls[0].scratch = scratch.get();
    for (int again = 0; again < 2; ++again) {
      tensors.Write(before);
      ASSERT_EQ(EnqueueSquares(calls, nullptr), cudaSuccess);
      EXPECT_EQ(tensors.Read(), alone) << Name(dtype);
    }
  }
}

// Chains around a norm of lines of `length` elements, each against its ops one after the other.
class NormChains {
 public:
  NormChains(DType dtype, int64_t length) : dtype_(dtype), length_(length) {}

  // `blocks` are summed up first; 0: nothing is. The bits of `variant` say what of that which goes
  // from op to op is written, and on which side of the add it is; in the last variant nothing is,
  // and the last op writes where the other addend was.
  void ExpectForward(int64_t blocks, int variant) {
    std::deque<ScheduledOp> ops;
    std::vector<KernelCall> calls;
    AddSum(blocks, ops, calls);
    AddCall("add", Addends(handed_, variant), {x_}, ops, calls);
    AddCall("rms_norm", {x_, gain_}, {variant == kInPlace ? added_ : out_, inverse_}, ops, calls);
    Expect(calls, variant, blocks);
  }
  void ExpectBackward(int64_t blocks, bool adds, int variant) {
    std::deque<ScheduledOp> ops;
    std::vector<KernelCall> calls;
    AddSum(blocks, ops, calls);
    AddCall("rms_norm_grad", {x_, gain_, inverse_, handed_}, {out_, gain_grad_}, ops, calls);
    const DeviceView& total = variant == kInPlace ? added_ : total_;
    if (adds) AddCall("add", Addends(out_, variant), {total}, ops, calls);
    Expect(calls, variant, blocks);
  }
  static constexpr int kInPlace = 4, kVariants = 5;

 private:
  static constexpr int64_t kInner = 3, kOuter = 133, kMostBlocks = 8;

  // Numbers of both signs, some of them -0.
  DeviceView Make(DType dtype, int64_t count) {
    const RandomTensor random(/*seed=*/5, /*stream=*/made_++);
    std::vector<double> values(count);
    for (int64_t i = 0; i < count; ++i) values[i] = i % 7 == 0 ? -0.0 : random.Uniform(i);
    return tensors_.Make(dtype, {count}, values);
  }
  // Lines whose second index runs slowest.
  DeviceView Lines() {
    DeviceView lines = Make(dtype_, kInner * kOuter * length_);
    lines.dims = {{kInner, length_}, {kOuter, kInner * length_}, {length_, 1}};
    return lines;
  }
  DeviceView Inverse() {
    DeviceView inverse = Make(AccumulatorOf(dtype_), kInner * kOuter);
    inverse.dims = {{kInner, kOuter}, {kOuter, 1}};
    return inverse;
  }

  static void AddCall(const char* action, std::vector<DeviceView> in, std::vector<DeviceView> out,
                      std::deque<ScheduledOp>& ops, std::vector<KernelCall>& calls) {
    ops.emplace_back().action = Action{action};
    ops.back().attributes = {{"eps", 1e-5}};
    calls.push_back(KernelCall{.op = ops.back(), .in = std::move(in), .out = std::move(out)});
  }
  void AddSum(int64_t blocks, std::deque<ScheduledOp>& ops, std::vector<KernelCall>& calls) const {
    if (blocks == 0) return;
    const int64_t each = handed_.size();
    DeviceView rows = blocks_, sum = handed_;
    rows.dims = {{blocks, each}, {each, 1}};
    sum.dims = {{each, 1}};
    AddCall("sum_rows", {rows}, {sum}, ops, calls);
  }
  std::vector<DeviceView> Addends(const DeviceView& handed, int variant) const {
    const bool behind = ((variant ^ variant >> 1) & 1) != 0;
    return behind ? std::vector{handed, added_} : std::vector{added_, handed};
  }

  void Expect(std::vector<KernelCall>& calls, int variant, int64_t blocks) {
    std::vector<bool> written(calls.size(), true);
    for (size_t i = 0; i + 1 < calls.size(); ++i) {
      written[i] = (variant >> (calls.size() - 2 - i) & 1) != 0;
    }
    const auto before = tensors_.Read();
    RunAlone(calls);
    auto alone = tensors_.Read();
    EXPECT_NE(alone, before);
    for (size_t i = 0; i < calls.size(); ++i) {
      const size_t place = tensors_.PlaceOf(calls[i].out[0]);
      if (!written[i]) alone[place] = before[place];
    }
    tensors_.Write(before);
    std::deque<Scratched> scratches;
    for (KernelCall& call : calls) {
      const Kernel* kernel = FindKernel(call.op.action);
      if (kernel->scratch == nullptr) continue;
      call.scratch = scratches.emplace_back(kernel->scratch(call)).get();
    }
    ASSERT_EQ(EnqueueNorm(calls, written, nullptr), cudaSuccess);
    EXPECT_TRUE(tensors_.Read() == alone)
        << Name(dtype_) << ", lines of " << length_ << ", " << blocks << " blocks, "
        << Name(calls.back().op.action) << " last of " << calls.size() << ", variant " << variant;
    tensors_.Write(before);
  }

  const DType dtype_;
  const int64_t length_;
  uint64_t made_ = 0;
  Tensors tensors_;
  const DeviceView added_ = Lines(), handed_ = Lines(), x_ = Lines(), out_ = Lines(),
                   total_ = Lines(), blocks_ = Make(dtype_, kMostBlocks*handed_.size()),
                   gain_ = Make(dtype_, length_), gain_grad_ = Make(dtype_, length_),
                   inverse_ = Inverse();
};

TEST(GpuGrouped, NormChainsGiveTheBitsOfEachAlone) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    for (int64_t length : {8, 64, 1000, 2048, 4096, 8192}) {
      if (length * SizeOf(dtype) > 16 << 10) continue;
      NormChains chains(dtype, length);
      for (int64_t blocks : {0, 2, 3, 4, 8}) {
        for (int variant = 0; variant < NormChains::kVariants; ++variant) {
          chains.ExpectForward(blocks, variant);
          chains.ExpectBackward(blocks, /*adds=*/true, variant);
          if (blocks > 0) chains.ExpectBackward(blocks, /*adds=*/false, variant);
        }
      }
    }
  }
}

// The gradient of a table of `rows` rows, of which a rank may have some rows or columns.
class Lookup {
 public:
  Lookup(DType dtype, int64_t rows, int64_t columns, const std::vector<int64_t>& ids)
      : dtype_(dtype), rows_(rows), columns_(columns) {
    const auto count = static_cast<int64_t>(ids.size());
    ids_ = tensors_.Make(DType::kInt32, {count}, std::vector<double>(ids.begin(), ids.end()));
    dy_ = tensors_.Make(dtype, {count, columns});
    table_ = tensors_.Make(dtype, {rows, columns});
  }

  // Of these rows and columns; the rest of the table stays.
  void Run(int64_t row, int64_t rows, int64_t column, int64_t columns) {
    ScheduledOp op;
    op.action = Action{"embedding_grad"};
    op.letters = {LetterPart{.letter = 'v', .begin = row}};
    const auto from = [&](DeviceView view, int64_t first) {
      view.data = static_cast<char*>(view.data) + (first * columns_ + column) * SizeOf(dtype_);
      view.dims[1].size = columns;
      return view;
    };
    KernelCall call{.op = op, .in = {ids_, from(dy_, 0), from(table_, row)}};
    call.in[2].dims[0].size = rows;
    call.out = {call.in[2]};
    RunAlone({call});
  }
  std::vector<std::vector<std::byte>> Whole() {
    Run(0, rows_, 0, columns_);
    return tensors_.Read();
  }
  void Spoil() {
    EXPECT_EQ(cudaMemset(table_.data, 0xff, table_.size() * SizeOf(dtype_)), cudaSuccess);
    EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  }
  const Tensors& tensors() const { return tensors_; }

 private:
  const DType dtype_;
  const int64_t rows_, columns_;
  Tensors tensors_;
  DeviceView ids_, dy_, table_;
};

// `count` ids, of which most are few: number i of the k most frequent has about half of what i - 1
// has.
std::vector<int64_t> FewIds(int64_t count, int64_t rows) {
  const RandomTensor random(/*seed=*/9, /*stream=*/0);
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = random.Bits(i);
    ids.push_back(bits % 8 == 0 ? bits / 8 % rows : std::countl_zero(bits | 1u) * 3 % rows);
  }
  return ids;
}

TEST(GpuGrouped, ARowOfALookupHasTheBitsOfAnyPartOfTheTable) {
  constexpr int64_t kRows = 100, kColumns = 2 * 520;
  for (DType dtype : {DType::kBFloat16, DType::kFloat32, DType::kFloat64}) {
    for (const auto& ids : {FewIds(5000, kRows), std::vector<int64_t>(3000, 7), FewIds(31, kRows),
                            FewIds(1, kRows)}) {
      Lookup lookup(dtype, kRows, kColumns, ids);
      const auto whole = lookup.Whole();
      lookup.Spoil();
      for (int64_t row : {0, 40}) {
        for (int64_t column : {0, 520}) lookup.Run(row, row == 0 ? 40 : 60, column, 520);
      }
      EXPECT_EQ(lookup.tensors().Read(), whole) << Name(dtype) << ", " << ids.size() << " ids";
      lookup.Spoil();
      lookup.Run(0, kRows, 0, 3);  // not 16 bytes at a time
      lookup.Run(0, kRows, 3, kColumns - 3);
      EXPECT_EQ(lookup.tensors().Read(), whole) << Name(dtype) << ", " << ids.size() << " ids";
    }
  }
}

}  // namespace
}  // namespace tp::nccl
