#include "backends/predict/op_work.h"

#include <glog/logging.h>

#include <algorithm>
#include <vector>

namespace tp::predict {
namespace {

double BytesOf(const Schedule& schedule, const View& view) {
  double elements = 1;
  for (const Dim& dim : view.dims) {
    if (dim.stride != 0 || dim.size == 0) elements *= static_cast<double>(dim.size);
  }
  return elements * static_cast<double>(SizeOf(schedule.buffers[view.buffer].dtype));
}

// What it computes in: the type of its first operand that is no list of ids.
DType TypeOf(const Schedule& schedule, const ScheduledOp& op) {
  for (const std::vector<View>* views : {&op.reads, &op.writes}) {
    for (const View& view : *views) {
      const DType dtype = schedule.buffers[view.buffer].dtype;
      if (dtype != DType::kInt32) return dtype;
    }
  }
  return DType::kFloat32;
}

// Whether a matrix's columns are packed, and not its rows.
bool IsTurned(const View& view) {
  const Dim& row = view.dims[view.rank() - 2];
  const Dim& column = view.dims[view.rank() - 1];
  return column.stride != 1 && row.stride == 1;
}

// The letter of what is looked up by id, where the launch is that op's own; 0: none.
char IdsOf(const Program& program, const ScheduledOp& op) {
  if (op.value < 0) return 0;
  const OpDef& def = *program.ops()[program.DefinitionOf(op.value)].def;
  return def.action() == op.action ? def.ids_of : 0;
}

}  // namespace

std::string ActionOf(const OpWork& work) {
  return std::string(Name(work.action)) + (work.turned ? " turned" : "");
}

double ProcessorsOf(const OpWork& work, int multiprocessors) {
  if (!work.IsProduct() || work.flops == 0) return 1;
  const double tiles = static_cast<double>(work.loops) * LargeTilesOf(work.product);
  return std::min(1.0, tiles / multiprocessors);
}

OpWork WorkOf(const Program& program, const Schedule& schedule, const ScheduledOp& op) {
  CHECK(op.action != Action::kCollective);
  OpWork work;
  work.action = op.action;
  work.dtype = TypeOf(schedule, op);
  for (const View& view : op.reads) work.bytes += BytesOf(schedule, view);
  for (const View& view : op.writes) work.bytes += BytesOf(schedule, view);
  if (IsProduct(op.action)) {
    const View& a = op.reads[0];
    const View& b = op.reads[1];
    ProductShape& product = work.product;
    product = {.m = a.dims[a.rank() - 2].size,
               .n = b.dims[b.rank() - 1].size,
               .k = a.dims[a.rank() - 1].size,
               .a_turned = IsTurned(a),
               .b_turned = IsTurned(b),
               .c_turned = IsTurned(op.writes[0])};
    work.loops = 1;
    for (int d = 0; d + 2 < a.rank(); ++d) work.loops *= std::max<int64_t>(1, a.dims[d].size);
    work.flops = 2.0 * static_cast<double>(work.loops) * static_cast<double>(product.m) *
                 static_cast<double>(product.n) * static_cast<double>(product.k);
    return work;
  }
  work.turned = !op.reads.empty() && op.reads[0].rank() >= 2 && IsTurned(op.reads[0]);
  const char ids_of = IdsOf(program, op);
  double points = 1;
  for (const LetterPart& part : op.letters) {
    if (part.letter != ids_of) points *= static_cast<double>(part.length);
  }
  if (!op.letters.empty()) {
    work.flops = 2 * points * static_cast<double>(std::max<size_t>(op.reads.size(), 2) - 1);
  }
  if (ids_of == 0) return work;
  for (const View& view : op.reads) {  // a table, of which a row is read for each id
    const double bytes = BytesOf(schedule, view);
    const double asked = points * static_cast<double>(SizeOf(schedule.buffers[view.buffer].dtype));
    if (bytes > asked) work.bytes -= bytes - asked;
  }
  return work;
}

}  // namespace tp::predict
