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
// As the hardware has it, off by an ulp at most, of 1 to 2. Source: rcp.approx in the PTX ISA.
__device__ inline float Reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ inline double Reciprocal(double x) { return 1.0 / x; }
// By exp(-|x|), which can't overflow.
template <typename A>
__device__ inline A Sigmoid(A x) {
  const A power = Exp(x < A(0) ? x : -x);
  const A whole = Reciprocal(A(1) + power);
  return x >= A(0) ? whole : power * whole;
}

}  // namespace tp::nccl
