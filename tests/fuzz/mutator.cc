// libFuzzer's own mutations, and mostly the header's length set right after them, so that they get
// behind that check. Not part of the Bazel build: only libFuzzer calls it.
#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool npy = text.starts_with("\x93NUMPY") && size > 6;
  const size_t length_begin = npy ? 8 : 0;
  const size_t header_begin = npy ? (data[6] == 1 ? 10 : 12) : 8;
  const size_t brace = text.rfind('}');
  if (seed % 8 == 0 || brace == text.npos || brace < header_begin) return size;
  size_t length = brace + 1 - header_begin;
  for (size_t i = length_begin; i < header_begin; ++i, length >>= 8) {
    data[i] = static_cast<uint8_t>(length & 0xff);
  }
  return size;
}
