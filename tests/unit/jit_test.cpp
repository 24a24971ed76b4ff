// clang in process, the JIT, and executables, on small hand-written programs.
#include "codegen/jit.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

#include "codegen/clang.h"
#include "codegen/cpp_expr.h"
#include "codegen/link.h"
#include "runtime/shardc_rt.h"

// Called by JIT code: the symbol is found in this program.
extern "C" int shardc_test_add(int a, int b) { return a + b; }

namespace shardc::codegen {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string compile(const std::string& source, Emit emit = Emit::Object, const CompileOptions& options = {}) {
  auto result = compile_cpp(source, "gen.cpp", options, emit);
  if (!result) ADD_FAILURE() << render(result.error());
  return result ? std::move(result).value() : "";
}

Diagnostics errors_of(const std::string& source, const CompileOptions& options = {}) {
  auto result = compile_cpp(source, "gen.cpp", options, Emit::Object);
  return result ? Diagnostics{} : result.error();
}

// Compiles `source` and looks `name` up in a JIT that lives as long as this.
template <class Signature>
class Compiled {
 public:
  explicit Compiled(const std::string& source, const std::string& name = "f") : jit_(Jit::create()) {
    if (!jit_) throw std::runtime_error(render(jit_.error()));
    if (auto added = jit_.value().add_object(compile(source)); !added) {
      throw std::runtime_error(render(added.error()));
    }
    auto found = jit_.value().lookup(name);
    if (!found) throw std::runtime_error(render(found.error()));
    function_ = reinterpret_cast<Signature*>(found.value());
  }
  template <class... Args>
  auto operator()(Args... args) const {
    return function_(args...);
  }

 private:
  Result<Jit> jit_;
  Signature* function_ = nullptr;
};

TEST(Prelude, TanhIsExactToFloats) {
  const std::string source = prelude_for("shardc_tanh(");
  const Compiled<float(float)> f("#include \"shardc_rt.h\"\n" + source +
                                 "extern \"C\" float f(float x) { return shardc_tanh(x); }\n");
  for (float x = 1e-30f; x < 1e30f; x *= 1.0037f) {
    const auto want = std::tanh(static_cast<double>(x));
    const auto nearest = static_cast<float>(want);
    const double unit = static_cast<double>(std::nextafter(nearest, 2.0f)) - static_cast<double>(nearest);
    EXPECT_LE(std::abs(static_cast<double>(f(x)) - want), 6 * unit) << x;
    EXPECT_LE(f(x), 1.0f) << x;
    EXPECT_EQ(f(-x), -f(x)) << x;
  }
  EXPECT_EQ(f(std::numeric_limits<float>::infinity()), 1.0f);
  EXPECT_TRUE(std::isnan(f(std::numeric_limits<float>::quiet_NaN())));
}

TEST(Clang, ReportsErrorsWithTheirPlace) {
  const Diagnostics errors = errors_of("int f() {\n  return undefined_name;\n}\nint g() { return \"x\"; }\n");
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors[0].place.file, "gen.cpp");
  EXPECT_EQ(errors[0].place.line, 2);
  EXPECT_EQ(errors[0].place.column, 10);
  EXPECT_EQ(errors[0].message, "use of undeclared identifier 'undefined_name'");
  EXPECT_EQ(errors[0].source_line, "  return undefined_name;");
  EXPECT_EQ(errors[1].place.line, 4);
}

TEST(Clang, TreatsWarningsAsErrors) {
  const Diagnostics errors = errors_of("extern \"C\" int f(int unused) { return 1; }");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].message, "unused parameter 'unused'");
}

TEST(Clang, ReportsAnUnknownMachine) {
  const Diagnostics errors = errors_of("int x;", {.march = "no-such-machine"});
  ASSERT_FALSE(errors.empty());
  EXPECT_THAT(errors[0].message, HasSubstr("no-such-machine"));
}

TEST(Clang, SeesNoHeaderButOurs) {
  EXPECT_THAT(compile("#include \"shardc_rt.h\"\nint abi = SHARDC_ABI;\n"), Not(testing::IsEmpty()));
  const Diagnostics errors = errors_of("#include <math.h>\n");
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_THAT(errors[0].message, HasSubstr("'math.h' file not found"));
}

TEST(Clang, CarriesTheRuntimeHeaderAsItIs) {
  std::ifstream file(std::string(SHARDC_SOURCE_DIR) + "/runtime/shardc_rt.h");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ(runtime_header(), text);
}

TEST(Clang, GivesTheSameBytesForTheSameSource) {
  const std::string source = "extern \"C\" float f(float x) { return __builtin_expf(x) + 1; }";
  EXPECT_EQ(compile(source), compile(source));
  EXPECT_NE(compile(source), compile(source, Emit::Object, {.opt_level = 0}));
}

TEST(Clang, EmitsIrAndAssembly) {
  const std::string source = "extern \"C\" int f(int x) { return x + 41; }";
  EXPECT_THAT(compile(source, Emit::LlvmIr), HasSubstr("define"));
  EXPECT_THAT(compile(source, Emit::Assembly), HasSubstr("f:"));
  EXPECT_EQ(compile(source).substr(1, 3), "ELF");
}

