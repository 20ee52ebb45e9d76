// What is fed and written to a part that lies in many runs of its buffer, and read of it: the rest
// of the buffer stays as it is.
#include "tp/runtime/parts.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "backends/cpu/backend.h"
#include "tp/core/dtype.h"
#include "tp/runtime/backend.h"

namespace tp {
namespace {

constexpr int64_t kRows = 5, kColumns = 3, kStride = 10, kOffset = 2;
constexpr int64_t kElements = 64;

// One buffer, and in it the columns from kOffset on of a wider matrix; in other order.
Schedule OneBuffer(bool down) {
  Schedule schedule;
  schedule.buffers.push_back({"all", DType::kFloat64, kElements, -1});
  Binding part;
  part.name = "part";
  part.dtype = DType::kFloat64;
  part.shape = down ? Shape{kColumns, kRows} : Shape{kRows, kColumns};
  part.view = {0, kOffset, {{kRows, kStride}, {kColumns, 1}}};
  if (down) std::swap(part.view.dims[0], part.view.dims[1]);
  schedule.bindings.push_back(part);
  return schedule;
}

std::vector<double> Whole(Executor& executor) {
  std::vector<double> elements(kElements);
  const Status read = executor.Read(0, std::as_writable_bytes(std::span(elements)));
  EXPECT_TRUE(read.ok()) << read.ToString();
  return elements;
}

class PartsOf : public testing::TestWithParam<bool> {
 protected:
  // With an executor whose buffer holds 1000, 1001, ...
  void Run(const std::function<Status(Executor&, const Schedule&)>& body) {
    const Schedule schedule = OneBuffer(GetParam());
    const Status ran = cpu::MakeCpuBackend({})->Run(1, [&](RankContext& context) -> Status {
      TP_ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, context.MakeExecutor(schedule));
      const std::vector<double> before = Before();
      TP_RETURN_IF_ERROR(executor->Write(0, std::as_bytes(std::span(before))));
      return body(*executor, schedule);
    });
    EXPECT_TRUE(ran.ok()) << ran.ToString();
  }

  static std::vector<double> Before() {
    std::vector<double> elements(kElements);
    for (int64_t i = 0; i < kElements; ++i) elements[i] = static_cast<double>(1000 + i);
    return elements;
  }
  // With element i of the part being i.
  std::vector<double> After() const {
    std::vector<double> elements = Before();
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t column = 0; column < kColumns; ++column) {
        const int64_t i = GetParam() ? column * kRows + row : row * kColumns + column;
        elements[kOffset + row * kStride + column] = static_cast<double>(i);
      }
    }
    return elements;
  }
};

INSTANTIATE_TEST_SUITE_P(Orders, PartsOf, testing::Bool());

const ElementSource kNumbers = [](int64_t i) { return static_cast<double>(i); };

TEST_P(PartsOf, AreFedWithTheNextStep) {
  Run([&](Executor& executor, const Schedule& schedule) -> Status {
    TP_RETURN_IF_ERROR(FeedPart(executor, schedule, schedule.bindings[0], FillFrom(kNumbers)));
    EXPECT_EQ(Whole(executor), Before());
    TP_RETURN_IF_ERROR(executor.EnqueueStep(StepKind::kWhole));
    TP_RETURN_IF_ERROR(executor.Synchronize());
    EXPECT_EQ(Whole(executor), After());
    return OkStatus();
  });
}

TEST_P(PartsOf, AreWrittenAndRead) {
  Run([&](Executor& executor, const Schedule& schedule) -> Status {
    const Binding& part = schedule.bindings[0];
    TP_RETURN_IF_ERROR(WritePart(executor, schedule, part, FillFrom(kNumbers)));
    EXPECT_EQ(Whole(executor), After());
    TP_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadPart(executor, schedule, part));
    std::vector<double> read(kRows * kColumns);
    EXPECT_EQ(bytes.size(), read.size() * sizeof(double));
    DecodeToDouble(DType::kFloat64, bytes, read);
    for (size_t i = 0; i < read.size(); ++i) EXPECT_EQ(read[i], static_cast<double>(i));
    return OkStatus();
  });
}

}  // namespace
}  // namespace tp
