#include "tp/data/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

namespace tp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string Npy(const std::string& descr, const std::string& shape, const std::string& data) {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize(117, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header +
         data;
}

// All of a file's tokens, or what is wrong with one.
StatusOr<std::vector<int32_t>> All(const std::string& name, const std::string& bytes,
                                   int64_t vocabulary) {
  TP_ASSIGN_OR_RETURN(const TokenFile file, TokenFile::Parse(Bytes(bytes), name, vocabulary));
  std::vector<int32_t> ids(file.size());
  TP_RETURN_IF_ERROR(file.Read(0, ids));
  return ids;
}

TEST(TokenFileTest, ReadsWhatTheNameSays) {
  const std::string text("a\0\xff", 3);
  EXPECT_THAT(*All("a.txt", text, 256), ElementsAre('a', 0, 255));
  EXPECT_THAT(*All("noname", text, 256), ElementsAre('a', 0, 255));
  const std::string four("\x01\x00\xff\xff", 4);
  EXPECT_THAT(*All("a.bin", four, 65536), ElementsAre(1, 65535));
  EXPECT_THAT(*All("a.npy", Npy("<u2", "(2,)", four), 65536), ElementsAre(1, 65535));
  EXPECT_THAT(*All("a.npy", Npy(">u2", "(2,)", four), 65536), ElementsAre(256, 65535));
  EXPECT_THAT(*All("a.npy", Npy("|u1", "(4,)", four), 256), ElementsAre(1, 0, 255, 255));
  const std::string eight("\x02\x01\x00\x00\x00\x00\x00\x00", 8);
  EXPECT_THAT(*All("a.npy", Npy("<i8", "(1,)", eight), 300), ElementsAre(258));
  EXPECT_THAT(*All("a.npy", Npy("<i4", "(2,)", eight), 300), ElementsAre(258, 0));
  EXPECT_THAT(*All("a.npy", Npy("<u8", "(1,)", eight), 259), ElementsAre(258));
}

TEST(TokenFileTest, SaysWhatIsWrong) {
  const std::string two("\xff\xff", 2), eight(8, '\xff');
  const auto message = [](const std::string& name, const std::string& bytes, int64_t vocabulary) {
    return All(name, bytes, vocabulary).status().message();
  };
  EXPECT_THAT(message("a.bin", "odd", 9), HasSubstr("a.bin: has 3 bytes, an odd number"));
  EXPECT_THAT(message("a.bin", "", 9), HasSubstr("a.bin: holds no token"));
  EXPECT_THAT(message("a.txt", "", 9), HasSubstr("a.txt: holds no token"));
  EXPECT_THAT(message("a.npy", Npy("<u2", "(0,)", ""), 9), HasSubstr("holds no token"));
  EXPECT_THAT(message("a.npy", Npy("<u2", "(1, 1)", two), 9), HasSubstr("has shape [1, 1]"));
  EXPECT_THAT(message("a.npy", Npy("<f4", "(1,)", "1234"), 9),
              HasSubstr("has dtype \"<f4\"; accepted are integers"));
  EXPECT_THAT(message("a.npy", Npy("<u2", "(2,)", two), 9), HasSubstr("is truncated"));
  EXPECT_EQ(message("a.bin", two, 65535),
            "a.bin: token 0 is 65535, and the model knows ids from 0 to 65534; were these made by "
            "the model's tokenizer?");
  EXPECT_THAT(message("a.npy", Npy("<i2", "(1,)", two), 9), HasSubstr("token 0 is -1"));
  EXPECT_THAT(message("a.npy", Npy("<i8", "(1,)", eight), 9), HasSubstr("token 0 is -1"));
  EXPECT_THAT(message("a.npy", Npy("<u8", "(1,)", eight), 9), HasSubstr("token 0 is"));
  EXPECT_THAT(message("a.txt", "aab", 'b'), HasSubstr("a.txt: token 2 is 98"));
  EXPECT_EQ(TokenFile::Open(testing::TempDir() + "/none.bin", 9).status().code(),
            StatusCode::kNotFound);
}

TEST(TokenFileTest, AnyStretchIsReadByItself) {
  const std::string path = testing::TempDir() + "/tokens_test.bin";
  {
    std::ofstream file(path, std::ios::binary);
    for (int i = 0; i < 70000; ++i) file << static_cast<char>(i) << static_cast<char>(i >> 8);
  }
  const StatusOr<TokenFile> file = TokenFile::Open(path, 65536);
  ASSERT_TRUE(file.ok()) << file.status().ToString();
  EXPECT_EQ(file->size(), 70000);
  for (int64_t begin : {int64_t{0}, int64_t{255}, int64_t{65530}, int64_t{69990}}) {
    std::vector<int32_t> ids(10), expected(10);
    std::iota(expected.begin(), expected.end(), static_cast<int32_t>(begin));
    for (int32_t& id : expected) id %= 65536;
    ASSERT_TRUE(file->Read(begin, ids).ok());
    EXPECT_EQ(ids, expected);
  }
  EXPECT_TRUE(file->Check().ok());
  EXPECT_THAT(TokenFile::Open(path, 65535)->Check().message(), HasSubstr("token 65535 is 65535"));
  std::filesystem::resize_file(path, 1000);
  std::vector<int32_t> ids(10);
  EXPECT_THAT(file->Read(60000, ids).message(), HasSubstr("shrank while it was read"));
}

}  // namespace
}  // namespace tp
