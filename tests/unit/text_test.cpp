// The text form: what prints parses to the same value, and errors say where they are.
#include "ir/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ir/verify.h"
#include "tests/unit/random_graph.h"

namespace shardc {
namespace {

using ::testing::HasSubstr;

std::string errors(const Diagnostics& diagnostics) { return render(diagnostics); }

// Texts in the form that print() writes.
constexpr std::string_view kModel = R"(graph gpt-tiny {
  input %tokens: i32[B=4, S=64] < 256
  input %scale: f32[]
  param %wte: f32[V=256, E=64] = normal(0.02)
  param %"two words": bf16[3, "3*E"=192] = uniform(-1.0, 1e-05)
  state %wte.m: f32[256, 64] = zeros()
  state %step: i64[] = constant(1.0)
  param %g: f32[E=64] = ones()
  %x0: f32[4, 64, 64] = take(%wte, %tokens, axis=0)
  %h: f32[4, 64, 64], %mean: f32[4, 64] = norm(%x0, eps=1e-05, flags=[true, false, none], how="say \"hi\"")
  %r: f32[4] = random(seed=-1)
  %e: f32[4] = empty()
  output loss = %mean
  output strange-name = %h
  gradient wte = %wte.m
  update wte = %wte
  update wte.next = %wte.m of %wte.m
}
)";

constexpr std::string_view kNests = R"(graph nests {
  input %a: f32[64, 16]
  input %b: f32[16, 32]
  input %t: i32[4]
  input %s: f32[]
  %y: f32[i=64, j=32] = sum[k=16](%a[i, k] * %b[k, j])
  %flat: f32[(i=64 j=16)] = %a[i, j]
  %split: f32[h=4, d=8, (i=2 j=2 k=1)] = %b[4*h + d, 0] + %b'[4*h + d, 0]
  %slice: f32[i=10, one=1] = %a[2*i + 3, 0]
  %pad: f32[i=8] = %b[i - 2, -i + 7]
  %take: f32[b=4, e=16] = sum[v=64](where(%t[b] == v, %a[v, e], 0))
  %last: f32[i=4] = -%a[i, -1]
  %scalar: f32[] = exp(%s[])
  %max: f32[] = max[i=64, j=16](%a[i, j])
  %sum: f32[j=16] = sum[](%a[0, j])
  %number: f32[] = 2.0
  %none: f32[i=0, (j=0 k=2)] = sum[l=0](1.0)
  %int: i64[i=3] = floor_div(i, 2) - -5
  %bits: f32[i=3] = (inf + -inf) * (nan - 1e+22) / -(2.0) - -(-2.0)
  %tree: f32[i=4] = %a[i, 0] - (%a[i, 1] - %a[i, 2]) - %a[i, 3] * -(%a[i, 0] + 1.0)
  %order: f32[i=16] = %b[i, 0] - %a[i, 0] reads (%a[i, 0], %b[i, 0])
  %unused: f32[i=16] = 1.0 reads (%a[i, 0])
  %swapped: f32[i=16] = %a'[i, 0] - %a[i, 0] reads (%a[i, 0], %a'[i, 0])
  %cmp: bool["a b"=16] = (%a["a b", 0] < 1.0) == (%a["a b", 1] >= 2.0)
  output y = %y
}
)";

constexpr std::string_view kRepeat = R"(graph deep {
  input %x0: f32[4]
  param %layer.w: f32[2, 4] = zeros()
  input %c: f32[]
  %xl: f32[4], %acts: f32[2, 4] = repeat 2 of layer {
    carried %x: f32[B=4] = %x0
    stacked %w: f32[4] = %layer.w
    shared %c: f32[] = %c
    %y: f32[i=4] = %x[i] * %w[i] + %c[]
    %z: f32[4] = repeat 3 reverse {
      carried %y: f32[4] = %y
      %n: f32[4] = relu(%y)
      yield %n
    }
    yield %z, act = %x
  }
  output x = %xl
}
)";

constexpr std::string_view kSpmd = R"(mesh {data=2, model=4}

