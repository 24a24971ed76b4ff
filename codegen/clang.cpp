#include "codegen/clang.h"

#include <clang/Basic/Diagnostic.h>
#include <clang/Basic/SourceManager.h>
#include <clang/Basic/Version.h>
#include <clang/CodeGen/BackendUtil.h>
#include <clang/CodeGen/CodeGenAction.h>
#include <clang/Frontend/CompilerInstance.h>
#include <clang/Frontend/CompilerInvocation.h>
#include <clang/Frontend/Utils.h>
#include <fmt/format.h>
#include <llvm/ADT/StringMap.h>
#include <llvm/Bitcode/BitcodeReader.h>
#include <llvm/IR/DiagnosticInfo.h>
#include <llvm/IR/DiagnosticPrinter.h>
#include <llvm/IR/LLVMContext.h>
#include <llvm/IR/Module.h>
#include <llvm/Support/MemoryBuffer.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/VirtualFileSystem.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/TargetParser/Host.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "codegen/split.h"
#include "ir/support/check.h"

namespace shardc::codegen {
namespace {

// Turns clang's errors into ours. Notes explain the error before them and become its hint.
class Collector : public clang::DiagnosticConsumer {
 public:
  void HandleDiagnostic(clang::DiagnosticsEngine::Level level, const clang::Diagnostic& info) override {
    DiagnosticConsumer::HandleDiagnostic(level, info);
    llvm::SmallString<256> text;
    info.FormatDiagnostic(text);
    if (level >= clang::DiagnosticsEngine::Error) {
      found_.push_back(error_at(place_of(info), text.str().str()));
      found_.back().source_line = line_of(info);
    } else if (level == clang::DiagnosticsEngine::Note && !found_.empty()) {
      std::string& hint = found_.back().hint;
      hint += (hint.empty() ? "" : "; ") + text.str().str();
    }
  }
  Diagnostics take() { return std::move(found_); }

 private:
  static Place place_of(const clang::Diagnostic& info) {
    if (!info.hasSourceManager() || info.getLocation().isInvalid()) return {};
    const clang::PresumedLoc at = info.getSourceManager().getPresumedLoc(info.getLocation());
    if (at.isInvalid()) return {};
    return {at.getFilename(), static_cast<int>(at.getLine()), static_cast<int>(at.getColumn())};
  }
  static std::string line_of(const clang::Diagnostic& info) {
    if (!info.hasSourceManager() || info.getLocation().isInvalid()) return {};
    const clang::SourceManager& sources = info.getSourceManager();
    const auto [file, offset] = sources.getDecomposedExpansionLoc(info.getLocation());
    const llvm::StringRef text = sources.getBufferData(file);
    const std::size_t before = text.substr(0, offset).rfind('\n');
    const std::size_t begin = before == llvm::StringRef::npos ? 0 : before + 1;
    return text.substr(begin, text.find('\n', begin) - begin).str();
  }

