// Blocks of stored tensors, element by element, for random parts of tensors in random orders.
#include "tp/runtime/storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

namespace tp {
namespace {

struct Case {
  Binding binding;
  StoredTensor tensor;
};

// A part of a tensor whose dimensions run in any order in the file, with or without room between.
Case RandomCase(std::mt19937& random) {
  const auto draw = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  Case result;
  Binding& binding = result.binding;
  const auto rank = static_cast<size_t>(draw(0, 4));
  Shape sizes;
  for (size_t d = 0; d < rank; ++d) {
    binding.shape.push_back(draw(1, 4));
    binding.origin[d] = draw(0, binding.shape[d] - 1);
    sizes.push_back(draw(draw(0, 3) == 0 ? 0 : 1, binding.shape[d] - binding.origin[d]));
    if (draw(0, 1) == 0) {  // whole
      binding.origin[d] = 0;
      sizes[d] = binding.shape[d];
    }
  }
  binding.view = PackedView(0, 0, sizes, Order::Own(rank));
  result.tensor.begin = draw(0, 9);
  result.tensor.dtype = DType::kFloat16;
  result.tensor.strides.resize(rank);
  std::vector<size_t> order(rank);
  std::iota(order.begin(), order.end(), size_t{0});
  std::shuffle(order.begin(), order.end(), random);
  int64_t stride = 1;
  for (size_t d : order) {
    result.tensor.strides[d] = stride;
    stride = stride * binding.shape[d] + (draw(0, 2) == 0 ? draw(0, 2) : 0);
  }
  return result;
}

TEST(StorageTest, BlocksAreAllOfThePartWhereItLies) {
  std::mt19937 random(1);
  int64_t of_many = 0;
  for (int i = 0; i < 3000; ++i) {
    const Case one = RandomCase(random);
    std::map<int64_t, int64_t> expected, actual;  // the byte of each element of the part
    int64_t element = 0;
    ForEachElement(one.binding.view, [&](const Index& index, int64_t) {
      int64_t byte = one.tensor.begin;
      for (size_t d = 0; d < one.binding.shape.size(); ++d) {
        byte += 2 * (one.binding.origin[d] + index[d]) * one.tensor.strides[d];
      }
      expected[element++] = byte;
    });
    int64_t blocks = 0;
    ForEachBlock(one.binding, one.tensor, [&](const StoredBlock& block) {
      ++blocks;
      int64_t byte = block.begin;
      ForEachElement(block.places, [&](const Index&, int64_t place) {
        EXPECT_TRUE(actual.emplace(place, byte).second);
        byte += 2;
      });
    });
    ASSERT_EQ(actual, expected) << i;
    of_many += blocks < element;
  }
  EXPECT_GT(of_many, 500) << "hardly a block has two elements";
}

}  // namespace
}  // namespace tp
