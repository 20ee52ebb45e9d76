#include "tp/ops/all.h"
#include "tp/program/reverse.h"

namespace tp {
namespace {

struct CastReference {
  template <typename T>
  static void Run(ReferenceCall<T>& call) {
    call.out[0] = call.in[0];
  }
};

Status ReverseCast(Reverse& r) {
  if (!r.Needs(0)) return OkStatus();
  return r.Give(0, kCast, {r.gradient(0)}, {{"to", std::string(Name(r.value(r.in(0)).dtype))}});
}

}  // namespace

// x in the type "to", rounded once.
constinit const OpDef kCast = {.name = "cast",
                               .letters = "* -> *",
                               .types = {TypeRule::kNamed},
                               .attributes = {AttributeDef{"to", AttributeType::kText}},
                               .advice =
                                   "parts of a sum are not rounded one by one; redistribute "
                                   "first",
                               .reverse = ReverseCast,
                               .reference = ReferenceOf<CastReference>()};

}  // namespace tp
