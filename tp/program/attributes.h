// Attributes: what an op is told beside its operands, by name.
//
// An attribute is fixed when a Program is built; what differs from step to step is a value. Which
// names an op has, and of which type each is, its OpDef says (op_def.h).
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tp {

using Attribute = std::variant<double, int64_t, std::string>;

class Attributes {
 public:
  using Entry = std::pair<std::string, Attribute>;

  Attributes() = default;
  Attributes(std::initializer_list<Entry> entries) : entries_(entries) {}

  // In the order in which they were set.
  const std::vector<Entry>& entries() const { return entries_; }
  bool Has(std::string_view name) const;
  void Set(std::string_view name, Attribute value);

  // CHECK that there is one of this name and type.
  double Number(std::string_view name) const;
  int64_t Integer(std::string_view name) const;
  const std::string& Text(std::string_view name) const;

  bool operator==(const Attributes&) const = default;

 private:
  const Attribute* Find(std::string_view name) const;

  std::vector<Entry> entries_;
};

// "scale=0.5, letters='mk,kn -> mn'"; numbers to the last bit, and a \ before each ' and \ of a
// text.
std::string ToString(const Attributes& attributes);

}  // namespace tp
