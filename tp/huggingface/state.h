// Which parameters of a program are an optimizer's state, by their names (tp/optim/adamw.h,
// tp/optim/loss_scale.h).
#pragma once

#include <string_view>

namespace tp::hf {

inline constexpr std::string_view kMaster = ".master";

inline bool IsState(std::string_view parameter) {
  return parameter.ends_with(".moment") || parameter.ends_with(".square") ||
         parameter.ends_with(kMaster) || parameter.starts_with("loss.scale");
}

}  // namespace tp::hf
