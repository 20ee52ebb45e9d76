#include "tp/io/json.h"

#include <fmt/format.h>

#include <new>
#include <set>
#include <string>
#include <vector>

#include "tp/io/tensor_checks.h"

namespace tp::io {

// The parser by itself keeps the last of two equal keys, and would
// follow any nesting.
StatusOr<Json> ParseJson(std::string_view text, std::string_view what, int max_depth) {
  std::string problem;
  std::vector<std::set<std::string>> keys;  // of each object that is open
  const auto check = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (!problem.empty()) return false;
    switch (event) {
      case Json::parse_event_t::object_start:
      case Json::parse_event_t::array_start:
        if (depth > max_depth) problem = "is nested too deeply";
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys.pop_back();
        break;
      case Json::parse_event_t::key: {
        const std::string& key = parsed.get_ref<const std::string&>();
        if (!keys.back().insert(key).second) problem = fmt::format("has {} twice", Quote(key));
        break;
      }
      case Json::parse_event_t::array_end:
      case Json::parse_event_t::value:
        break;
    }
    return problem.empty();
  };
  try {
    Json root = Json::parse(text.begin(), text.end(), check, /*allow_exceptions=*/false);
    if (problem.empty() && root.is_discarded()) problem = "is not valid JSON";
    if (problem.empty() && !root.is_object()) problem = "is not a JSON object";
    if (problem.empty()) return root;
  } catch (const std::bad_alloc&) {
    return Unavailable(fmt::format("{} does not fit in the memory that is available", what));
  }
  return InvalidArgument(fmt::format("{} {}", what, problem));
}

}  // namespace tp::io