  Diagnostics found_;
};

std::vector<std::string> command_line(const std::string& file_name, const CompileOptions& options) {
  std::vector<std::string> args = {
      "clang++", "-xc++", "-std=c++20", fmt::format("-O{}", options.opt_level), "-march=" + options.march,
      "-fPIC",
      // The fast-math flags that free the vectoriser, without -ffinite-math-only: masks of softmax are -inf,
      // and a NaN has to reach the user.
      "-fno-math-errno", "-fno-trapping-math", "-fassociative-math", "-fno-signed-zeros",
      "-ffp-contract=fast",
#ifdef __x86_64__
      "-fveclib=libmvec",
      // clang takes half of what AVX-512 has, lest the clock falls; products and attention take all of it
      // anyway.
      "-mprefer-vector-width=512",
#endif
      "-fno-exceptions", "-fno-rtti", "-nostdinc", "-Wall", "-Wextra", "-Werror",
      "-Wno-pass-failed",  // a loop that does not vectorise after all is no mistake
      // clang 19 finds what processors with AVX10 say of themselves contradictory, and takes the wider
      // vectors.
      "-Wno-invalid-feature-combination", "-c", file_name};
  return args;
}

using FileSystem = llvm::IntrusiveRefCntPtr<llvm::vfs::FileSystem>;

// The two files that exist for the compiler, over the real ones.
FileSystem file_system(const std::string& source, const std::string& file_name) {
  auto all = llvm::makeIntrusiveRefCnt<llvm::vfs::OverlayFileSystem>(llvm::vfs::getRealFileSystem());
  auto ours = llvm::makeIntrusiveRefCnt<llvm::vfs::InMemoryFileSystem>();
  all->pushOverlay(ours);
  ours->addFile(file_name, 0, llvm::MemoryBuffer::getMemBufferCopy(source, file_name));
  const std::string_view header = runtime_header();
  ours->addFile("shardc_rt.h", 0, llvm::MemoryBuffer::getMemBufferCopy({header.data(), header.size()}));
  return all;
}

std::unique_ptr<clang::FrontendAction> action_for(Emit emit) {
  switch (emit) {
    case Emit::Object:
      return std::make_unique<clang::EmitObjAction>();
    case Emit::LlvmIr:
      return std::make_unique<clang::EmitLLVMAction>();
    case Emit::Assembly:
      return std::make_unique<clang::EmitAssemblyAction>();
  }
  CHECK(false, "emit {}", static_cast<int>(emit));
}

// The driver's work: from the flags of a command line to those of the compiler proper (1.5 ms).
std::unique_ptr<clang::CompilerInvocation> invocation_for(const std::vector<std::string>& args,
                                                          clang::DiagnosticsEngine& errors,
                                                          const FileSystem& files) {
  std::vector<const char*> pointers;
  for (const std::string& arg : args) pointers.push_back(arg.c_str());
  clang::CreateInvocationOptions options;
  options.Diags = &errors;
  options.VFS = files;
  auto invocation = clang::createInvocation(pointers, options);
  if (invocation) {
    // The driver assumes a process that ends after one compilation, and would leak.
    invocation->getFrontendOpts().DisableFree = false;
    invocation->getCodeGenOpts().DisableFree = false;
  }
  return invocation;
}

}  // namespace

void initialize_targets() {
  static const bool done = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
    return true;
  }();
  CHECK(done, "LLVM knows this machine");
}

std::string compilation_key(const std::string& source, const std::string& file_name,
                            const CompileOptions& options) {
  std::string key = clang::getClangFullVersion() + "\n";
  for (const std::string& arg : command_line(file_name, options)) key += arg + " ";
  if (options.march == CompileOptions{}.march) {
    key += llvm::sys::getHostCPUName().str();
    const llvm::StringMap<bool> features = llvm::sys::getHostCPUFeatures();
    std::vector<std::string> present;
    for (const auto& feature : features)
      if (feature.getValue()) present.push_back(feature.getKey().str());
    std::sort(present.begin(), present.end());
    key += fmt::format(" {}", fmt::join(present, ","));
  }
  return fmt::format("{}\n{}\n{}", key, runtime_header(), source);
}

namespace {

// clang with a source before it, ready for an action.
class Compiler {
 public:
  Compiler(const std::string& source, const std::string& file_name, const CompileOptions& options)
      : file_name_(file_name), files_(file_system(source, file_name)) {
    initialize_targets();
    clang_.createDiagnostics(&collector_, /*ShouldOwnClient=*/false);
    auto invocation = invocation_for(command_line(file_name, options), clang_.getDiagnostics(), files_);
    if (!invocation || clang_.getDiagnostics().hasErrorOccurred()) return;
    clang_.setInvocation(std::move(invocation));
    clang::ProcessWarningOptions(clang_.getDiagnostics(), clang_.getDiagnosticOpts());
    clang_.setVerboseOutputStream(llvm::nulls());  // otherwise "2 errors generated." on stderr
    clang_.createFileManager(files_);
    ready_ = true;
  }
  bool run(clang::FrontendAction& action) { return ready_ && clang_.ExecuteAction(action); }
  clang::CompilerInstance& clang() { return clang_; }

