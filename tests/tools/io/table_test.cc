#include "tools/io/table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tp::io {
namespace {

TEST(WrapTest, BreaksAtSpacesAndKeepsLongWords) {
  const std::string word(40, 'a');
  EXPECT_EQ(Wrap("one  two "), "one two");
  EXPECT_EQ(Wrap(word + " " + word + " " + word, 2), word + " " + word + "\n  " + word);
  const std::string long_word(200, 'b');
  EXPECT_EQ(Wrap("a " + long_word + " c"), "a\n" + long_word + "\nc");
  // What is on the first line already counts; so do code points, not bytes.
  EXPECT_EQ(Wrap(word + " " + word, 4, 20), word + "\n    " + word);
  std::string signs;
  for (int i = 0; i < 99; ++i) signs += "µ";
  EXPECT_EQ(Wrap(signs + " a"), signs + "\na");
}

TEST(DisplayWidthTest, CountsCodePoints) {
  EXPECT_EQ(DisplayWidth(""), 0);
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("2 × µs → Σ"), 10);
}

TEST(TableTest, AlignsColumns) {
  Table table({{"mode", Align::kLeft}, {"median"}, {"note", Align::kLeft}});
  table.AddRow({"row", "1.23 ms", "a → b"});
  table.AddRow({"column", "45.6 µs", ""});
  EXPECT_EQ(table.Render(),
            "mode     median  note\n"
            "------  -------  -----\n"
            "row     1.23 ms  a → b\n"
            "column  45.6 µs\n");
}

TEST(TableTest, IsAHeaderWithoutRows) {
  EXPECT_EQ(Table({{"a"}, {"bc"}}).Render(), "a  bc\n-  --\n");
}

TEST(TableDeathTest, WantsACellForEachColumn) {
  Table table({{"a"}, {"b"}});
  EXPECT_DEATH(table.AddRow({"1"}), "a cell for each column");
}

TEST(FormatDurationTest, PicksTheUnit) {
  EXPECT_EQ(FormatDuration(0), "0 ns");
  EXPECT_EQ(FormatDuration(7), "7.00 ns");
  EXPECT_EQ(FormatDuration(999.4), "999 ns");
  EXPECT_EQ(FormatDuration(999.6), "1.00 µs");
  EXPECT_EQ(FormatDuration(9994), "9.99 µs");
  EXPECT_EQ(FormatDuration(9996), "10.0 µs");
  EXPECT_EQ(FormatDuration(99960), "100 µs");
  EXPECT_EQ(FormatDuration(1.234e6), "1.23 ms");
  EXPECT_EQ(FormatDuration(12.34e9), "12.3 s");
  EXPECT_EQ(FormatDuration(1234e9), "1234 s");
  EXPECT_EQ(FormatDuration(-1.5e6), "-1.50 ms");
  EXPECT_EQ(FormatDuration(std::nan("")), "nan ns");
}

TEST(FormatBytesTest, PicksTheUnit) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.00 KiB");
  EXPECT_EQ(FormatBytes(80000), "78.1 KiB");
  EXPECT_EQ(FormatBytes(1023 * 1024), "1023 KiB");
  EXPECT_EQ(FormatBytes(1024 * 1024 - 1), "1.00 MiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 29), "1.50 GiB");
  EXPECT_EQ(FormatBytes(int64_t{1} << 52), "4096 TiB");
}

TEST(FormatRateTest, PicksThePrefix) {
  EXPECT_EQ(FormatRate(0, "B/s"), "0 B/s");
  EXPECT_EQ(FormatRate(812, "B/s"), "812 B/s");
  EXPECT_EQ(FormatRate(1.23e11, "FLOP/s"), "123 GFLOP/s");
  EXPECT_EQ(FormatRate(999.6e9, "B/s"), "1.00 TB/s");
  EXPECT_EQ(FormatRate(std::numeric_limits<double>::infinity(), "B/s"), "inf PB/s");
}

TEST(FormatCountTest, SeparatesThousands) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(8.123), "8.12");
  EXPECT_EQ(FormatCount(99.96), "100");
  EXPECT_EQ(FormatCount(999.5), "1,000");
  EXPECT_EQ(FormatCount(81234.5), "81,235");
  EXPECT_EQ(FormatCount(1234567890), "1,234,567,890");
  EXPECT_EQ(FormatCount(std::nan("")), "nan");
}

}  // namespace
}  // namespace tp::io
