// Runs object code in this process (LLVM's ORC). Symbols that the objects do not define are those of the
// process: the program that embeds this must export the runtime's functions (-rdynamic).
//
//   TRY(Jit jit, Jit::create());
//   if (auto added = jit.add_object(object); !added) return added.error();
//   TRY(void* program, jit.lookup("shardc_the_program"));
//
// Code and data live as long as the Jit.
#pragma once

#include <memory>
#include <string>

#include "ir/support/result.h"

namespace shardc::codegen {

class Jit {
 public:
  static Result<Jit> create();
  Jit(Jit&&) noexcept;
  Jit& operator=(Jit&&) noexcept;
  ~Jit();

  Result<Done> add_object(const std::string& bytes);
  Result<void*> lookup(const std::string& name);  // an object's function or variable

 private:
  struct Impl;
  explicit Jit(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardc::codegen
