#include "tp/runtime/blob.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace tp {
namespace {

TEST(BlobTest, ReadsBackWhatWasWritten) {
  const std::vector<std::byte> bytes = {std::byte{0}, std::byte{255}, std::byte{7}};
  BlobWriter writer;
  writer.Number(std::numeric_limits<int64_t>::min());
  writer.Number(-0.0);
  writer.Bytes(bytes);
  writer.Bytes({});
  writer.Text(std::string("a\0b", 3));
  writer.Text("");
  writer.Number(std::numeric_limits<double>::infinity());
  const std::string blob = writer.Take();
  BlobReader reader(blob);
  EXPECT_EQ(reader.Int(), std::numeric_limits<int64_t>::min());
  EXPECT_TRUE(std::signbit(reader.Double()));
  const std::span<const std::byte> read = reader.Bytes();
  EXPECT_EQ(std::vector<std::byte>(read.begin(), read.end()), bytes);
  EXPECT_TRUE(reader.Bytes().empty());
  EXPECT_EQ(reader.Text(), std::string("a\0b", 3));
  EXPECT_EQ(reader.Text(), "");
  EXPECT_EQ(reader.Double(), std::numeric_limits<double>::infinity());
}

TEST(BlobTest, AnEmptyOneIsEmpty) { EXPECT_EQ(BlobWriter().Take(), ""); }

TEST(BlobDeathTest, ReadingPastTheEndIsAMistake) {
  BlobWriter writer;
  writer.Text("abc");
  const std::string blob = writer.Take();
  EXPECT_DEATH(
      {
        BlobReader reader(blob);
        reader.Text();
        reader.Int();
      },
      "ends early");
  EXPECT_DEATH(BlobReader(std::string_view(blob).substr(0, blob.size() - 1)).Text(), "ends early");
}

}  // namespace
}  // namespace tp