#ifdef __x86_64__
TEST(Clang, VectorisesTranscendentalsThroughLibmvec) {
  const std::string assembly = compile(
      "extern \"C\" void f(float* __restrict y, const float* __restrict x, long n) {\n"
      "  for (long i = 0; i < n; ++i) y[i] = __builtin_expf(x[i]);\n}\n",
      Emit::Assembly, {.march = "haswell"});
  EXPECT_THAT(assembly, HasSubstr("_ZGVdN8v_expf"));
}

TEST(Clang, VectorisesSums) {
  const std::string source =
      "extern \"C\" float f(const float* x, const float* y, long n) {\n"
      "  float sum = 0;\n  for (long i = 0; i < n; ++i) sum += x[i] * y[i];\n  return sum;\n}\n";
  EXPECT_THAT(compile(source, Emit::Assembly, {.march = "haswell"}),
              testing::ContainsRegex("vfmadd[0-9]+ps.*ymm"));
  EXPECT_THAT(compile(source, Emit::Assembly, {.march = "skylake-avx512"}),
              testing::ContainsRegex("vfmadd[0-9]+ps.*zmm"));
}
#endif

TEST(Jit, CallsBackIntoTheProcess) {
  const Compiled<int(int)> f(
      "extern \"C\" int shardc_test_add(int, int);\n"
      "extern \"C\" int f(int x) { return 2 * shardc_test_add(x, 1); }\n");
  EXPECT_EQ(f(20), 42);
}

TEST(Jit, KeepsInfinitiesAndNans) {
  const Compiled<int(float)> is_nan("extern \"C\" int f(float x) { return x != x; }");
  EXPECT_EQ(is_nan(std::numeric_limits<float>::quiet_NaN()), 1);
  EXPECT_EQ(is_nan(std::numeric_limits<float>::infinity()), 0);
  const Compiled<float(const float*, long)> max(
      "extern \"C\" float f(const float* x, long n) {\n"
      "  float m = -__builtin_inff();\n  for (long i = 0; i < n; ++i) m = x[i] > m ? x[i] : m;\n  return "
      "m;\n}\n");
  EXPECT_EQ(max(nullptr, 0L), -std::numeric_limits<float>::infinity());
}

TEST(Jit, EvaluatesVectorisedLoopsAccurately) {
  const Compiled<void(float*, const float*, long)> exp(
      "extern \"C\" void f(float* __restrict y, const float* __restrict x, long n) {\n"
      "  for (long i = 0; i < n; ++i) y[i] = __builtin_expf(x[i]);\n}\n");
  std::vector<float> x, y(1003);
  for (int i = 0; i < 1003; ++i) x.push_back(static_cast<float>(i - 500) * 0.1f);
  exp(y.data(), x.data(), static_cast<long>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(static_cast<double>(x[i]));
    ASSERT_NEAR(y[i] / exact, 1, 4e-7) << "exp(" << x[i] << ")";
  }
}

TEST(Jit, ResolvesBetweenObjects) {
  auto jit = Jit::create();
  ASSERT_TRUE(jit);
  ASSERT_TRUE(
      jit.value().add_object(compile("extern \"C\" int g(); extern \"C\" int f() { return g() + 1; }")));
  ASSERT_TRUE(jit.value().add_object(compile("extern \"C\" int g() { return 6; }")));
  auto f = jit.value().lookup("f");
  ASSERT_TRUE(f) << render(f.error());
  EXPECT_EQ(reinterpret_cast<int (*)()>(f.value())(), 7);
}

TEST(Jit, NamesWhatIsMissing) {
  auto jit = Jit::create();
  ASSERT_TRUE(jit);
  ASSERT_TRUE(
      jit.value().add_object(compile("extern \"C\" int gone(); extern \"C\" int f() { return gone(); }")));
  auto f = jit.value().lookup("f");
  ASSERT_FALSE(f);
  EXPECT_THAT(f.error()[0].message, HasSubstr("gone"));
  auto g = jit.value().lookup("g");
  ASSERT_FALSE(g);
  EXPECT_THAT(g.error()[0].message, HasSubstr("'g'"));
}

TEST(Jit, RefusesWhatIsNoObject) {
  auto jit = Jit::create();
  ASSERT_TRUE(jit);
  EXPECT_FALSE(jit.value().add_object("not an object file"));
}

