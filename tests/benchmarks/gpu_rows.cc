// What takes as long as its memory does, on one GPU: norms, what goes element by element, the
// passes of a loss, lookups and updates. Each beside a copy from device to device in the same run.
//
// Bytes are those of the views that an op has to read and of those that it has to write, each
// once: the rows of a table that ids stand for, not the table. What a kernel reads twice, or leaves
// in scratch memory, shows as time.
//
// A graph has kCalls calls or a few more, on sets of operands in turn: as many sets as move
// kCaches times what the L2 cache has room for, before the first one's turn comes again. What moves
// too little for that in kCalls calls (an op on a number a row) finds it all in the cache, and has
// no share of a copy's rate.
//
//   bazel-bin/tests/benchmarks/gpu_rows           # all
//   bazel-bin/tests/benchmarks/gpu_rows norm      # those that have this in their name
#include <cuda_runtime_api.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <glog/logging.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "tests/benchmarks/gpu_timing.h"
#include "tests/benchmarks/gpu_work.h"
#include "tp/ops/rope.h"

namespace tp::nccl {
namespace {

constexpr int kCalls = 24, kRounds = 8;
constexpr int64_t kCaches = 10;
constexpr int64_t kRows = 8192;
constexpr DType kFp32 = DType::kFloat32;

// Measures, and prints a line for each.
class Table {
 public:
  explicit Table(std::string_view only) : only_(only) {
    cudaDeviceProp device = {};
    TP_CHECK_CUDA(cudaGetDeviceProperties(&device, 0));
    cache_ = device.l2CacheSize;
    fmt::print("{}, {:.0f} MB of L2 cache\n", device.name, static_cast<double>(cache_) / 1e6);
    fmt::print("{:<29} {:>19} {:>9} {:>9} {:>7} {:>7}\n", "", "shape", "MB", "us", "GB/s",
               "of copy");
    MeasureCopies();
  }

  // make(work) adds what is measured; `shape` is what is printed of it.
  template <typename MakeWork>
  void Measure(std::string_view name, const Sizes& shape, const MakeWork& make) const {
    if (name.find(only_) == name.npos) return;
    std::deque<Work> sets(1);
    make(sets[0]);
    const int64_t bytes = sets[0].bytes(), all = kCaches * cache_;
    const bool beyond_cache = bytes * kCalls >= all;
    while (beyond_cache && bytes * std::ssize(sets) < all) make(sets.emplace_back());
    const ScratchMemory scratch(sets[0].scratch());
    for (Work& set : sets) set.UseScratch(scratch.get());
    const int count = static_cast<int>(sets.size());
    const int calls = (kCalls + count - 1) / count * count;  // so that all come as often
    const double ms = BestMsInGraph(calls, kRounds, [&](int i, cudaStream_t stream) {
      return sets[i % count].Enqueue(stream);
    });
    Print(name, shape, bytes, ms, beyond_cache);
  }

 private:
  // Of whole buffers, on a stream, and in a graph as all else is: shares are of the faster. Then of
  // as many bytes as the norms below read, to see what any kernel of their size takes.
  void MeasureCopies() {
    constexpr int64_t kBytes = int64_t{1} << 30;
    const Memory from(kBytes), to(kBytes);
    TP_CHECK_CUDA(cudaMemset(from.data(), 1, kBytes));
    const auto copy = [&](int64_t bytes, int i, cudaStream_t stream) {
      const int64_t at = i * bytes % kBytes;
      return cudaMemcpyAsync(static_cast<char*>(to.data()) + at,
                             static_cast<char*>(from.data()) + at, bytes, cudaMemcpyDeviceToDevice,
                             stream);
    };
    const auto in_graph = [&](int64_t bytes) {
      return BestMsInGraph(kCalls, kRounds, [&, bytes](int i, cudaStream_t stream) {
        return copy(bytes, i, stream);
      });
    };
    const auto copy_all = [&](cudaStream_t stream) {
      for (int i = 0; i < kCalls; ++i) TP_CHECK_CUDA(copy(kBytes, i, stream));
    };
    const double whole = in_graph(kBytes);
    const double on_stream = BestMs(kRounds, nullptr, copy_all) / kCalls;
    copied_per_ms_ = static_cast<double>(2 * kBytes) / std::min(whole, on_stream);
    Print("cudaMemcpyAsync, on a stream", {kBytes}, 2 * kBytes, on_stream, true);
    Print("cudaMemcpyAsync, in a graph", {kBytes}, 2 * kBytes, whole, true);
    for (int64_t n : {2048, 4096}) {
      const int64_t bytes = kRows * n * 2;
      Print("cudaMemcpyAsync, in a graph", {kRows, n}, 2 * bytes, in_graph(bytes), true);
    }
  }