graph mlp {
  input %x: f32[B=8, 16]@[data, _]
  param %w: f32[16, 32]@[_, model] = normal(0.02)
  param %v: f32[32, 16]@[model, _]{replicated: data} = normal(0.02)
  %h: f32[i=8@data, j=32@model]@[data, model] = sum[k=16](%x[i, k] * %w[k, j])
  %p: f32[i=8@data, j=16]@[data, _]{sum: model} = sum[k=32@model](%h[i, k] * %v[k, j])
  %y: f32[8, 16]@[data, _] = all_reduce(%p, axes=[model], combine=sum)
  %q: f32[8, 16]@[[data, model], _] = reduce_scatter(%p, axes=[model], combine=sum, dim=0)
  %s: f32[i=8@[data, model:(1)2], j=16@model:(2)2]@[[data, model:(1)2], model:(2)2+] = %x[i, j]
  %o: f32[8, 16]@[+, data+] = all_to_all(%x, axes=[data], dim=0, to=1)
  %g: f32[8, 16]@[_, _] = all_gather(%x, axes=[data], dim=0)
  %l: f32[]@[]{max: data, model} = max[i=8@data, j=16@model](%x[i, j])
  %n: f32[] = all_reduce(%l, axes=[data, model], combine=max)
  output y = %y
}
)";

class GoldenText : public ::testing::TestWithParam<std::string_view> {};

TEST_P(GoldenText, PrintsAsItWasWritten) {
  const Result<Graph> graph = parse_graph(GetParam());
  ASSERT_TRUE(graph) << errors(graph.error());
  EXPECT_EQ(print(graph.value()), GetParam());
}
INSTANTIATE_TEST_SUITE_P(All, GoldenText, ::testing::Values(kModel, kNests, kRepeat, "graph {\n}\n"));

TEST(ProgramText, PrintsAsItWasWritten) {
  for (std::string_view text : {kSpmd, std::string_view("mesh {}\n\ngraph one {\n}\n")}) {
    const Result<SpmdProgram> program = parse_program(text);
    ASSERT_TRUE(program) << errors(program.error());
    EXPECT_EQ(print(program.value()), text);
  }
}

TEST(GraphText, MeansWhatItSays) {
  const Graph graph = parse_graph(kNests).value();
  const auto nest = [&](std::size_t n) { return std::get<LoopNest>(graph.nodes[n].op); };
  const FactorId i(0), j(1), k(2);
  EXPECT_EQ(nest(0).combine, Combine::Sum);
  EXPECT_EQ(nest(0).factors.size(), 3U);
  EXPECT_EQ(nest(0).inputs,
            (std::vector<Access>{{Affine::of(i), Affine::of(k)}, {Affine::of(k), Affine::of(j)}}));
  EXPECT_TRUE(same(nest(0).body, x(0) * x(1)));
  EXPECT_EQ(nest(1).output, Access{16 * Affine::of(i) + Affine::of(j)});
  EXPECT_EQ(graph[graph.nodes[1].results[0]].type, (Type{DType::F32, {1024}}));
  EXPECT_EQ(graph.nodes[2].operands.size(), 2U);  // %b and %b', read alike
  EXPECT_EQ(nest(3).inputs[0][0], 2 * Affine::of(i) + Affine::constant(3));
  EXPECT_EQ(nest(4).inputs[0][1], -1 * Affine::of(i) + Affine::constant(7));
  EXPECT_TRUE(same(nest(5).body, where(eq(x(0), index_of(k)), x(1), integer(0))));
  EXPECT_TRUE(same(nest(15).body, x(1) - x(0)));
  EXPECT_EQ(graph.nodes[0].place.line, 6);
  EXPECT_EQ(graph.nodes[0].place.column, 3);
}

TEST(GraphText, LineBreaksAndCommentsOnlySeparate) {
  const Result<Graph> graph =
      parse_graph("graph g{input%x:f32[4]# a comment\n%y:f32[i=4]=%x[\ni]-\n1.0 output y=%y}#end");
  ASSERT_TRUE(graph) << errors(graph.error());
  EXPECT_EQ(print(graph.value()),
            "graph g {\n  input %x: f32[4]\n  %y: f32[i=4] = %x[i] - 1.0\n  output y = %y\n}\n");
}

TEST(GraphText, SharedSubexpressionsStayShared) {
  const Graph graph = parse_graph("graph { input %x: f32[] %y: f32[] = exp(%x[]) * exp(%x[]) }").value();
  const Expr& body = std::get<LoopNest>(graph.nodes[0].op).body;
  EXPECT_EQ(body->args[0], body->args[1]);
}

TEST(NestText, PrintsWithoutItsResult) {
  const Graph graph = parse_graph(kNests).value();
  EXPECT_EQ(print(std::get<LoopNest>(graph.nodes[0].op), Mesh{}, {"p", "q r"}),
            "[i=64, j=32] = sum[k=16](%p[i, k] * %\"q r\"[k, j])");
}

