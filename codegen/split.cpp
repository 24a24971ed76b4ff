#include "codegen/split.h"

#include <llvm/ADT/DenseMap.h>
#include <llvm/Bitcode/BitcodeWriter.h>
#include <llvm/IR/Constants.h>
#include <llvm/IR/Function.h>
#include <llvm/IR/InstIterator.h>
#include <llvm/IR/Instructions.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Transforms/Utils/Cloning.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <set>

namespace shardc::codegen {
namespace {

// Instructions, helpers counted where they are called: clang takes some 20 us for each.
constexpr std::int64_t kWorthIt = 5000;

bool is_unit(const llvm::GlobalValue& value) {
  const auto* function = llvm::dyn_cast<llvm::Function>(&value);
  return function != nullptr && !function->isDeclaration() &&
         function->hasFnAttribute(llvm::Attribute::NoInline);
}

// What a value's code or initialiser refers to.
std::set<const llvm::GlobalValue*> globals_in(const llvm::GlobalValue& value) {
  std::set<const llvm::GlobalValue*> found;
  std::vector<const llvm::Value*> open;
  std::set<const llvm::Value*> seen;
  const auto add = [&](const llvm::User& user) {
    for (const llvm::Use& operand : user.operands())
      if (llvm::isa<llvm::Constant>(operand.get()) && seen.insert(operand.get()).second)
        open.push_back(operand.get());
  };
  if (const auto* function = llvm::dyn_cast<llvm::Function>(&value))
    for (const llvm::Instruction& instruction : llvm::instructions(function)) add(instruction);
  else
    add(value);
  while (!open.empty()) {
    const llvm::Value* const next = open.back();
    open.pop_back();
    if (const auto* global = llvm::dyn_cast<llvm::GlobalValue>(next))
      found.insert(global);
    else
      add(*llvm::cast<llvm::User>(next));
  }
  return found;
}

class Costs {
 public:
  std::int64_t of(const llvm::Function& function) {
    if (const auto known = costs_.find(&function); known != costs_.end()) return known->second;
    costs_[&function] = 0;  // of a recursion, one round
    std::int64_t cost = 0;
    for (const llvm::Instruction& instruction : llvm::instructions(function)) {
      ++cost;
      const auto* call = llvm::dyn_cast<llvm::CallBase>(&instruction);
      const llvm::Function* const callee = call != nullptr ? call->getCalledFunction() : nullptr;
      if (callee != nullptr && !is_unit(*callee)) cost += of(*callee);
    }
    return costs_[&function] = std::min<std::int64_t>(cost, 1 << 30);
  }

 private:
  llvm::DenseMap<const llvm::Function*, std::int64_t> costs_;
};

// All that the values need, as far as it is not another part's.
std::set<const llvm::GlobalValue*> closure(std::vector<const llvm::GlobalValue*> open) {
  std::set<const llvm::GlobalValue*> all(open.begin(), open.end());
  while (!open.empty()) {
    const llvm::GlobalValue& next = *open.back();
    open.pop_back();
    for (const llvm::GlobalValue* const global : globals_in(next))
      if (!global->isDeclaration() && !is_unit(*global) && all.insert(global).second) open.push_back(global);
  }
  return all;
}

std::string bitcode_of(const llvm::Module& module, std::vector<const llvm::GlobalValue*> roots) {
  const std::set<const llvm::GlobalValue*> kept = closure(std::move(roots));
  llvm::ValueToValueMapTy copies;
  const std::unique_ptr<llvm::Module> part =
      llvm::CloneModule(module, copies, [&](const llvm::GlobalValue* value) { return kept.contains(value); });
  std::string bytes;
  llvm::raw_string_ostream out(bytes);
  llvm::WriteBitcodeToFile(*part, out);
  return bytes;
}

}  // namespace

std::vector<std::string> split(llvm::Module& module, int parts) {
  Costs costs;
  std::vector<llvm::Function*> units;
  std::vector<const llvm::GlobalValue*> rest;  // what others look for: the first part has it
  std::int64_t total = 0;
  bool shared = !module.alias_empty() || !module.ifunc_empty();
  for (llvm::Function& function : module) {
    if (function.isDeclaration()) continue;
    if (is_unit(function)) {
      units.push_back(&function);
      total += costs.of(function);
    } else if (!function.hasLocalLinkage()) {
      rest.push_back(&function);
    }
  }
  for (const llvm::GlobalVariable& variable : module.globals()) {
    if (variable.isDeclaration()) continue;
    shared = shared || !variable.isConstant();
    if (!variable.hasLocalLinkage()) rest.push_back(&variable);
  }
  if (shared || total < kWorthIt) parts = 1;

  std::stable_sort(units.begin(), units.end(),
                   [&](const auto* a, const auto* b) { return costs.of(*a) > costs.of(*b); });
  std::vector<std::vector<const llvm::GlobalValue*>> roots(static_cast<std::size_t>(std::max(parts, 1)));
  std::vector<std::int64_t> load(roots.size(), 0);
  roots.front() = rest;
  for (llvm::Function* const unit : units) {
    const auto least = std::min_element(load.begin(), load.end()) - load.begin();
    load[static_cast<std::size_t>(least)] += costs.of(*unit);
    roots[static_cast<std::size_t>(least)].push_back(unit);
    if (roots.size() > 1 && unit->hasLocalLinkage()) {
      unit->setLinkage(llvm::GlobalValue::ExternalLinkage);
      unit->setVisibility(llvm::GlobalValue::HiddenVisibility);
    }
  }
  std::vector<std::string> bitcode;
  for (const auto& own : roots)
    if (!own.empty()) bitcode.push_back(bitcode_of(module, own));
  return bitcode;
}

}  // namespace shardc::codegen
