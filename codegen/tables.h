// The constant tables of a generated program: meshes, groups and tensors as the runtime reads them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ir/graph.h"

namespace shardc::codegen {

class Tables {
 public:
  explicit Tables(const Mesh& mesh) : mesh_(mesh) {}

  int group(const Axes& axes);  // number of the group of devices along these axes
  std::string tensor(const Value& value, const std::string& name);  // initialiser of a shardc_tensor
  std::string numbers(const std::vector<std::int64_t>& values);     // name of an array of int
  std::string text() const;         // declarations of everything asked for so far
  std::string number_text() const;  // declarations of the arrays of numbers, which the step itself uses
  std::string groups() const;       // initialiser of the array of groups
  std::size_t group_count() const { return groups_.size(); }

 private:
  std::string axes(const Axes& axes);

  const Mesh& mesh_;
  std::map<Axes, std::string> axes_;
  std::map<std::string, std::string> dims_;     // initialiser -> name
  std::map<std::string, std::string> numbers_;  // initialiser -> name
  std::string declarations_;
  std::vector<Axes> groups_;
};

std::string quoted(const std::string& text);  // as a C string literal

}  // namespace shardc::codegen