TEST(GraphText, RandomGraphsSurvive) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 rng(seed);
    const Graph graph = ::shardc::testing::random_graph(rng, nullptr);
    const std::string text = print(graph);
    const Result<Graph> parsed = parse_graph(text);
    ASSERT_TRUE(parsed) << "seed " << seed << "\n" << errors(parsed.error()) << text;
    ASSERT_EQ(print(parsed.value()), text) << "seed " << seed;
    ASSERT_TRUE(::shardc::testing::equal(parsed.value(), graph)) << "seed " << seed << "\n" << text;
  }
}

TEST(ProgramText, RandomProgramsSurvive) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    std::mt19937 rng(seed);
    const Mesh mesh = ::shardc::testing::random_mesh(rng);
    const SpmdProgram program{mesh, ::shardc::testing::random_graph(rng, &mesh)};
    const std::string text = print(program);
    const Result<SpmdProgram> parsed = parse_program(text);
    ASSERT_TRUE(parsed) << "seed " << seed << "\n" << errors(parsed.error()) << text;
    ASSERT_EQ(print(parsed.value()), text) << "seed " << seed;
    ASSERT_EQ(parsed.value().mesh, mesh);
    ASSERT_TRUE(::shardc::testing::equal(parsed.value().graph, program.graph)) << "seed " << seed << "\n"
                                                                               << text;
  }
}

// --- mistakes ---------------------------------------------------------------------------------------------

struct Mistake {
  std::string_view text;
  int line, column;
  std::string_view message;
  std::string_view hint = "";
};

