#include "tp/huggingface/index.h"

#include <fmt/format.h>

#include "tp/io/json.h"
#include "tp/io/tensor_checks.h"

namespace tp::hf {

StatusOr<std::map<std::string, std::string>> ParseIndex(std::string_view text,
                                                        const std::string& path) {
  const auto error = [&](const std::string& what) { return InvalidArgument(path + ": " + what); };
  const StatusOr<io::Json> root = io::ParseJson(text, "the index", /*max_depth=*/4);
  if (!root.ok()) return root.status().WithContext(path);
  const auto map = root->find("weight_map");
  if (map == root->end() || !map->is_object()) return error("has no object 'weight_map'");
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    const auto* name = file.get_ptr<const std::string*>();
    if (name == nullptr || !name->ends_with(".safetensors") ||
        name->find('/') != std::string::npos) {
      return error(fmt::format(
          "says that tensor {} lies in {}, which is no .safetensors file "
          "beside it",
          io::Quote(tensor),
          io::Quote(name == nullptr ? file.dump(-1, ' ', true, io::Json::error_handler_t::replace)
                                    : *name)));
    }
    files[tensor] = *name;
  }
  return files;
}

}  // namespace tp::hf