  Diagnostics failure() {
    Diagnostics errors = collector_.take();
    if (errors.empty())
      errors.push_back(
          error_at({file_name_}, fmt::format("clang's {} failed", ready_ ? "compilation" : "driver")));
    return errors;
  }

 private:
  Collector collector_;
  const std::string file_name_;
  const FileSystem files_;
  clang::CompilerInstance clang_;
  bool ready_ = false;
};

// A part's optimisation and object code, on whatever thread: nothing here is shared but settings.
Result<std::string> object_of(const std::string& bitcode, clang::CompilerInstance& settings) {
  Diagnostics errors;
  llvm::LLVMContext context;
  context.setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo* info, void* found) {
        if (info->getSeverity() != llvm::DS_Error) return;
        std::string text;
        llvm::raw_string_ostream stream(text);
        llvm::DiagnosticPrinterRawOStream printer(stream);
        info->print(printer);
        static_cast<Diagnostics*>(found)->push_back(error_at({}, text));
      },
      &errors);
  auto module = llvm::parseBitcodeFile(llvm::MemoryBufferRef(bitcode, "part"), context);
  if (!module) return error_at({}, "a part of a module: " + llvm::toString(module.takeError()));
  Collector collector;
  clang::DiagnosticsEngine engine(new clang::DiagnosticIDs, new clang::DiagnosticOptions, &collector,
                                  /*ShouldOwnClient=*/false);
  llvm::SmallVector<char, 0> bytes;
  clang::EmitBackendOutput(engine, settings.getHeaderSearchOpts(), settings.getCodeGenOpts(),
                           settings.getTargetOpts(), settings.getLangOpts(), (*module)->getDataLayoutStr(),
                           module->get(), clang::Backend_EmitObj, llvm::vfs::getRealFileSystem(),
                           std::make_unique<llvm::raw_svector_ostream>(bytes));
  const Diagnostics reported = collector.take();
  errors.insert(errors.end(), reported.begin(), reported.end());
  if (!errors.empty()) return errors;
  return std::string(bytes.begin(), bytes.end());
}

}  // namespace

Result<std::string> compile_cpp(const std::string& source, const std::string& file_name,
                                const CompileOptions& options, Emit emit) {
  Compiler compiler(source, file_name, options);
  llvm::SmallVector<char, 0> bytes;
  compiler.clang().setOutputStream(std::make_unique<llvm::raw_svector_ostream>(bytes));
  const std::unique_ptr<clang::FrontendAction> action = action_for(emit);
  if (!compiler.run(*action)) return compiler.failure();
  return std::string(bytes.begin(), bytes.end());
}

Result<std::vector<std::string>> compile_cpp_in_parts(const std::string& source, const std::string& file_name,
                                                      const CompileOptions& options, int parts) {
  Compiler compiler(source, file_name, options);
  llvm::LLVMContext context;
  clang::EmitLLVMOnlyAction front(&context);
  clang::CodeGenOptions& settings = compiler.clang().getCodeGenOpts();
  settings.DisableLLVMPasses = true;
  if (!compiler.run(front)) return compiler.failure();
  settings.DisableLLVMPasses = false;
  const std::unique_ptr<llvm::Module> module = front.takeModule();
  const std::vector<std::string> bitcode = split(*module, parts);

  std::vector<std::optional<Result<std::string>>> made(bitcode.size());
  std::vector<std::thread> threads;
  const auto make = [&](std::size_t i) { made[i].emplace(object_of(bitcode[i], compiler.clang())); };
  for (std::size_t i = 1; i < bitcode.size(); ++i) threads.emplace_back(make, i);
  make(0);
  for (std::thread& thread : threads) thread.join();
  std::vector<std::string> objects;
  for (std::optional<Result<std::string>>& object : made) {
    if (!*object) return std::move(*object).error();
    objects.push_back(std::move(*object).value());
  }
  return objects;
}

}  // namespace shardc::codegen
