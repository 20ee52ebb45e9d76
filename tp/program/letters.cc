#include "tp/program/letters.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace tp {
namespace {

constexpr char kAny = '*';
// What "*" becomes: capitals, which no op writes itself.
constexpr int kMostAny = 26;

std::vector<std::string> Split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else if (std::isspace(static_cast<unsigned char>(c)) == 0) {
      parts.back() += c;
    }
  }
  return parts;
}

bool Has(std::string_view letters, char letter) {
  return letters.find(letter) != std::string_view::npos;
}

Status CheckLetters(std::string_view text, const std::string& dims) {
  for (size_t i = 0; i < dims.size(); ++i) {
    const bool letter = std::islower(static_cast<unsigned char>(dims[i])) != 0 || dims[i] == kAny;
    if (!letter || dims.find(dims[i]) != i) {
      return InvalidArgument("'" + std::string(text) + "': '" + dims +
                             "' must be lower-case letters or '*', each once");
    }
  }
  return OkStatus();
}

// Where the axis cuts `letter`: Shard of its dimension, or Replicate where `dims` lacks it.
Placement CutAt(std::string_view dims, char letter) {
  const size_t at = dims.find(letter);
  return at == std::string_view::npos ? Replicate() : Shard(static_cast<int>(at));
}

std::string WithAnyAs(std::string_view dims, std::string_view spelled) {
  std::string out;
  for (char c : dims) {
    if (c == kAny) {
      out += spelled;
    } else {
      out += c;
    }
  }
  return out;
}

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : ",") + parts[i];
  return text;
}

}  // namespace

StatusOr<Letters> Letters::Parse(std::string_view text) {
  const size_t arrow = text.find("->");
  if (arrow == std::string_view::npos || text.find("->", arrow + 2) != std::string_view::npos) {
    return InvalidArgument("'" + std::string(text) + "' must have one '->'");
  }
  Letters letters;
  for (const std::string& term : Split(text.substr(0, arrow), '+')) {
    letters.terms_.push_back(Split(term, ','));
  }
  letters.outputs_ = Split(text.substr(arrow + 2), ',');
  std::string known;
  for (const std::string& dims : letters.operands()) {
    TP_RETURN_IF_ERROR(CheckLetters(text, dims));
    known += dims;
  }
  for (const std::string& dims : letters.outputs_) {
    TP_RETURN_IF_ERROR(CheckLetters(text, dims));
    for (char c : dims) {
      if (!Has(known, c)) {
        return InvalidArgument("'" + std::string(text) + "': no operand has '" + c + "'");
      }
    }
  }
  return letters;
}

StatusOr<Letters> Letters::For(const std::vector<Shape>& operands,
                               const std::vector<std::string>& names) const {
  const std::vector<std::string> written = this->operands();
  if (written.size() != operands.size()) {
    return InvalidArgument("takes " + std::to_string(written.size()) + " inputs, not " +
                           std::to_string(operands.size()));
  }
  std::optional<size_t> any;
  for (size_t i = 0; i < written.size(); ++i) {
    const size_t fixed = written[i].size() - (Has(written[i], kAny) ? 1 : 0);
    const bool known = !Has(written[i], kAny) || any;
    const size_t wanted = Has(written[i], kAny) ? fixed + any.value_or(0) : fixed;
    if (known ? operands[i].size() != wanted
              : operands[i].size() < fixed || operands[i].size() - fixed > kMostAny) {
      return InvalidArgument("'" + names[i] + "' has shape " + tp::ToString(operands[i]) +
                             "; it needs " + std::to_string(wanted) + " dimensions" +
                             (known ? "" : " or more"));
    }
    if (!known) any = operands[i].size() - fixed;
  }
  std::string spelled;
  for (size_t i = 0; i < any.value_or(0); ++i) spelled += static_cast<char>('A' + i);
  Letters out = *this;
  for (auto& term : out.terms_) {
    for (std::string& dims : term) dims = WithAnyAs(dims, spelled);
  }
  for (std::string& dims : out.outputs_) dims = WithAnyAs(dims, spelled);
  return out;
}

StatusOr<std::map<char, int64_t>> Letters::Sizes(const std::vector<Shape>& operands,
                                                 const std::vector<std::string>& names) const {
  const std::vector<std::string> written = this->operands();
  std::map<char, int64_t> sizes;
  std::map<char, size_t> from;
  for (size_t i = 0; i < written.size(); ++i) {
    for (size_t d = 0; d < written[i].size(); ++d) {
      const char letter = written[i][d];
      const auto [known, first] = sizes.emplace(letter, operands[i][d]);
      if (first) from[letter] = i;
      if (known->second == operands[i][d]) continue;
      const size_t other = from[letter];
      return InvalidArgument("'" + names[other] + "' has shape " + tp::ToString(operands[other]) +
                             " and '" + names[i] + "' has shape " + tp::ToString(operands[i]) +
                             "; in " + ToString() + " the sizes of '" + letter + "' must be alike");
    }
  }
  return sizes;
}

