#include <limits>

#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"

namespace tp::cpu {
namespace {

// Of the tensor whose rows are worked on one by one; its rows' index is the other tensors'.
int RowDims(const KernelCall& c) { return c.in[0].dims.size() - 1; }
Dim LineOf(const Tensor& x) { return x.dims[x.dims.size() - 1]; }

template <typename Wide>
Wide& At(const Tensor& tensor, const Index& index, int dims) {
  return static_cast<Wide*>(tensor.data)[LineAt(tensor, index, dims)];
}

// Calls f(begin, numbers) for the row at `index`, a block of it at a time.
template <typename T, typename F>
void ForEachBlockOfRow(const Tensor& x, const Index& index, int dims, const F& f) {
  using Wide = typename Element<T>::Wide;
  alignas(64) Wide block[kBlock];
  const Dim line = LineOf(x);
  for (int64_t begin = 0; begin < line.size; begin += kBlock) {
    const int64_t n = std::min(kBlock, line.size - begin);
    LoadLine<T>(x, LineAt(x, index, dims) + begin * line.stride, line.stride, n, block);
    f(begin, Numbers<Wide>(block, n));
  }
}

void RowMax(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      Wide greatest = -std::numeric_limits<Wide>::infinity();
      ForEachBlockOfRow<T>(c.in[0], index, dims, [&](int64_t, const auto& x) {
        greatest = std::max(greatest, x.template maxCoeff<Eigen::PropagateNaN>());
      });
      At<Wide>(c.out[0], index, dims) = greatest;
    });
  });
}

void ExpSum(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const Wide shift = At<Wide>(c.in[1], index, dims);
      LaneSum sum;
      ForEachBlockOfRow<T>(c.in[0], index, dims, [&](int64_t, auto x) {
        x -= shift;
        ApplyTo(Function::kExp, x.data(), x.data(), x.size());
        sum.Add(x.size(), [&](int64_t j) { return x[j]; });
      });
      At<Wide>(c.out[0], index, dims) = static_cast<Wide>(sum.Total());
    });
  });
}

void ExpSumGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    const int64_t stride = LineOf(c.out[0]).stride;
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const Wide shift = At<Wide>(c.in[1], index, dims);
      const Wide factor = At<Wide>(c.in[2], index, dims);
      ForEachBlockOfRow<T>(c.in[0], index, dims, [&](int64_t begin, auto x) {
        x -= shift;
        ApplyTo(Function::kExp, x.data(), x.data(), x.size());
        x *= factor;
        StoreLine<T>(x.data(), c.out[0], LineAt(c.out[0], index, dims) + begin * stride, stride,
                     x.size());
      });
    });
  });
}

// The place in this rank's part of the row that the id at `index` says; -1 where it is not there.
int64_t TargetOf(const KernelCall& c, const Index& index, int dims) {
  const LetterPart& part = c.op.PartOf('v');
  const int64_t target = At<int32_t>(c.in[1], index, dims) - part.begin;
  return target >= 0 && target < part.length ? target : -1;
}

void Pick(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    const int64_t stride = LineOf(c.in[0]).stride;
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const int64_t target = TargetOf(c, index, dims);
      Wide picked = 0;
      if (target >= 0) {
        LoadLine<T>(c.in[0], LineAt(c.in[0], index, dims) + target * stride, 1, 1, &picked);
      }
      At<Wide>(c.out[0], index, dims) = picked;
      At<Wide>(c.out[1], index, dims) = target >= 0 ? 1 : 0;
    });
  });
}

void PickGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    const Dim line = LineOf(c.out[0]);
    ForEachIndex(c.out[0], dims, [&](const Index& index) {
      const int64_t target = TargetOf(c, index, dims);
      T* const to = static_cast<T*>(c.out[0].data) + LineAt(c.out[0], index, dims);
      for (int64_t j = 0; j < line.size; ++j) to[j * line.stride] = T{};
      if (target >= 0) {
        to[target * line.stride] = Element<T>::Narrow(At<Wide>(c.in[2], index, dims));
      }
    });
  });
}

void LogitsGrad(const KernelCall& c) {
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const int dims = RowDims(c);
    const int64_t stride = LineOf(c.out[0]).stride;
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const int64_t target = TargetOf(c, index, dims);
      const Wide shift = At<Wide>(c.in[2], index, dims), factor = At<Wide>(c.in[3], index, dims);
      ForEachBlockOfRow<T>(c.in[0], index, dims, [&](int64_t begin, auto x) {
        x -= shift;
        ApplyTo(Function::kExp, x.data(), x.data(), x.size());
        x *= factor;
        if (target >= begin && target < begin + x.size()) {
          x[target - begin] += At<Wide>(c.in[4], index, dims);
        }
        StoreLine<T>(x.data(), c.out[0], LineAt(c.out[0], index, dims) + begin * stride, stride,
                     x.size());
      });
    });
  });
}

void CrossEntropy(const KernelCall& c) {
  const double scale = c.op.attributes.Number("scale");
  const int dims = c.in[0].dims.size();
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    double total = 0;
    ForEachIndex(c.in[0], dims, [&](const Index& index) {
      const auto number = [&](size_t i) { return Element<T>::Widen(At<T>(c.in[i], index, dims)); };
      Wide log_sum = number(0);
      ApplyTo(Function::kLog, &log_sum, &log_sum, 1);
      total +=
          static_cast<double>(number(3)) * (log_sum + static_cast<double>(number(1))) - number(2);
    });
    *static_cast<T*>(c.out[0].data) = Element<T>::Narrow(static_cast<Wide>(scale * total));
  });
}

void CrossEntropyGrad(const KernelCall& c) {
  const double scale = c.op.attributes.Number("scale");
  ForEachBlock<2, 2>(c.dtype, {c.in[0], c.in[1]}, {c.out[0], c.out[1]},
                     [&](const auto& in, auto& out) {
                       using Wide = std::remove_cvref_t<decltype(out[0][0])>;
                       out[0] = static_cast<Wide>(scale) * in[1] / in[0];
                       out[1].setConstant(static_cast<Wide>(-scale));
                     });
}

}  // namespace

const Kernel kRowMaxKernel = {Action{"row_max"}, RowMax};
const Kernel kExpSumKernel = {Action{"exp_sum"}, ExpSum};
const Kernel kExpSumGradKernel = {Action{"exp_sum_grad"}, ExpSumGrad};
const Kernel kPickKernel = {Action{"pick"}, Pick};
const Kernel kPickGradKernel = {Action{"pick_grad"}, PickGrad};
const Kernel kLogitsGradKernel = {Action{"logits_grad"}, LogitsGrad};
const Kernel kCrossEntropyKernel = {Action{"cross_entropy"}, CrossEntropy};
const Kernel kCrossEntropyGradKernel = {Action{"cross_entropy_grad"}, CrossEntropyGrad};

}  // namespace tp::cpu
