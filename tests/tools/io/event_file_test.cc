// The format of event files, byte by byte.
#include "tools/io/event_file.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "tests/tools/command.h"

namespace tp::io {
namespace {

// Of RFC 3720 (iSCSI), appendix B.4, and of the algorithm's usual check.
TEST(Crc32c, IsThatOfTheStandard) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aa);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43);
  EXPECT_EQ(Crc32c(""), 0u);
}

template <typename T>
T At(const std::string& bytes, size_t place) {
  T value;
  std::memcpy(&value, bytes.data() + place, sizeof(value));
  return value;
}

// As the format's readers undo it.
uint32_t Unmasked(uint32_t masked) { return std::rotl(masked - 0xa282ead8, 15); }

std::vector<std::string> Records(const std::string& file) {
  std::vector<std::string> records;
  for (size_t at = 0; at < file.size();) {
    const auto length = At<uint64_t>(file, at);
    EXPECT_EQ(Unmasked(At<uint32_t>(file, at + 8)), Crc32c(file.substr(at, 8)));
    records.push_back(file.substr(at + 12, length));
    EXPECT_EQ(Unmasked(At<uint32_t>(file, at + 12 + length)), Crc32c(records.back()));
    at += 16 + length;
  }
  return records;
}

TEST(EventFile, HasARecordForEachStep) {
  const std::string folder = MakeScratchFolder() + "/a/b";
  auto file = EventFile::Create(folder);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_NE((*file)->path().find("/a/b/events.out.tfevents."), std::string::npos);
  ASSERT_TRUE((*file)->Add(300, {{"loss", 1.5}, {"rate", 0.25}}).ok());
  const std::vector<std::string> records = Records(ReadWholeFile((*file)->path()));
  ASSERT_EQ(records.size(), 2u);
  // wall_time, then file_version.
  EXPECT_EQ(records[0][0], '\x09');
  EXPECT_GT(At<double>(records[0], 1), 1.7e9);
  EXPECT_EQ(records[0].substr(9),
            "\x1a\x0d"
            "brain.Event:2");
  // step 300 as a varint; a summary of two values: tag, and simple_value as a float.
  EXPECT_EQ(records[1].substr(9, 3), "\x10\xac\x02");
  const auto value = [](const std::string& tag, float number) {
    const std::string bits(reinterpret_cast<const char*>(&number), 4);
    const std::string fields =
        std::string("\x0a") + static_cast<char>(tag.size()) + tag + "\x15" + bits;
    return std::string("\x0a") + static_cast<char>(fields.size()) + fields;
  };
  const std::string summary = value("loss", 1.5) + value("rate", 0.25);
  EXPECT_EQ(records[1].substr(12),
            std::string("\x2a") + static_cast<char>(summary.size()) + summary);
}

TEST(EventFile, SaysWhereItCanNotBeMade) {
  const auto file = EventFile::Create("/proc/none");
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find("/proc/none"), std::string::npos);
}

}  // namespace
}  // namespace tp::io
