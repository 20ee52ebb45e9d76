// The BLAS library that multiplies matrices, loaded when it is first needed and not with the
// program.
//
// So that it can be given what it reads only while it is loaded: its kernels, where those of its
// own choice are worse than what the processor can do, and one thread. And so that it is asked for
// memory only where there is some: OpenBLAS waits for ever, silently, for memory that it can't
// have.
#pragma once

#include <string>

#include "tp/core/status.h"

namespace tp::cpu {

// BLAS's own functions: matrices by columns, everything by address.
template <typename T>
using BlasGemm = void (*)(const char* transpose_a, const char* transpose_b, const int* m,
                          const int* n, const int* k, const T* alpha, const T* a, const int* lda,
                          const T* b, const int* ldb, const T* beta, T* c, const int* ldc);
template <typename T>
using BlasGemv = void (*)(const char* transpose, const int* rows, const int* columns,
                          const T* alpha, const T* a, const int* lda, const T* x, const int* incx,
                          const T* beta, T* y, const int* incy);

struct Blas {
  BlasGemm<float> sgemm = nullptr;
  BlasGemm<double> dgemm = nullptr;
  BlasGemv<float> sgemv = nullptr;
  BlasGemv<double> dgemv = nullptr;

  template <typename T>
  auto gemm() const {
    if constexpr (sizeof(T) == sizeof(float)) return sgemm;
    if constexpr (sizeof(T) == sizeof(double)) return dgemm;
  }
  template <typename T>
  auto gemv() const {
    if constexpr (sizeof(T) == sizeof(float)) return sgemv;
    if constexpr (sizeof(T) == sizeof(double)) return dgemv;
  }
};

// The library, or null: where the build has none (--config=eigen), where it is not installed, and
// where it computes wrong on this processor. The first call loads it, and for that moment sets
// variables of the environment: call it before other threads read those. Any thread afterwards.
const Blas* LoadedBlas();

// What LoadedBlas gave, for people: "OpenBLAS 0.3.21 SkylakeX (its own choice was Prescott)", or
// why there is none. Empty where the build has none.
std::string DescribeBlas();

// Lets the library take now the memory that `count` products at the same time need, and no product
// later. Errors: UNAVAILABLE where the process may not have it, or too little to load the library.
Status ReserveBlas(int count);

}  // namespace tp::cpu
