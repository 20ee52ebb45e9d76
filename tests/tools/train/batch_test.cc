// What a step is fed of a text: windows, and where they are packed, whose tokens are whose.
#include "tools/train/batch.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "tests/tools/command.h"

namespace tp::train {
namespace {

using Ids = std::vector<double>;

Text TextOf(const std::vector<std::string>& contents) {
  const std::string folder = MakeScratchFolder();
  std::vector<std::string> files;
  for (const std::string& content : contents) {
    files.push_back(folder + "/" + std::to_string(files.size()));
    std::ofstream(files.back()) << content;
  }
  return Text::Open(files, 256).value();
}

Ids IdsOf(const Rows& rows, const std::string& name) {
  const auto inputs = rows.Inputs();
  Ids ids;
  for (int64_t i = 0; i < inputs.at(name).size(); ++i) ids.push_back(inputs.at(name).At(i));
  return ids;
}

Rows RowsOf(const BatchOptions& options, const Text& text, const std::vector<int64_t>& begins) {
  Rows rows(options);
  for (int64_t begin : begins) EXPECT_EQ(rows.Add(text, begin).ToString(), "OK");
  return rows;
}

TEST(RowsTest, EachTokenHasTheOneBehindIt) {
  const Text text = TextOf({"abcdef", "gh"});
  const Rows rows = RowsOf({.sequence = 3}, text, {0, 4});
  EXPECT_EQ(IdsOf(rows, "tokens"), (Ids{'a', 'b', 'c', 'e', 'f', 'g'}));
  EXPECT_EQ(IdsOf(rows, "targets"), (Ids{'b', 'c', 'd', 'f', 'g', 'h'}));
  EXPECT_EQ(rows.counted(), 6);
  EXPECT_EQ(rows.Inputs().size(), 2u);
  EXPECT_EQ(rows.Inputs().at("tokens").shape(), (Shape{2, 3}));
}

TEST(RowsTest, AFileIsADocument) {
  const Text text = TextOf({"abcdef", "gh"});
  const Rows rows = RowsOf({.sequence = 4, .packed = true, .places = true}, text, {3});
  EXPECT_EQ(IdsOf(rows, "tokens"), (Ids{'d', 'e', 'f', 'g'}));
  EXPECT_EQ(IdsOf(rows, "targets"), (Ids{'e', 'f', -1, 'h'}));
  EXPECT_EQ(IdsOf(rows, "starts"), (Ids{0, 0, 0, 3}));
  EXPECT_EQ(IdsOf(rows, "places"), (Ids{0, 1, 2, 0}));
  EXPECT_EQ(rows.counted(), 3);
  EXPECT_EQ(rows.Weights(0.5), (Ids{0.5, 0.5, 0, 0.5}));
}

TEST(RowsTest, ATokenEndsADocument) {
  const Text text = TextOf({"ab.cd..e"});
  const Rows rows = RowsOf({.sequence = 7, .packed = true, .end_of_text = '.'}, text, {0});
  EXPECT_EQ(IdsOf(rows, "targets"), (Ids{'b', '.', -1, 'd', '.', -1, -1}));
  EXPECT_EQ(IdsOf(rows, "starts"), (Ids{0, 0, 0, 3, 3, 3, 6}));
  EXPECT_EQ(rows.Inputs().count("places"), 0u);
}

// The token behind a row may be another document's, too.
TEST(RowsTest, TheLastTargetOfARowIsOfItsDocument) {
  const Text files = TextOf({"abc", "de"});
  EXPECT_EQ(IdsOf(RowsOf({.sequence = 3, .packed = true}, files, {0}), "targets"),
            (Ids{'b', 'c', -1}));
  const Text ended = TextOf({"ab.de"});
  EXPECT_EQ(
      IdsOf(RowsOf({.sequence = 3, .packed = true, .end_of_text = '.'}, ended, {0}), "targets"),
      (Ids{'b', '.', -1}));
}

TEST(RowsTest, NothingOfAnEmptyRowCounts) {
  const Text text = TextOf({"abc"});
  Rows rows = RowsOf({.sequence = 2, .packed = true, .places = true}, text, {0});
  rows.AddEmpty();
  EXPECT_EQ(IdsOf(rows, "targets"), (Ids{'b', 'c', -1, -1}));
  EXPECT_EQ(IdsOf(rows, "starts").size(), 4u);
  EXPECT_EQ(IdsOf(rows, "places").size(), 4u);
  EXPECT_EQ(rows.counted(), 2);
}

TEST(BatchTest, MicroBatchesShareTheMean) {
  const Text text = TextOf({"ab.cd.ef.gh.ij.kl.mn.op.q"});
  const BatchOrder order = BatchOrder::Create(text.size(), 3, 1).value();
  const auto batch = [&](int64_t pieces, int64_t step) {
    return ReadBatch({.rows = 4,
                      .micro_batches = pieces,
                      .sequence = 3,
                      .packed = true,
                      .end_of_text = '.'},
                     text, order, step)
        .value();
  };
  const Batch whole = batch(1, 0), halves = batch(2, 0);
  ASSERT_EQ(halves.pieces.size(), 2u);
  EXPECT_EQ(halves.weight, whole.weight);
  EXPECT_LT(whole.pieces[0].counted(), 12);
  EXPECT_EQ(whole.weight, 1.0 / static_cast<double>(whole.pieces[0].counted()));
  Ids together = IdsOf(halves.pieces[0], "tokens");
  for (double id : IdsOf(halves.pieces[1], "tokens")) together.push_back(id);
  EXPECT_EQ(together, IdsOf(whole.pieces[0], "tokens"));
  EXPECT_NE(IdsOf(batch(1, 1).pieces[0], "tokens"), together);
}

TEST(BatchTest, SaysWhereNothingCanBeLearned) {
  const Text text = TextOf({"........"});
  const BatchOrder order = BatchOrder::Create(text.size(), 3, 1).value();
  const auto batch =
      ReadBatch({.rows = 1, .sequence = 3, .packed = true, .end_of_text = '.'}, text, order, 4);
  EXPECT_EQ(batch.status().message(),
            "no token of step 5 has one behind it in its document: nothing can be learned from it");
}

}  // namespace
}  // namespace tp::train
