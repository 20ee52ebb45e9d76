// What the README shows is what there is: its example is the one that is compiled and run, and
// every file that a document links to exists.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include "tp/core/version.h"

namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

// A document without its blocks of code, where brackets mean other things.
std::string Prose(const std::filesystem::path& path) {
  std::istringstream source(ReadFile(path));
  std::string prose, line;
  bool code = false;
  while (std::getline(source, line)) {
    if (line.rfind("```", 0) == 0) {
      code = !code;
    } else if (!code) {
      prose += line + "\n";
    }
  }
  return prose;
}

// Lines between the markers, without the indentation of the function around them.
std::string Example() {
  std::istringstream source(ReadFile("docs/examples/library/main.cc"));
  std::string example, line;
  bool inside = false;
  while (std::getline(source, line)) {
    if (line.find("[/README]") != std::string::npos) break;
    if (inside) example += (line.empty() ? "" : line.substr(2)) + "\n";
    if (line.find("[README]") != std::string::npos) inside = true;
  }
  return example;
}

TEST(ReadmeTest, ShowsTheExampleThatRuns) {
  const std::string example = Example();
  ASSERT_GT(example.size(), 500u);
  EXPECT_NE(ReadFile("README.md").find("```cpp\n" + example + "```"), std::string::npos)
      << "README.md should show:\n"
      << example;
}

TEST(ReadmeTest, TheNewestChangesAreOfThisVersion) {
  const std::string changes = ReadFile("docs/changelog.md");
  const size_t newest = changes.find("\n## ");
  ASSERT_NE(newest, std::string::npos);
  EXPECT_EQ(changes.substr(newest + 4, sizeof(tp::kVersion)), tp::kVersion + std::string("\n"));
}

TEST(ReadmeTest, LinksLeadSomewhere) {
  std::vector<std::filesystem::path> documents = {"README.md", "CONTRIBUTING.md"};
  for (const auto& entry : std::filesystem::directory_iterator("docs")) {
    if (entry.path().extension() == ".md") documents.push_back(entry.path());
  }
  const std::regex link(R"(\]\(([^)#:]+)(#[^)]*)?\))");
  int links = 0;
  for (const auto& document : documents) {
    const std::string text = Prose(document);
    EXPECT_FALSE(text.empty()) << document;
    for (std::sregex_iterator it(text.begin(), text.end(), link), end; it != end; ++it) {
      const std::filesystem::path target = document.parent_path() / (*it)[1].str();
      EXPECT_TRUE(std::filesystem::exists(target)) << document << " links to " << target;
      ++links;
    }
  }
  EXPECT_GT(links, 0);
}

}  // namespace