  void Print(std::string_view name, const Sizes& shape, int64_t bytes, double ms,
             bool beyond_cache) const {
    const double per_ms = static_cast<double>(bytes) / ms;
    const std::string share =
        beyond_cache ? fmt::format("{:.1f} %", 100 * per_ms / copied_per_ms_) : "-";
    fmt::print("{:<29} {:>19} {:>9.2f} {:>9.2f} {:>7.0f} {:>7}\n", name,
               fmt::format("{}", fmt::join(shape, " x ")), static_cast<double>(bytes) / 1e6,
               ms * 1e3, per_ms / 1e6, share);
    std::fflush(stdout);
  }

  std::string_view only_;
  int64_t cache_ = 0;
  double copied_per_ms_ = 0;  // bytes, read and written
};

// An id a row: as unlike as the vocabulary lets them be, in no order.
DeviceView MakeIds(Work& w, int64_t vocabulary) {
  std::vector<double> ids;
  for (int64_t i = 0; i < kRows; ++i) ids.push_back(static_cast<double>(i * 6151 % vocabulary));
  return w.Of({kRows}, DType::kInt32, ids);
}

Attributes Eps() { return {{"eps", 1e-5}}; }

void MeasureNorms(const Table& table, int64_t n) {
  const Sizes shape = {kRows, n};
  table.Measure("rms_norm", shape, [&](Work& w) {
    w.AddWhole("rms_norm", Eps(), {w.Make(shape), w.Make({n})},
               {w.Make(shape), w.Make({kRows}, kFp32)});
  });
  table.Measure("rms_norm_grad", shape, [&](Work& w) {
    w.AddWhole("rms_norm_grad", {},
               {w.Make(shape), w.Make({n}), w.Make({kRows}, kFp32), w.Make(shape)},
               {w.Make(shape), w.Make({n})});
  });
  table.Measure("layer_norm", shape, [&](Work& w) {
    w.AddWhole("layer_norm", Eps(), {w.Make(shape), w.Make({n}), w.Make({n})},
               {w.Make(shape), w.Make({kRows}, kFp32), w.Make({kRows}, kFp32)});
  });
  table.Measure("layer_norm_grad", shape, [&](Work& w) {
    w.AddWhole(
        "layer_norm_grad", {},
        {w.Make(shape), w.Make({n}), w.Make({kRows}, kFp32), w.Make({kRows}, kFp32), w.Make(shape)},
        {w.Make(shape), w.Make({n}), w.Make({n})});
  });
}

// What a chain begins with: the tensor that the next op takes, and where there are blocks, of
// which it is the sum, that sum, which is not written.
DeviceView AddHanded(Work& w, const Sizes& shape, int64_t blocks) {
  w.Go(Together::kNorm);
  const DeviceView handed = w.Make(shape);
  if (blocks == 1) {
    w.Moves({handed});
    return handed;
  }
  const DeviceView rows = w.Make({blocks, handed.size()});
  DeviceView sum = handed;
  sum.dims = {{handed.size(), 1}};
  w.Moves({rows});
  w.Add("sum_rows", {}, {rows}, {sum}, /*written=*/false);
  return handed;
}

// A norm behind the sum of a residual, and its gradient before one; also with the sum of a
// scatter's blocks ahead.
void MeasureChains(const Table& table, int64_t n, int64_t blocks) {
  const Sizes shape = {kRows, n};
  const std::string sum = blocks == 1 ? "" : fmt::format("sum of {}, ", blocks);
  table.Measure(sum + "add, rms_norm", shape, [&](Work& w) {
    const DeviceView handed = AddHanded(w, shape, blocks);
    const DeviceView added = w.Make(shape), total = w.Make(shape), gain = w.Make({n});
    const DeviceView out = w.Make(shape), inverse = w.Make({kRows}, kFp32);
    w.Moves({added, total, gain, out, inverse});
    w.Add("add", {}, {added, handed}, {total});
    w.Add("rms_norm", Eps(), {total, gain}, {out, inverse});
  });
  table.Measure(sum + "rms_norm_grad, add", shape, [&](Work& w) {
    const DeviceView handed = AddHanded(w, shape, blocks);
    const DeviceView x = w.Make(shape), gain = w.Make({n}), inverse = w.Make({kRows}, kFp32);
    const DeviceView slope = w.Make(shape), gain_grad = w.Make({n});
    const DeviceView added = w.Make(shape), total = w.Make(shape);
    w.Moves({x, gain, inverse, gain_grad, added, total});
    w.Add("rms_norm_grad", {}, {x, gain, inverse, handed}, {slope, gain_grad}, /*written=*/false);
    w.Add("add", {}, {added, slope}, {total});
  });
}

void MeasureElementwise(const Table& table, int64_t n) {
  struct Op {
    const char* name;
    int in, out;
  };
  constexpr Op kOps[] = {{"add", 2, 1},           {"swiglu", 2, 1},    {"swiglu_grad", 3, 2},
                         {"gelu", 1, 1},          {"gelu_grad", 2, 1}, {"gelu_tanh", 1, 1},
                         {"gelu_tanh_grad", 2, 1}};
  const Sizes shape = {kRows, n};
  for (const Op& op : kOps) {
    table.Measure(op.name, shape, [&](Work& w) {
      w.AddWhole(op.name, {}, w.Several(op.in, shape), w.Several(op.out, shape));
    });
  }
}

void MeasureOthers(const Table& table, int64_t n) {
  constexpr int64_t kSequences = 4, kHead = 128;
  const Sizes shape = {kRows, n}, heads = {kSequences, kRows / kSequences, n / kHead, kHead};
  table.Measure("rope", heads, [&](Work& w) {
    w.SetLetter('s', heads[1], heads[1]);
    w.AddWhole("rope", RopeAttributes({}), {w.Make(heads)}, {w.Make(heads)});
  });
  table.Measure("dropout", shape, [&](Work& w) {
    for (int d = 0; d < 2; ++d) w.SetLetter(static_cast<char>('A' + d), shape[d], shape[d]);
    w.AddWhole("dropout", {{"rate", 0.1}, {"stream", int64_t{1}}},
               {w.Make(shape), w.Same({}, 3, DType::kInt32)}, {w.Make(shape)});
  });
  table.Measure("cast, bf16 to fp32", shape,
                [&](Work& w) { w.AddWhole("cast", {}, {w.Make(shape)}, {w.Make(shape, kFp32)}); });
  table.Measure("cast, fp32 to bf16", shape,
                [&](Work& w) { w.AddWhole("cast", {}, {w.Make(shape, kFp32)}, {w.Make(shape)}); });
  table.Measure("sgd_update", shape, [&](Work& w) {
    const DeviceView weights = w.Make(shape), gradient = w.Make(shape);
    w.AddWhole("sgd", {{"rate", 1e-3}}, {weights, gradient}, {weights});
  });
}

// The passes over logits of `length` indices of the vocabulary; some ids are others.
void MeasureLogits(const Table& table, int64_t length, int64_t vocabulary) {
  const Sizes shape = {kRows, length};
  const auto of_row = [](Work& w) { return w.Make({kRows}, kFp32); };
  const auto measure = [&](const char* name, const auto& make) {
    table.Measure(name, shape, [&](Work& w) {
      w.SetLetter('v', length, vocabulary);
      make(w);
    });
  };
  measure("row_max", [&](Work& w) { w.AddWhole("row_max", {}, {w.Make(shape)}, {of_row(w)}); });
  measure("exp_sum", [&](Work& w) {
    w.AddWhole("exp_sum", {}, {w.Make(shape), of_row(w)}, {of_row(w)});
  });
  measure("pick", [&](Work& w) {
    const DeviceView logits = w.Make(shape), ids = MakeIds(w, vocabulary);
    const DeviceView picked = of_row(w), found = of_row(w);
    w.Add("pick", {}, {logits, ids}, {picked, found});
    DeviceView one_a_row = logits;
    one_a_row.dims[1].size = 1;
    w.Moves({one_a_row, ids, picked, found});
  });
  measure("logits_grad", [&](Work& w) {
    w.AddWhole("logits_grad", {},
               {w.Make(shape), MakeIds(w, vocabulary), of_row(w), of_row(w), of_row(w)},
               {w.Make(shape)});
  });
  measure("exp_sum_grad", [&](Work& w) {
    w.AddWhole("exp_sum_grad", {}, {w.Make(shape), of_row(w), of_row(w)}, {w.Make(shape)});
  });
  measure("pick_grad", [&](Work& w) {
    const DeviceView ids = MakeIds(w, vocabulary), gradient = of_row(w), out = w.Make(shape);
    w.Add("pick_grad", {}, {out, ids, gradient}, {out});  // of the logits only the shape is read
    w.Moves({ids, gradient, out});
  });
}

void MeasureLoss(const Table& table) {
  const Attributes scale = {{"scale", 1.0 / kRows}};
  const auto of_row = [](Work& w) { return w.Same({kRows}, 2, kFp32); };
  table.Measure("cross_entropy", {kRows}, [&](Work& w) {
    w.AddWhole("cross_entropy", scale, {of_row(w), of_row(w), of_row(w), of_row(w)},
               {w.Make({}, kFp32)});
  });
  table.Measure("cross_entropy_grad", {kRows}, [&](Work& w) {
    w.AddWhole("cross_entropy_grad", scale, {of_row(w), of_row(w)}, {of_row(w), of_row(w)});
  });
}

void MeasureLookups(const Table& table, int64_t vocabulary, int64_t n) {
  const Sizes shape = {vocabulary, n};
  table.Measure("embedding", shape, [&](Work& w) {
    w.SetLetter('v', vocabulary, vocabulary);
    const DeviceView ids = MakeIds(w, vocabulary), rows = w.Make(shape), out = w.Make({kRows, n});
    w.Add("embedding", {}, {ids, rows}, {out});
    DeviceView looked_up = rows;
    looked_up.dims[0].size = std::min(vocabulary, kRows);
    w.Moves({ids, looked_up, out});
  });
  table.Measure("embedding_grad", shape, [&](Work& w) {
    w.SetLetter('v', vocabulary, vocabulary);
    const DeviceView ids = MakeIds(w, vocabulary), dy = w.Make({kRows, n}), out = w.Make(shape);
    w.Add("embedding_grad", {}, {ids, dy, out}, {out});  // of the table only the shape is read
    w.Moves({ids, dy, out});
  });
}

void AddUpdates(Work& w, bool master, int64_t tensors, int64_t each) {
  w.Go(Together::kUpdates);
  const Attributes attributes = {
      {"beta_moment", 0.9}, {"beta_square", 0.95}, {"eps", 1e-8}, {"decay", 0.1}};
  const Views fed = {w.Same({}, 1e-3, kFp32), w.Same({}, 1, kFp32), w.Same({}, 1, kFp32),
                     w.Same({}, 1, kFp32)};
  for (int64_t i = 0; i < tensors; ++i) {
    const DeviceView parameter = w.Make({each}), gradient = w.Make({each});
    Views state = {w.Zeros({each}, kFp32), w.Zeros({each}, kFp32)};  // read, and written
    Views updated = {parameter};
    if (master) {
      state.insert(state.begin(), w.Make({each}, kFp32));
    } else {
      w.Moves({parameter});  // where there is a master copy, it is written only
    }
    w.Moves(state);
    updated.insert(updated.end(), state.begin(), state.end());
    Views in = updated;
    in.push_back(gradient);
    in.insert(in.end(), fed.begin(), fed.end());
    w.Moves({gradient});
    w.Moves(updated);
    w.Add(master ? "adamw_master" : "adamw", attributes, in, updated);
  }
}

void AddSquares(Work& w, int64_t tensors, int64_t each) {
  w.Go(Together::kSquares);
  const DeviceView square = w.Same({}, 0, kFp32);
  DeviceView sum = w.Same({}, 0, kFp32);
  for (int64_t i = 0; i < tensors; ++i) {
    const DeviceView tensor = w.Make({each}), next = w.Same({}, 0, kFp32);
    w.Moves({tensor});
    w.Add("square_sum", {}, {tensor}, {square});
    w.Add("add", {}, {sum, square}, {next});
    sum = next;
  }
}

// Of 254 million numbers: in one tensor, and in as many as a launch may have.
void MeasureUpdates(const Table& table) {
  constexpr int64_t kTensors = 62, kEach = 4'096'000, kAll = kTensors * kEach;
  table.Measure("adamw_master", {kAll}, [](Work& w) { AddUpdates(w, true, 1, kAll); });
  table.Measure("adamw_master, together", {kTensors, kEach},
                [](Work& w) { AddUpdates(w, true, kTensors, kEach); });
  table.Measure("adamw, together", {kTensors, kEach},
                [](Work& w) { AddUpdates(w, false, kTensors, kEach); });
  table.Measure("square_sum", {kAll}, [](Work& w) {
    w.AddWhole("square_sum", {}, {w.Make({kAll})}, {w.Make({}, kFp32)});
  });
  table.Measure("square_sum, together", {kTensors, kEach},
                [](Work& w) { AddSquares(w, kTensors, kEach); });
}

void Run(std::string_view only) {
  const Table table(only);
  for (int64_t n : {2048, 4096}) {
    MeasureNorms(table, n);
    for (int64_t blocks : {1, 2}) MeasureChains(table, n, blocks);
    MeasureOthers(table, n);
  }
  for (int64_t n : {2048, 4096, 14336}) MeasureElementwise(table, n);
  for (int64_t length : {16000, 32000}) MeasureLogits(table, length, 32000);
  MeasureLoss(table);
  for (int64_t vocabulary : {256, 32000}) MeasureLookups(table, vocabulary, 4096);
  MeasureUpdates(table);
}

}  // namespace
}  // namespace tp::nccl

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  tp::nccl::Run(argc > 1 ? argv[1] : "");
}