std::vector<Shape> Letters::OutputShapes(const std::map<char, int64_t>& sizes) const {
  std::vector<Shape> shapes;
  for (const std::string& dims : outputs_) {
    Shape shape;
    for (char letter : dims) shape.push_back(sizes.at(letter));
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

bool Letters::IsPartSum(size_t term, const std::vector<Placement>& on, std::string_view whole,
                        bool linear) const {
  const auto partial = std::count(on.begin(), on.end(), Partial());
  const auto replicated = std::count_if(on.begin(), on.end(), IsReplicate);
  const auto size = static_cast<std::ptrdiff_t>(on.size());
  if (linear && partial == 1 && replicated == size - 1) return true;
  for (char letter : summed()) {
    if (Has(whole, letter)) continue;
    bool cut = replicated < size;  // somewhere, so that the ranks' terms differ
    for (size_t i = 0; i < on.size(); ++i) {
      cut = cut && CutAt(terms_[term][i], letter) == on[i];
    }
    if (cut) return true;
  }
  return false;
}

std::optional<std::vector<Placement>> Letters::Rule(const std::vector<Placement>& on,
                                                    std::string_view whole, bool linear,
                                                    std::span<const Reduction> reductions) const {
  std::vector<Placement> parts_of(outputs_.size(), Partial());
  for (size_t i = 0; i < std::min(parts_of.size(), reductions.size()); ++i) {
    parts_of[i] = Partial(reductions[i]);
  }
  std::vector<Placement> result(outputs_.size(), Replicate());
  if (std::all_of(on.begin(), on.end(), IsReplicate)) return result;
  const std::vector<std::string> written = operands();
  for (char letter : all()) {
    const auto has = [&](const std::string& dims) { return Has(dims, letter); };
    // Where an output is summed over the letter, a term that lacks it would be added once a rank.
    const bool in_every_term = std::all_of(terms_.begin(), terms_.end(), [&](const auto& term) {
      return std::any_of(term.begin(), term.end(), has);
    });
    const bool kept = in_every_term ? std::any_of(outputs_.begin(), outputs_.end(), has)
                                    : std::all_of(outputs_.begin(), outputs_.end(), has);
    bool cut = kept && !Has(whole, letter);
    for (size_t i = 0; i < on.size(); ++i) cut = cut && CutAt(written[i], letter) == on[i];
    if (!cut) continue;
    for (size_t i = 0; i < outputs_.size(); ++i) {
      result[i] = Has(outputs_[i], letter) ? CutAt(outputs_[i], letter) : parts_of[i];
    }
    return result;
  }
  const std::vector<bool> parts = PartSums(on, whole, linear);
  if (std::find(parts.begin(), parts.end(), false) != parts.end()) return std::nullopt;
  // On a rank, a letter has one size, in whichever terms it is.
  for (size_t i = 0; i < on.size(); ++i) {
    if (!IsShard(on[i])) continue;
    const char letter = written[i].at(on[i].dim);
    for (size_t j = 0; j < on.size(); ++j) {
      if (Has(written[j], letter) && CutAt(written[j], letter) != on[j]) return std::nullopt;
    }
  }
  return parts_of;
}

std::vector<bool> Letters::PartSums(const std::vector<Placement>& on, std::string_view whole,
                                    bool linear) const {
  std::vector<bool> parts;
  auto first = on.begin();
  for (size_t term = 0; term < terms_.size(); ++term) {
    const auto end = first + static_cast<std::ptrdiff_t>(terms_[term].size());
    parts.push_back(IsPartSum(term, {first, end}, whole, linear));
    first = end;
  }
  return parts;
}

std::vector<std::string> Letters::operands() const {
  std::vector<std::string> all;
  for (const auto& term : terms_) all.insert(all.end(), term.begin(), term.end());
  return all;
}

std::string Letters::all() const {
  std::string letters;
  for (const std::string& dims : operands()) {
    for (char c : dims) {
      if (!Has(letters, c)) letters += c;
    }
  }
  return letters;
}

std::string Letters::summed() const {
  std::string letters = all();
  for (const std::string& dims : outputs_) {
    std::erase_if(letters, [&](char c) { return Has(dims, c); });
  }
  return letters;
}

std::string Letters::ToString() const {
  std::string text;
  for (size_t i = 0; i < terms_.size(); ++i) text += (i == 0 ? "" : " + ") + Join(terms_[i]);
  return text + " -> " + Join(outputs_);
}

}  // namespace tp
