#include "tests/conformance/conformance.h"

#include <algorithm>

namespace tp::conformance {

std::string ParamName(const testing::TestParamInfo<Param>& info) {
  const Param& param = info.param;
  return param.subject.name + "_tp" + std::to_string(param.tp) + "_dp" + std::to_string(param.dp) +
         "_" + std::string(Name(param.dtype));
}

std::vector<Param> AllParams(const Subject& subject) {
  std::vector<Param> params;
  int mesh = subject.first_turn;
  for (int tp : {1, 2, 3, 4, 5, 8}) {
    for (int dp : {1, 2, 3}) {
      if (tp * dp > subject.max_world) continue;
      int turn = mesh++;
      for (DType dtype : subject.dtypes) params.push_back({subject, tp, dp, dtype, turn++});
    }
  }
  return params;
}

std::vector<Param> EveryMesh(const Subject& subject) {
  std::vector<Param> params;
  const std::vector<Param> all = AllParams(subject);
  const size_t types = subject.dtypes.size();
  for (size_t mesh = 0; mesh * types < all.size(); ++mesh) {
    params.push_back(all[mesh * types + (mesh + subject.first_turn) % types]);
  }
  return params;
}

std::vector<Param> ParamsOf(const Subject& subject, DType dtype) {
  std::vector<Param> params = AllParams(subject);
  std::erase_if(params, [&](const Param& param) { return param.dtype != dtype; });
  return params;
}

}  // namespace tp::conformance
