#include "tests/tools/verify_inputs.h"

#include <gtest/gtest.h>

#include "tp/core/random.h"
#include "tp/io/npy.h"

namespace tp {

CommandResult Verify(const std::string& arguments) {
  return RunCommand("tools/verify/verify", arguments);
}

void ExpectRefusal(const std::string& arguments, const std::string& words) {
  ExpectRefused(Verify(arguments), arguments, words);
}

bool Contains(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

HostTensor Random(const Shape& shape, uint64_t stream, DType dtype) {
  HostTensor tensor(shape, dtype);
  const RandomTensor random(3, stream);
  for (int64_t i = 0; i < tensor.size(); ++i) tensor.Set(i, random.Uniform(i));
  return tensor;
}

void Write(const std::string& path, const HostTensor& tensor) {
  ASSERT_TRUE(io::WriteNpy(path, tensor).ok()) << path;
}

std::string MakeInputs(DType dtype) {
  const std::string folder = MakeScratchFolder();
  Write(folder + "/x.npy", Random({kTokens, kIn}, 0, dtype));
  Write(folder + "/targets.npy", Random({kTokens, kOut}, 1, dtype));
  Write(folder + "/w.npy", Random({kOut, kIn}, 2, dtype));
  Write(folder + "/b.npy", Random({kOut}, 3, dtype));
  return folder;
}

}  // namespace tp
