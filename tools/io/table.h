// Text for terminals: aligned tables, wrapped lines, and numbers with units.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tp::io {

// Columns a UTF-8 text takes on a terminal, where each code point takes one: true of Latin, Greek,
// arrows, box drawing and signs such as × and µ, not of combining marks or East Asian wide forms.
int DisplayWidth(std::string_view text);

// What a report keeps within, where it can.
inline constexpr int kTextWidth = 100;

// `text` in lines of at most kTextWidth columns, broken at spaces; a longer word has a line of its
// own. Lines but the first begin with `indent` spaces; `used` columns of the first are taken. No
// newline at the end.
std::string Wrap(std::string_view text, int indent = 0, int used = 0);

enum class Align { kLeft, kRight };

struct Column {
  std::string header;
  Align align = Align::kRight;
};

// A header, a rule and rows, in columns as wide as their widest cell:
//
//   mode     median
//   ------  -------
//   row     1.23 ms
class Table {
 public:
  explicit Table(std::vector<Column> columns);

  // One cell for each column.
  void AddRow(std::vector<std::string> cells);

  // Lines that end in '\n', without trailing spaces.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// Three significant digits and the unit that leaves one to three before the point: "1.23 ms".
// From nanoseconds up to seconds; longer ones stay in seconds: "1234 s".
std::string FormatDuration(double nanoseconds);

// "512 B", "78.1 KiB", "1.50 GiB", up to TiB.
std::string FormatBytes(int64_t bytes);

// With a decimal prefix from kilo to peta: FormatRate(1.23e11, "FLOP/s") is "123 GFLOP/s".
std::string FormatRate(double per_second, std::string_view unit);

// A count with its thousands separated, for what takes no prefix: "81,235"; below 100 with three
// significant digits, "8.12".
std::string FormatCount(double count);

}  // namespace tp::io
