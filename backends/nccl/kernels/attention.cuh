// What the kernels of attention share: how its operands lie, and which part of it a block takes.
#pragma once

#include "backends/nccl/kernels/element.cuh"
#include "backends/nccl/kernels/kernel.h"

namespace tp::nccl {

// A tensor of queries, [b, q, g, r, d], or of keys, [b, k, g, 1, d].
struct Operand {
  void* data = nullptr;
  int64_t b = 0, place = 0, g = 0, r = 0, d = 0;  // strides
};

inline Operand Queries(const DeviceView& x) {
  return {x.data,           x.dims[0].stride, x.dims[1].stride,
          x.dims[2].stride, x.dims[3].stride, x.dims.size() > 4 ? x.dims[4].stride : 0};
}
inline Operand Keys(const DeviceView& x) {
  return {x.data, x.dims[0].stride, x.dims[1].stride, x.dims[2].stride, 0, x.dims[3].stride};
}

struct Heads {
  int64_t batches, groups, per_group, size;  // of b, g, r, d
  int64_t queries, keys;
  int64_t begin;  // the place of the first query in the sequence
  // Of packed sequences: where each query's own begins; null for one sequence.
  const int32_t* starts = nullptr;
  int64_t starts_b = 0, starts_place = 0;  // strides
};

// What a block works on.
struct Place {
  int64_t b, g, r, tile;
};

struct ForwardCall {
  Heads heads;
  Operand q, k, v, o, lse;
  double scale;
};
struct BackwardCall {
  Heads heads;
  Operand q, k, v, o, lse, dout, dq, dk, dv;
  double scale;
};

template <typename T>
__device__ inline T* At(const Operand& x, int64_t b, int64_t place, int64_t g, int64_t r) {
  return static_cast<T*>(x.data) + b * x.b + place * x.place + g * x.g + r * x.r;
}

// A query may look at keys [FirstSeen, Seen).
__device__ inline int64_t Seen(const Heads& heads, int64_t query) {
  return min(heads.keys, max(heads.begin + query + 1, int64_t{0}));
}
__device__ inline int64_t FirstSeen(const Heads& heads, int64_t b, int64_t query) {
  return heads.starts == nullptr ? 0
                                 : heads.starts[b * heads.starts_b + query * heads.starts_place];
}
__device__ inline bool Sees(const Heads& heads, int64_t b, int64_t query, int64_t key) {
  return query < heads.queries && key < Seen(heads, query) && key >= FirstSeen(heads, b, query);
}

__device__ inline Place FindPlace(const Heads& heads, int64_t per_group, int64_t tiles) {
  int64_t i = blockIdx.x;
  Place place;
  place.tile = tiles - 1 - i % tiles;  // of queries, those with the most keys first
  i /= tiles;
  place.r = i % per_group;
  i /= per_group;
  place.g = i % heads.groups;
  place.b = i / heads.groups;
  return place;
}

// On tensor cores, where they take the call's types, sizes and strides.
bool TensorCoresTake(const KernelCall& c);
cudaError_t AttentionOnTensorCores(const ForwardCall& call, cudaStream_t stream);
// Takes AlongBytes of scratch memory.
cudaError_t AttentionGradOnTensorCores(const BackwardCall& call, const Scratch& scratch,
                                       cudaStream_t stream);
inline int64_t AlongBytes(const Heads& heads) {
  return 4 * std::max<int64_t>(1, heads.batches * heads.groups * heads.per_group * heads.queries);
}

}  // namespace tp::nccl
