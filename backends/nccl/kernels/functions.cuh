// The elementary functions as kernels call them; how far each is off: functions.h.
#pragma once

namespace tp::nccl {

__device__ inline float Exp(float x) { return expf(x); }
__device__ inline double Exp(double x) { return exp(x); }
__device__ inline float Log(float x) { return logf(x); }
__device__ inline double Log(double x) { return log(x); }
__device__ inline float Sqrt(float x) { return __fsqrt_rn(x); }
__device__ inline double Sqrt(double x) { return __dsqrt_rn(x); }
__device__ inline float Tanh(float x) { return tanhf(x); }
__device__ inline double Tanh(double x) { return tanh(x); }
__device__ inline float Erf(float x) { return erff(x); }
__device__ inline double Erf(double x) { return erf(x); }
// Two roundings as IEEE 754 has them, where the compiler would take its own function.
__device__ inline float Rsqrt(float x) { return __fdiv_rn(1.0f, __fsqrt_rn(x)); }
__device__ inline double Rsqrt(double x) { return __ddiv_rn(1.0, __dsqrt_rn(x)); }
// By exp(-|x|), which can't overflow.
template <typename A>
__device__ inline A Sigmoid(A x) {
  const A power = Exp(x < A(0) ? x : -x);
  const A whole = A(1) / (A(1) + power);
  return x >= A(0) ? whole : power * whole;
}

}  // namespace tp::nccl
