#include "tools/io/table.h"

#include <fmt/format.h>
#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <span>
#include <utility>

namespace tp::io {
namespace {

std::string Pad(const std::string& cell, int width, Align align) {
  const std::string spaces(static_cast<size_t>(width - DisplayWidth(cell)), ' ');
  return align == Align::kLeft ? cell + spaces : spaces + cell;
}

// Three significant digits, or all of those before the point.
std::string ThreeDigits(double value) {
  const double magnitude = std::abs(value);
  // What rounds to the next power of ten has one digit more before the point.
  const int decimals = magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0;
  return value == 0 ? "0" : fmt::format("{:.{}f}", value, decimals);
}

// `value` in the first of `units`, each `step` times the one before, that leaves it below `step` as
// printed, or in the last.
std::string Scale(double value, double step, std::span<const std::string_view> units,
                  std::string_view suffix) {
  size_t unit = 0;
  while (unit + 1 < units.size() && std::round(std::abs(value)) >= step) {
    value /= step;
    ++unit;
  }
  return fmt::format("{} {}{}", ThreeDigits(value), units[unit], suffix);
}

}  // namespace

int DisplayWidth(std::string_view text) {
  // Bytes 10xxxxxx continue a code point.
  return static_cast<int>(std::ranges::count_if(
      text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }));
}

std::string Wrap(std::string_view text, int indent, int used) {
  std::string wrapped;
  int column = used;
  bool first_of_line = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const int width = DisplayWidth(word);
    if (!first_of_line && column + 1 + width > kTextWidth) {
      wrapped += '\n' + std::string(static_cast<size_t>(indent), ' ');
      column = indent;
      first_of_line = true;
    }
    if (!first_of_line) {
      wrapped += ' ';
      ++column;
    }
    wrapped += word;
    column += width;
    first_of_line = false;
  }
  return wrapped;
}

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

void Table::AddRow(std::vector<std::string> cells) {
  CHECK_EQ(cells.size(), columns_.size()) << "a row needs a cell for each column";
  rows_.push_back(std::move(cells));
}

std::string Table::Render() const {
  std::vector<std::vector<std::string>> lines(2);
  std::vector<int> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = DisplayWidth(columns_[i].header);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
    lines[0].push_back(columns_[i].header);
    lines[1].emplace_back(static_cast<size_t>(width), '-');
  }
  std::ranges::copy(rows_, std::back_inserter(lines));
  std::string text;
  for (const auto& line : lines) {
    for (size_t i = 0; i < columns_.size(); ++i) {
      text += (i == 0 ? "" : "  ") + Pad(line[i], widths[i], columns_[i].align);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

std::string FormatDuration(double nanoseconds) {
  static constexpr std::string_view kUnits[] = {"ns", "µs", "ms", "s"};
  return Scale(nanoseconds, 1000, kUnits, "");
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes > -1024 && bytes < 1024) return fmt::format("{} B", bytes);
  return Scale(static_cast<double>(bytes), 1024, kUnits, "");
}

std::string FormatRate(double per_second, std::string_view unit) {
  static constexpr std::string_view kPrefixes[] = {"", "k", "M", "G", "T", "P"};
  return Scale(per_second, 1000, kPrefixes, unit);
}

std::string FormatCount(double count) {
  const bool grouped = count >= 99.95 && count < 1e18;  // never NaN
  return grouped ? fmt::format("{}", fmt::group_digits(std::llround(count))) : ThreeDigits(count);
}

}  // namespace tp::io
