#include <vector>

#include "tests/conformance/conformance.h"
#include "tests/conformance/redistribute_run.h"

namespace tp::conformance {

// Sizes that do not divide, sizes that leave ranks without a part, and a vector.
TEST_P(RedistributeTest, EveryTransitionGivesEveryRankItsPart) {
  const Mesh mesh = *Mesh::Create(GetParam().tp, GetParam().dp);
  const std::unique_ptr<Backend> backend = GetParam().subject.make();
  for (const Shape& shape : {Shape{7, 11}, Shape{2, 3}, Shape{13}, Shape{2}}) {
    for (const Transition& transition : AllTransitions(shape, GetParam().dtype)) {
      const StatusOr<std::vector<std::string>> defects =
          FindDefects(*backend, mesh, transition, /*steps=*/2);
      ASSERT_TRUE(defects.ok()) << ToString(transition) << ": " << defects.status().ToString();
      EXPECT_EQ(*defects, std::vector<std::string>()) << ToString(transition);
    }
  }
}

}  // namespace tp::conformance
