#include "tools/train/sample.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "fmt/format.h"
#include "fmt/ranges.h"

namespace tp::train {
namespace {

constexpr int64_t kHeldOutTokens = 8;

Status BadPrompt(const std::string& prompt, const std::string& what) {
  return InvalidArgument(
      fmt::format("--prompt={}: {}; with --sample=0 nothing is written", prompt, what));
}

StatusOr<std::vector<int32_t>> IdsOf(const std::string& prompt) {
  std::vector<int32_t> ids;
  std::istringstream words(prompt);
  for (std::string word; std::getline(words, word, ',');) {
    int32_t id = -1;
    const char* const end = word.data() + word.size();
    const auto parsed = std::from_chars(word.data(), end, id);
    if (parsed.ec != std::errc() || parsed.ptr != end || id < 0) {
      return BadPrompt(prompt,
                       "the text is ids of tokens, and so is what a sample begins with: "
                       "it must be whole numbers with commas between");
    }
    ids.push_back(id);
  }
  return ids;
}

StatusOr<std::vector<int32_t>> HeldOut(const Text& text) {
  const int64_t some = std::min(kHeldOutTokens, text.size());
  std::vector<int32_t> ids(static_cast<size_t>(some));
  TP_RETURN_IF_ERROR(text.Read(std::min(text.learned(), text.size() - some), ids));
  return ids;
}

}  // namespace

StatusOr<std::vector<int32_t>> PromptOf(const TrainOptions& options, const Text& text,
                                        int64_t vocabulary) {
  if (options.sample == 0) return std::vector<int32_t>();
  if (!text.is_bytes() && !options.prompt_given) return HeldOut(text);
  std::vector<int32_t> prompt;
  if (text.is_bytes()) {
    for (const char c : options.prompt) prompt.push_back(static_cast<unsigned char>(c));
  } else {
    TP_ASSIGN_OR_RETURN(prompt, IdsOf(options.prompt));
  }
  for (int32_t token : prompt) {
    if (token < vocabulary) continue;
    return BadPrompt(options.prompt, fmt::format("the model knows no token {}, only those below {}",
                                                 token, vocabulary));
  }
  return prompt;
}

std::string RenderTokens(const std::vector<int32_t>& tokens, bool are_bytes) {
  if (!are_bytes) return fmt::format("{}", fmt::join(tokens, " "));
  std::string text;
  for (int32_t token : tokens) {
    const bool printable = token == '\n' || token == '\t' || (token >= 32 && token < 127);
    text += printable     ? std::string(1, static_cast<char>(token))
            : token < 256 ? fmt::format("\\x{:02x}", token)
                          : fmt::format("<{}>", token);
  }
  return text;
}

}  // namespace tp::train
