#include "codegen/jit.h"

#include <dlfcn.h>
#include <llvm/ExecutionEngine/Orc/ExecutionUtils.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/Support/MemoryBuffer.h>

#include "codegen/clang.h"

namespace shardc::codegen {

struct Jit::Impl {
  std::string reported;  // what ORC says on the side: which symbol an object lacks
  std::unique_ptr<llvm::orc::LLJIT> jit;

  Diagnostic failure(const std::string& what, llvm::Error error) {
    std::string message = what + ": " + llvm::toString(std::move(error));
    if (!reported.empty()) message += "; " + reported;
    reported.clear();
    return error_at({}, std::move(message));
  }
};

Jit::Jit(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Jit::Jit(Jit&&) noexcept = default;
Jit& Jit::operator=(Jit&&) noexcept = default;
Jit::~Jit() = default;

Result<Jit> Jit::create() {
  initialize_targets();
  // Vectorised loops call libmvec, which nothing else loads. Where it does not exist, clang emits no such
  // calls, so that a failure here is none.
  dlopen("libmvec.so.1", RTLD_NOW | RTLD_GLOBAL);

  auto impl = std::make_unique<Impl>();
  auto jit = llvm::orc::LLJITBuilder().create();
  if (!jit) return impl->failure("cannot start the JIT", jit.takeError());
  impl->jit = std::move(*jit);
  impl->jit->getExecutionSession().setErrorReporter(
      [raw = impl.get()](llvm::Error error) { raw->reported = llvm::toString(std::move(error)); });
  auto process = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess(
      impl->jit->getDataLayout().getGlobalPrefix());
  if (!process) return impl->failure("cannot see the process's symbols", process.takeError());
  impl->jit->getMainJITDylib().addGenerator(std::move(*process));
  return Jit(std::move(impl));
}

Result<Done> Jit::add_object(const std::string& bytes) {
  auto error = impl_->jit->addObjectFile(llvm::MemoryBuffer::getMemBufferCopy(bytes, "program.o"));
  if (error) return impl_->failure("cannot load the object", std::move(error));
  return Done{};
}

Result<void*> Jit::lookup(const std::string& name) {
  auto address = impl_->jit->lookup(name);
  if (!address) return impl_->failure("cannot find '" + name + "'", address.takeError());
  return address->toPtr<void*>();
}

}  // namespace shardc::codegen