TEST(GraphText, MistakesSayWhereAndWhatWasExpected) {
  const std::vector<Mistake> mistakes = {
      {"", 1, 1, "expected 'graph' but the text ends"},
      {"graph g {", 1, 10, "but the text ends"},
      {"graph g {} x", 1, 12, "expected nothing more but found 'x'"},
      {"graph g {\n  foo\n}", 2, 3, "expected input, param, state, output"},
      {"graph {\n input x: f32[]", 2, 8, "expected an argument, as %x: f32[4] but found 'x'"},
      {"graph { input %x: f33[] }", 1, 19, "unknown element type 'f33'", "f32"},
      {"graph { input %x: f32[-1] }", 1, 23, "expected a size or name=size"},
      {"graph { %y: f32[(i=99999999 j=0 k=99999999)] = 0.0 }", 1, 33, "this dimension is too large"},
      {"graph { input %x: f32[99999999999999999999] }", 1, 23, "this integer is too large"},
      {"graph { input %x: f32[99999999, 99999999] }", 1, 33, "this tensor is too large"},
      {"graph { input %x: f32[2.5] }", 1, 23, "expected an integer but found '2.5'"},
      {"graph { input %x: f32[(a=2 b=3)] }", 1, 23, "a dimension of an argument is a size or name=size"},
      {"graph { input %x: f32[] input %x: f32[] }", 1, 31, "%x is defined twice"},
      {"graph { param %x: f32[] = nrmal(1) }", 1, 27, "unknown initial value 'nrmal'", "normal"},
      {"graph { input %x: f32[4]@[d] }", 1, 27, "there is no mesh", "mesh {"},
      {"graph { input %long: f32[] output a = %lang }", 1, 39, "%lang is not defined here", "long"},
      {"graph { input %x: f32[] gradient a = %x }", 1, 34, "no argument is called 'a'", "of %name"},
      {"graph { input %x: f32[] update a = %x of %b }", 1, 42, "no argument is called 'b'"},
      {"graph { %y: f32[4] = relu(%x) }", 1, 27, "%x is not defined here"},
      {"graph { %y: f32[4] = f(a=1, a=2) }", 1, 29, "attribute 'a' is given twice"},
      {"graph { %y: f32[4] = f(a=b) }", 1, 26, "expected a number, a string, a list"},
      {"graph { input %x: f32[4] %y: f32[4] = %x[0] }", 1, 34, "needs a factor, as i=4"},
      {"graph { %y: f32[i=4, i=4] = 0.0 }", 1, 22, "factor 'i' is declared twice"},
      {"graph { %y: f32[i=4], %z: f32[4] = 0.0 }", 1, 23, "a loop nest has one result"},
      {"graph { %y: f32[i=4] = bat + 1 }", 1, 24, "no factor is called 'bat'"},
      {"graph { %y: f32[row=4] = rwo + 1 }", 1, 26, "no factor is called 'rwo'", "row"},
      {"graph { %y: f32[i=4] = sqr(i) }", 1, 24, "unknown function 'sqr'", "sqrt"},
      {"graph { %y: f32[i=4] = max(i) }", 1, 24, "max takes 2 arguments and not 1"},
      {"graph { %y: f32[i=4] = (i + 1 }", 1, 31, "expected ')' but found '}'"},
      {"graph { %y: f32[i=4] = i + }", 1, 28, "expected a number, an index, an operand or a function"},
      {"graph { %y: f32[i=4] = 2x }", 1, 24, "malformed number"},
      {"graph { %y: f32[i=4] = 1e }", 1, 24, "malformed number"},
      {"graph { %y: f32[i=4] = 1e999 }", 1, 24, "does not fit a double"},
      {"graph { %y: f32[i=4] = i $ 2 }", 1, 26, "unexpected character '$'"},
      {"graph { %y: f32[i=4] = i \x01 }", 1, 26, "unexpected byte 0x01"},
      {"graph { %\"y: f32[i=4] = i }", 1, 9, "this string does not end"},
      {"graph { % y: f32[i=4] = i }", 1, 9, "expected a name after '%'"},
      {"graph { input %x: f32[4] %y: f32[i=4] = %x[i*2] }", 1, 45, "expected ',' but found '*'"},
      {"graph { input %x: f32[4] %y: f32[i=4] = %x[9223372036854775807 + 1] }", 1, 66, "index is too large"},
      {"graph { input %x: f32[4] %y: f32[i=4] = %x[i] reads () }", 1, 53, "the body loads %x"},
      {"graph { input %x: f32[4] %y: f32[i=4] = i reads (%x[i], %x[i]) }", 1, 57, "listed twice", "%x'[i]"},
      {"graph { input %x: f32[4] %y: f32[4] = repeat 0 { yield } }", 1, 46, "expected an integer from 1"},
      {"graph { input %x: f32[4] %y: f32[4] = repeat 2 { output a = %x } }", 1, 50,
       "expected carried, stacked"},
      {"graph { input %x: f32[4] %y: f32[4] = repeat 2 { yield %x } }", 1, 56, "%x is not defined here"},
      {"graph { input %x: f32[4] %y: f32[4] = repeat 2 { shared %a: f32[4] = %x carried %b: f32[4] = %x } }",
       1, 73, "its carried, then its stacked, then its shared"},
  };
  for (const Mistake& mistake : mistakes) {
    const Result<Graph> graph = parse_graph(mistake.text, "in.txt");
    ASSERT_FALSE(graph) << mistake.text;
    ASSERT_EQ(graph.error().size(), 1U);
    const Diagnostic& error = graph.error()[0];
    EXPECT_EQ(error.place.file, "in.txt");
    EXPECT_EQ(error.place.line, mistake.line) << mistake.text;
    EXPECT_EQ(error.place.column, mistake.column) << mistake.text << "\n" << error.message;
    EXPECT_THAT(error.message, HasSubstr(mistake.message)) << mistake.text;
    EXPECT_THAT(error.hint, HasSubstr(mistake.hint)) << mistake.text;
    EXPECT_THAT(std::string(mistake.text), HasSubstr(error.source_line));
  }
}

TEST(ProgramText, MistakesSayWhereAndWhatWasExpected) {
  const std::vector<Mistake> mistakes = {
      {"graph g {}", 1, 1, "expected 'mesh' but found 'graph'"},
      {"mesh {d=2, d=2}", 1, 12, "axis 'd' is declared twice"},
      {"mesh {d=0}", 1, 9, "expected an integer from 1"},
      {"mesh {a=99999999, b=99999999}", 1, 19, "too many devices"},
      {"mesh {data=2} graph { input %x: f32[4]@[dta] }", 1, 41, "the mesh has no axis 'dta'", "data"},
      {"mesh {d=8} graph { input %x: f32[4]@[d:(3)2] }", 1, 38, "d:(3)2 does not divide the axis of size 8"},
      {"mesh {d=8} graph { input %x: f32[4]@[d]{avg: d} }", 1, 41,
       "expected 'replicated', 'sum', 'max' or 'min'"},
      {"mesh {d=8} graph { input %x: f32[4] %y: f32[4] = all_reduce(%x, axes=[d]) }", 1, 73, "expected ','"},
      {"mesh {d=8} graph { input %x: f32[4] %y: f32[4] = all_reduce(%x, axes=[d], combine=avg) }", 1, 83,
       "expected sum, max or min"},
  };
  for (const Mistake& mistake : mistakes) {
    const Result<SpmdProgram> program = parse_program(mistake.text);
    ASSERT_FALSE(program) << mistake.text;
    const Diagnostic& error = program.error()[0];
    EXPECT_EQ(error.place.line, mistake.line) << mistake.text;
    EXPECT_EQ(error.place.column, mistake.column) << mistake.text << "\n" << error.message;
    EXPECT_THAT(error.message, HasSubstr(mistake.message)) << mistake.text;
    EXPECT_THAT(error.hint, HasSubstr(mistake.hint)) << mistake.text;
  }
}

