// The listings in docs/architecture.md are what the code prints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tp/model/linear_step.h"
#include "tp/schedule/lower.h"

namespace tp {
namespace {

std::string Page() {
  const std::filesystem::path here =
      std::filesystem::canonical("tests/house/include_rules.h").parent_path();
  std::ifstream file(here.parent_path().parent_path() / "docs/architecture.md");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Architecture, ShowsWhatTheCodePrints) {
  const Mesh mesh = Mesh::Create(2, 1).value();
  const Program program = MakeLinearStep(LinearStepOptions(), mesh).value();
  const Schedule schedule = Lower(program, mesh, 0).value();
  EXPECT_THAT(Page(), testing::HasSubstr("```\n" + ToString(program) + "```\n"));
  EXPECT_THAT(Page(), testing::HasSubstr("```\n" + ToString(schedule) + "```\n"));
}

}  // namespace
}  // namespace tp
