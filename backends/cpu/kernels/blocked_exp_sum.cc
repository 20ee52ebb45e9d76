#include "backends/cpu/kernels/all.h"
#include "backends/cpu/kernels/blocks.h"
#include "tp/core/shard_geometry.h"

namespace tp::cpu {
namespace {

// The sum of a node of the tree, each block of which is a chain.
template <typename Wide, typename BlockSum>
Wide SumOfNode(BlockRange node, const BlockSum& of_block) {
  if (node.end - node.begin == 1) return of_block(node.begin);
  const Wide first = SumOfNode<Wide>({node.begin, node.Middle()}, of_block);
  return first + SumOfNode<Wide>({node.Middle(), node.end}, of_block);
}

void BlockedExpSum(const KernelCall& c) {
  const ShardGeometry blocks(c.op.sum.terms, kSumBlocks);
  const int64_t first = blocks.Offset(c.op.sum.nodes.front().begin);
  VisitElement(c.dtype, [&]<typename T>(T) {
    using Wide = typename Element<T>::Wide;
    const Tensor &x = c.in[0], &shift = c.in[1];
    const int rows = x.dims.size() - 1;
    const Dim line = x.dims[rows];
    Wide* const powers = reinterpret_cast<Wide*>(c.scratch);
    ForEachIndex(x, rows, [&](const Index& index) {
      LoadLine<T>(x, LineAt(x, index, rows), line.stride, line.size, powers);
      Numbers<Wide>(powers, line.size) -=
          static_cast<const Wide*>(shift.data)[LineAt(shift, index, rows)];
      ApplyTo(Function::kExp, powers, powers, line.size);
      const auto of_block = [&](int block) {
        Wide sum = 0;
        for (int64_t j = blocks.Offset(block); j < blocks.Offset(block + 1); ++j) {
          sum += powers[j - first];
        }
        return sum;
      };
      for (size_t node = 0; node < c.out.size(); ++node) {
        static_cast<Wide*>(c.out[node].data)[LineAt(c.out[node], index, rows)] =
            SumOfNode<Wide>(c.op.sum.nodes[node], of_block);
      }
    });
  });
}

}  // namespace

const Kernel kBlockedExpSumKernel = {
    Action::kBlockedExpSum, BlockedExpSum,
    [](const KernelCall& c) { return 8 * c.in[0].dims[c.in[0].dims.size() - 1].size; }};

}  // namespace tp::cpu