// --- hostile input ----------------------------------------------------------------------------------------

std::string repeated(std::string_view part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

TEST(GraphText, DepthIsBounded) {
  const int deep = 100000;
  const std::vector<std::string> texts = {
      "graph { %y: f32[i=4] = " + repeated("(", deep),
      "graph { %y: f32[i=4] = " + repeated("-", deep) + "i }",
      "graph { %y: f32[i=4] = " + repeated("exp(", deep),
      "graph { %y: f32[i=4] = i" + repeated(" + i", deep) + " }",
      "graph { %y: f32[4] = f(a=" + repeated("[", deep),
      "graph { " + repeated("%y: f32[4] = repeat 2 { ", deep),
  };
  for (const std::string& text : texts) {
    const Result<Graph> graph = parse_graph(text);
    ASSERT_FALSE(graph) << text.substr(0, 40);
    EXPECT_THAT(graph.error()[0].message, HasSubstr("deep"));
  }
  EXPECT_TRUE(parse_graph("graph { %y: f32[i=4] = " + repeated("(", 300) + "i" + repeated(")", 300) + " }"));
  EXPECT_TRUE(parse_graph("graph { %y: f32[i=4] = i" + repeated(" + i", 3000) + " }"));
}

std::string mutated(std::string text, std::mt19937& rng) {
  static constexpr std::string_view kBits[] = {"%",      "[",  "]", "(",          ")",  "{",     "}", "=",
                                               ",",      "@",  "-", "9999999999", "\"", "'",     "i", "sum",
                                               "repeat", "\n", "#", "\xff",       ":",  "reads", "0"};
  for (unsigned n = 1 + rng() % 4; n > 0; --n) {
    const std::size_t at = rng() % (text.size() + 1);
    const std::size_t length = std::min<std::size_t>(rng() % 12, text.size() - at);
    switch (rng() % 5) {
      case 0:
        text.erase(at, length);
        break;
      case 1:
        text.insert(at, kBits[rng() % std::size(kBits)]);
        break;
      case 2:
        text.replace(at, length, kBits[rng() % std::size(kBits)]);
        break;
      case 3:
        text.insert(rng() % (text.size() + 1), text.substr(at, length * 4));
        break;
      default:
        if (rng() % 8 == 0) text.resize(at);
        break;
    }
  }
  return text;
}

TEST(GraphText, MutatedTextsDoNotCrash) {
  std::mt19937 rng(1);
  std::vector<std::string> texts;
  for (std::string_view text : {kModel, kNests, kRepeat, kSpmd}) texts.emplace_back(text);
  for (int i = 0; i < 30; ++i) {
    const Mesh mesh = ::shardc::testing::random_mesh(rng);
    texts.push_back(print(SpmdProgram{mesh, ::shardc::testing::random_graph(rng, &mesh)}));
  }
  int parsed = 0, failed = 0;
  for (int i = 0; i < 10000; ++i) {
    const std::string text = mutated(texts[rng() % texts.size()], rng);
    SpmdProgram program;
    Diagnostics errors_found;
    if (text.starts_with("mesh")) {
      Result<SpmdProgram> result = parse_program(text);
      if (!result) errors_found = result.error();
      if (result) program = std::move(result).value();
    } else {
      Result<Graph> result = parse_graph(text);
      if (!result) errors_found = result.error();
      if (result) program.graph = std::move(result).value();
    }
    ++(errors_found.empty() ? parsed : failed);
    for (const Diagnostic& error : errors_found) ASSERT_GT(error.place.line, 0);
    (void)verify(program);
    (void)verify(program.graph);
    const std::string printed = print(program);
    const Result<SpmdProgram> again = parse_program(printed);
    ASSERT_TRUE(again) << errors(again.error()) << text;
    ASSERT_EQ(print(again.value()), printed) << text;
  }
  EXPECT_GT(parsed, 500);  // both ways are tried often
  EXPECT_GT(failed, 500);
}

}  // namespace
}  // namespace shardc
