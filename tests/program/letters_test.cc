#include "tp/program/letters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tp {
namespace {

using testing::HasSubstr;

Letters Parsed(const char* text) { return Letters::Parse(text).value(); }

TEST(Letters, SayWhatAnOpIsMadeOf) {
  const Letters product = Parsed("mk,kn + n -> mn");
  EXPECT_EQ(product.operands(), (std::vector<std::string>{"mk", "kn", "n"}));
  EXPECT_EQ(product.all(), "mkn");
  EXPECT_EQ(product.summed(), "k");
  EXPECT_EQ(product.ToString(), "mk,kn + n -> mn");
  const Letters loss = Parsed("mn,mn->,mn");
  EXPECT_EQ(loss.outputs(), (std::vector<std::string>{"", "mn"}));
  EXPECT_EQ(loss.summed(), "");
}

TEST(Letters, AStarStandsForAnyDimensions) {
  const Letters norm = Parsed("*f,f -> *f,*");
  const std::vector<std::string> names = {"x", "gain"};
  EXPECT_EQ(norm.For({{2, 3, 4}, {4}}, names).value().ToString(), "ABf,f -> ABf,AB");
  EXPECT_EQ(norm.For({{4}, {4}}, names).value().ToString(), "f,f -> f,");
  EXPECT_THAT(norm.For({{}, {4}}, names).status().message(),
              HasSubstr("'x' has shape []; it needs 1 dimensions or more"));
  EXPECT_THAT(norm.For({{4}, {4, 1}}, names).status().message(),
              HasSubstr("'gain' has shape [4, 1]; it needs 1 dimensions"));
  EXPECT_THAT(norm.For({{4}}, {"x"}).status().message(), HasSubstr("takes 2 inputs, not 1"));
  EXPECT_THAT(Parsed("*,* -> *").For({{2, 3}, {2}}, {"a", "b"}).status().message(),
              HasSubstr("'b' has shape [2]; it needs 2 dimensions"));
}

TEST(Letters, GiveShapes) {
  const std::vector<std::string> names = {"x", "w"};
  const Letters heads = Parsed("bse,grde -> bsgrd");
  const auto sizes = heads.Sizes({{2, 7, 6}, {3, 2, 4, 6}}, names).value();
  EXPECT_EQ(heads.OutputShapes(sizes), (std::vector<Shape>{{2, 7, 3, 2, 4}}));
  EXPECT_THAT(heads.Sizes({{2, 7, 6}, {3, 2, 4, 5}}, names).status().message(),
              HasSubstr("'x' has shape [2, 7, 6] and 'w' has shape [3, 2, 4, 5]; in "
                        "bse,grde -> bsgrd the sizes of 'e' must be alike"));
}

TEST(Letters, RefuseWhatIsNoSumOfProducts) {
  for (const char* text :
       {"", "mk", "mk -> m -> k", "mm -> m", "m -> n", "M -> M", "m -> mm", "m1 -> m"}) {
    const Status status = Letters::Parse(text).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr(std::string("'") + text + "'")) << text;
  }
}

// What the rule says of a transformer's ops.
TEST(Letters, PlaceATransformersOps) {
  const struct {
    const char* letters;
    const char* whole;
    bool linear;
    std::vector<Placement> on;
    std::optional<std::vector<Placement>> expected;
  } cases[] = {
      {"bsf,f -> bsf,bs", "f", false, {Shard(1), Replicate()}, {{Shard(1), Shard(1)}}},
      {"bsf,f -> bsf,bs", "f", false, {Shard(2), Shard(0)}, std::nullopt},
      {"bsf,f,bs,bsf -> bsf,f",
       "f",
       false,
       {Shard(1), Replicate(), Shard(1), Shard(1)},
       {{Shard(1), Partial()}}},
      {"bse,grde -> bsgrd", "", true, {Replicate(), Shard(0)}, {{Shard(2)}}},
      {"bqgrd,bkgd,bkgd -> bqgrd", "qkd", false, {Shard(2), Shard(2), Shard(2)}, {{Shard(2)}}},
      {"bqgrd,bkgd,bkgd -> bqgrd", "qkd", false, {Shard(1), Shard(1), Shard(1)}, std::nullopt},
      {"bsgrd,grde -> bse", "", true, {Shard(2), Shard(0)}, {{Partial()}}},
      {"bs,ve -> bse", "", false, {Replicate(), Shard(0)}, {{Partial()}}},
      {"bse + bse -> bse", "", true, {Partial(), Partial()}, {{Partial()}}},
      {"bse + bse -> bse", "", true, {Partial(), Shard(1)}, std::nullopt},
      {"bse + bse -> bse", "", true, {Partial(), Replicate()}, std::nullopt},
      {"d + -> d,", "", true, {Shard(0), Replicate()}, std::nullopt},
      {"ab + ac -> ", "", true, {Shard(0), Partial()}, std::nullopt},
      {"ab + c -> ", "", true, {Shard(0), Partial()}, {{Partial()}}},
      {"mn -> ", "", false, {Shard(0)}, {{Partial()}}},
      {"mn -> ", "", false, {Replicate()}, {{Replicate()}}},
      {"mn -> ", "", false, {Partial()}, std::nullopt},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(Parsed(c.letters).Rule(c.on, c.whole, c.linear), c.expected) << c.letters;
  }
}

}  // namespace
}  // namespace tp
