#include "tp/program/attributes.h"

#include <fmt/format.h>
#include <glog/logging.h>

namespace tp {
namespace {

template <typename T>
const T& Get(const Attribute* attribute, std::string_view name) {
  CHECK(attribute != nullptr) << "no attribute '" << name << "'";
  const T* value = std::get_if<T>(attribute);
  CHECK(value != nullptr) << "attribute '" << name << "' is of another type";
  return *value;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + "'";
}

}  // namespace

const Attribute* Attributes::Find(std::string_view name) const {
  for (const Entry& entry : entries_) {
    if (entry.first == name) return &entry.second;
  }
  return nullptr;
}

bool Attributes::Has(std::string_view name) const { return Find(name) != nullptr; }

void Attributes::Set(std::string_view name, Attribute value) {
  for (Entry& entry : entries_) {
    if (entry.first != name) continue;
    entry.second = std::move(value);
    return;
  }
  entries_.emplace_back(name, std::move(value));
}

double Attributes::Number(std::string_view name) const { return Get<double>(Find(name), name); }

int64_t Attributes::Integer(std::string_view name) const { return Get<int64_t>(Find(name), name); }

const std::string& Attributes::Text(std::string_view name) const {
  return Get<std::string>(Find(name), name);
}

std::string ToString(const Attributes& attributes) {
  std::string text;
  for (const auto& [name, value] : attributes.entries()) {
    if (!text.empty()) text += ", ";
    text += name + "=";
    if (const auto* string = std::get_if<std::string>(&value)) {
      text += Quoted(*string);
    } else if (const auto* integer = std::get_if<int64_t>(&value)) {
      text += std::to_string(*integer);
    } else {
      text += fmt::format("{}", std::get<double>(value));
    }
  }
  return text;
}

}  // namespace tp