class Link : public testing::Test {
 protected:
  Link() {
    std::string pattern = testing::TempDir() + "shardc-link-XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~Link() override { std::filesystem::remove_all(directory_); }
  std::string path(const std::string& name) const { return directory_ / name; }

  // A stand-in for the runtime: shardc_main gives the number of arguments plus the program's abi.
  std::string runtime() const {
    std::ofstream(path("runtime.o"), std::ios::binary) << compile(
        "#include \"shardc_rt.h\"\n"
        "extern \"C\" int shardc_main(int argc, char**, const shardc_program* program) {\n"
        "  return 10 * argc + program->abi;\n}\n");
    return path("runtime.o");
  }
  static std::string program() {
    return compile(
        "#include \"shardc_rt.h\"\n"
        "#pragma clang diagnostic ignored \"-Wmissing-field-initializers\"\n"
        "extern \"C\" const shardc_program shardc_the_program;\n"
        "const shardc_program shardc_the_program = {SHARDC_ABI, \"m\"};\n");
  }

  std::filesystem::path directory_;
};

TEST_F(Link, MakesAnExecutable) {
  const auto linked = link_executable(program(), path("prog"), {.runtime_archive = runtime()});
  ASSERT_TRUE(linked) << render(linked.error());
  const int status = std::system((path("prog") + " a b").c_str());
  EXPECT_EQ(WEXITSTATUS(status), 30 + SHARDC_ABI);
}

TEST_F(Link, ReportsWhatTheLinkerSaysAndLeavesNothing) {
  const std::string archive = runtime();
  const auto linked = link_executable(compile("int unrelated;"), path("prog"), {.runtime_archive = archive});
  ASSERT_FALSE(linked);
  EXPECT_THAT(linked.error()[0].message, HasSubstr("shardc_the_program"));
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    EXPECT_EQ(entry.path().filename(), "runtime.o");
  }
}

TEST_F(Link, ReportsAMissingArchiveDriverOrDirectory) {
  const std::string object = program();
  const auto archive = link_executable(object, path("prog"), {.runtime_archive = path("none.a")});
  ASSERT_FALSE(archive);
  EXPECT_THAT(archive.error()[0].message, HasSubstr("none.a"));
  const auto driver =
      link_executable(object, path("prog"), {.runtime_archive = runtime(), .driver = "no-such-compiler"});
  ASSERT_FALSE(driver);
  EXPECT_THAT(driver.error()[0].message, HasSubstr("no-such-compiler"));
  const auto place = link_executable(object, path("none/prog"), {.runtime_archive = runtime()});
  ASSERT_FALSE(place);
  EXPECT_THAT(place.error()[0].message, HasSubstr("none/prog"));
}

// Forty functions that call a helper, read a table, and one that calls them all.
std::string large_program() {
  std::string source =
      "namespace {\nconst double table[] = {1, 2, 3, 4};\n"
      "inline double helper(double x, int i) { return x * table[i & 3] + i; }\n";
  std::string calls;
  for (int f = 0; f < 40; ++f) {
    source += fmt::format("__attribute__((noinline)) double part_{}(double x) {{\n", f);
    for (int i = 0; i < 40; ++i) source += fmt::format("  x = helper(x * 0.5, {});\n", f + i);
    source += "  return x;\n}\n";
    calls += fmt::format(" + part_{}(x)", f);
  }
  return source + "double all(double x) { return 0" + calls + "; }\n}\n" +
         "extern \"C\" {\nextern double (*const entry)(double);\ndouble (*const entry)(double) = all;\n}\n";
}

double run_in_parts(int parts, std::size_t objects) {
  auto made = compile_cpp_in_parts(large_program(), "gen.cpp", {}, parts);
  if (!made) throw std::runtime_error(render(made.error()));
  EXPECT_EQ(made.value().size(), objects);
  auto jit = Jit::create();
  for (const std::string& object : made.value())
    EXPECT_TRUE(static_cast<bool>(jit.value().add_object(object)));
  auto entry = jit.value().lookup("entry");
  if (!entry) throw std::runtime_error(render(entry.error()));
  return (*static_cast<double (**)(double)>(entry.value()))(0.25);
}

TEST(Parts, ComputeWhatTheWholeDoes) {
  const double whole = run_in_parts(1, 1);
  EXPECT_GT(whole, 0);
  EXPECT_EQ(run_in_parts(2, 2), whole);
  EXPECT_EQ(run_in_parts(7, 7), whole);
}

TEST(Parts, OfLittleThereIsOne) {
  const auto made = compile_cpp_in_parts(
      "__attribute__((noinline)) int f() { return 1; }\n__attribute__((noinline)) int g() { return f(); }\n",
      "gen.cpp", {}, 4);
  ASSERT_TRUE(static_cast<bool>(made));
  EXPECT_EQ(made.value().size(), 1U);
}

// A variable that functions change cannot be in two parts.
TEST(Parts, WhatSharesAVariableStaysTogether) {
  const auto made = compile_cpp_in_parts(
      "static int count = 0;\nextern \"C\" int next() { return ++count; }\n" + large_program(), "gen.cpp", {},
      4);
  ASSERT_TRUE(static_cast<bool>(made));
  EXPECT_EQ(made.value().size(), 1U);
}

TEST(Parts, MistakesHaveTheirPlace) {
  const auto made = compile_cpp_in_parts("int f() { return nothing; }\n", "gen.cpp", {}, 4);
  ASSERT_FALSE(static_cast<bool>(made));
  EXPECT_THAT(render(made.error()), HasSubstr("gen.cpp:1"));
}

}  // namespace
}  // namespace shardc::codegen
