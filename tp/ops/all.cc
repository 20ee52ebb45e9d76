#include "tp/ops/all.h"

namespace tp {
namespace {

#define TP_ADDRESS_OF_OP(name) &name,
constexpr const OpDef* kOps[] = {TP_ALL_OPS(TP_ADDRESS_OF_OP)};
#undef TP_ADDRESS_OF_OP

}  // namespace

std::span<const OpDef* const> AllOps() { return kOps; }

}  // namespace tp
