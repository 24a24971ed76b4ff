#!/usr/bin/env python3
"""House rules as a test: prints FILE:LINE: rule: reason, and fails, for everything that breaks one.

    tools/tidy.py --build build    checks the tree; with a build directory, also that every file is built
    tools/tidy.py --self-test      checks the rules: each must find its own example of what is wrong
"""
import argparse
import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ["ir", "frontend", "passes", "planner", "codegen", "runtime"]
CODE = LAYERS + ["tools", "tests", "bench"]

# --- what may include what ---------------------------------------------------------------------------------

ALLOWED = {  # ours, by layer; tools, tests and bench include everything
    "ir": {"ir"},
    "frontend": {"ir", "frontend"},
    "passes": {"ir", "passes"},
    "planner": {"ir", "planner"},
    "codegen": {"ir", "codegen"},
    "runtime": {"runtime"},
}
OWNERS = [  # who may include a library's headers
    (r"(clang|clang-c)/", r"codegen/clang\.cpp", "half a minute of compile time: one file alone pays it"),
    (r"llvm/", r"codegen/(clang|jit|split)\.cpp", "LLVM stays behind codegen's small interfaces"),
    (r"yaml-cpp/", r"frontend/.*", "only the frontend knows the syntax of files"),
    (r"glpk\.h", r"planner/.*", "only the planner solves programs"),
    (r"(mpi|cblas)\.h", r"(runtime|tests|bench)/.*", "of the product, only the runtime talks to MPI and BLAS"),
    (r"zlib\.h", r"(runtime|tests)/.*|planner/solve/read\.cpp", "the runtime and one reader know compressed files"),
    (r"CLI/", r"(tools|runtime)/.*", "command lines belong to programs"),
]

# --- rules over lines --------------------------------------------------------------------------------------
# `where` matches the path, `but` exempts; `bad` is an example that the pattern must find, `good` one that it
# must not.
Rule = namedtuple("Rule", "name pattern reason where but bad good")

BELOW_TOOLS = r"(ir|frontend|passes|planner|codegen|runtime)/"
SOURCE = r".*\.(cpp|h|cpp\.in)$"
MAIN = r"runtime/(main|cli|comm_mpi)\w*\.cpp$"  # comm_mpi: MPI_Abort does not return, so it says why before
PLACES = "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "fa" + "rm"])  # split: this file obeys its own rule

RULES = [
    Rule("ambient", r"\b(secure_)?getenv\s*\(", "the environment is read in tools/ alone and passed down",
         BELOW_TOOLS, MAIN, 'getenv("X")', "environment(x)"),
    Rule("stdout", r"\bstd::(cout|cerr|clog)\b|(?<![\w:>.])(std::)?(printf|puts|putchar|vprintf)\s*\(|"
         r"\bfprintf\s*\(\s*std(out|err)|\bfmt::print\s*\(", "messages are values; programs print them",
         BELOW_TOOLS, MAIN, 'std::printf("x")', "snprintf(buffer, n, x)"),
    Rule("random", r"\bs?rand\s*\(|\brandom_device\b|\bmt19937", "random choices take a seed and use ir/random.h",
         BELOW_TOOLS, None, "x = std::rand();", "x = operand(0);"),
    Rule("clock", r"\b(steady|system|high_resolution)_clock\b|\bclock_gettime\b|(?<![\w.>])time\s*\(\s*(NULL|nullptr|0)",
         "same input, same output: no layer of the compiler reads a clock",
         r"(ir|frontend|passes|codegen)/", None, "std::chrono::steady_clock::now()", "runtime(x)"),
    Rule("shell", r"(?<![\w.>])(std::)?(system|popen)\s*\(", "a shell reinterprets file names: use posix_spawn",
         r"(ir|frontend|passes|planner|codegen|runtime|tools)/.*\.(cpp|h)$", None, "std::system(command)", "file_system(x)"),
    Rule("exit", r"(?<![\w.>])(std::)?(exit|_exit|quick_exit)\s*\(", "only programs decide that they end",
         r"(ir|frontend|passes|planner|codegen)/", None, "std::exit(1)", "on_exit(x)"),
    Rule("thread_local", r"(?<!\")\bthread_local\b", "state belongs to values; the JIT cannot load thread-local data",
         SOURCE, None, "thread_local int x;", "thread_locals(x);"),
    Rule("using_in_header", r"^\s*using namespace\b", "a header must not fill its readers' scopes",
         r".*\.h$", None, "using namespace std;", "using Shape = int;"),
    Rule("static_state", r"^\s*static\s+(?!const\b|constexpr\b|inline\s+const|_?static_assert|std::once_flag)[^()={;]*"
         r"(=|\{|;)(?!\s*default)", "functions that remember are globals in disguise",
         r"(ir|frontend|passes|planner|codegen|runtime)/.*\.(cpp|h)$", None,
         "  static std::map<int, int> cache;", "  static Shape of(int rank);"),
    Rule("global_state", r"^(inline\s+|extern\s+|static\s+)?(?!using\b|const\b|constexpr\b|typedef\b|return\b|class\b|"
         r"struct\b|enum\b|template\b|namespace\b|friend\b|extern \"C\"|static\b|inline const|extern const|public|"
         r"private|case\b|goto\b|break\b|else\b)[A-Za-z_][\w:<>, *&]*\s[*&]?[a-z_]\w*(\[\w*\])?\s*(=[^=].*|\{.*\})?;$",
         "nothing ambient: mutable state is passed", r"(ir|frontend|passes|planner|codegen|runtime)/.*\.(cpp|h)$",
         r"runtime/shardc_rt\.h$", "std::vector<int> cache;", "const int kLimit = 3;"),
    Rule("left_over", r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b", "finish it, or name it in docs/status.md",
         r".*", None, "// TO" + "DO: later", "// done"),
    Rule("machine_path", r"(?<![\w./}])/(" + PLACES + r")(/|\b)", "nothing may depend on one machine's folders",
         r".*", None, "see /wo" + "rk/main", "frame/work"),
    Rule("disabled_test", r"\bDISABLED_\w", "a test that does not run is no test",
         r"tests/", None, "TEST(A, DISABLED_B)", "TEST(A, B)"),
    Rule("trailing_space", r"[ \t]+$", "diffs show only changes", r".*", r".*\.(md|txt|ref)$", "x ", "x"),
    Rule("parent_include", r"#include \"\.\./|#include \"\./", "includes start at the project's root",
         SOURCE, None, '#include "../ir/graph.h"', '#include "ir/graph.h"'),
]

HEADER_LINES, SOURCE_LINES, FUNCTION_LINES = 200, 900, 80


def applies(rule, path):
    return re.match(rule.where, path) and not (rule.but and re.match(rule.but, path))


def line_problems(path, lines):
    rules = [rule for rule in RULES if applies(rule, path)]
    code = re.match(SOURCE, path)
    for number, line in enumerate(lines, 1):
        bare = re.sub(r"//.*", "", line) if code else line
        for rule in rules:
            text = line if rule.name in ("left_over", "machine_path", "trailing_space") else bare
            if re.search(rule.pattern, text):
                yield number, rule.name, rule.reason


def include_problems(path, lines):
    layer = path.split("/")[0]
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#include\s+([<"])([^>"]+)[>"]', line)
        if not found:
            continue
        quote, name = found.groups()
        if quote == '"' and layer in ALLOWED and name.split("/")[0] not in ALLOWED[layer]:
            if path.startswith("runtime/") and "/" not in name:
                yield number, "layering", "write the path from the project's root"
            else:
                yield number, "layering", f"{layer}/ includes only {', '.join(sorted(ALLOWED[layer]))}"
        for header, owner, reason in OWNERS:
            if re.match(header, name) and not re.fullmatch(owner, path):
                yield number, "layering", reason


def functions(lines):
    """(first line, length, name) of definitions, by indentation: clang-format keeps it honest."""
    control = re.compile(r"\s*(\}|if|for|while|switch|else|do|try|catch|return|namespace|struct|class|enum|union|"
                         r"extern \"C\" \{)\b|\s*\}")
    for start, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if indent > 2 or not line.rstrip().endswith("{") or control.match(line) or re.search(r"=\s*\{$|=$", line.rstrip()):
            continue
        if "(" not in line and not (start and re.search(r"[,(]$", lines[start - 1].rstrip())):
            continue
        close = " " * indent + "}"
        for end in range(start + 1, len(lines)):
            if lines[end].startswith(close) and not lines[end].startswith(close + " "):
                body = lines[start:end + 1]  # a switch is a table: its labels do not count
                if body[1].strip().startswith("return {"):
                    break  # all of it is a table
                yield start + 1, sum(not re.match(r"\s*case .*:$", row) for row in body), line.strip()
                break


def size_problems(path, lines):
    if path.endswith(".h") and len(lines) > HEADER_LINES:
        yield len(lines), "header_length", f"{len(lines)} lines; above {HEADER_LINES} it is two headers"
    if path.endswith(".cpp") and len(lines) > SOURCE_LINES:
        yield len(lines), "source_length", f"{len(lines)} lines; above {SOURCE_LINES} it is two files"
    for start, length, name in functions(lines):
        if length > FUNCTION_LINES:
            yield start, "function_length", f"{length} lines; above {FUNCTION_LINES} no screen shows `{name}`"


def header_problems(path, lines):
    if not path.endswith(".h"):
        return
    if not lines or not lines[0].startswith(("//", "/*")):
        yield 1, "header_comment", "a header says first what it is, why it is here, and gives an example"
    if path != "runtime/shardc_rt.h" and "#pragma once" not in lines:
        yield 1, "pragma_once", "headers are included once"


def link_problems(path, lines):
    if not path.endswith(".md"):
        return
    fenced = False
    for number, line in enumerate(lines, 1):
        fenced ^= line.lstrip().startswith("```")
        for target in [] if fenced else re.findall(r"\]\(([^)\s#]+)[^)]*\)", line):
            if not re.match(r"[a-z]+:", target) and not (ROOT / path).parent.joinpath(target).exists():
                yield number, "dead_link", f"{target} does not exist"


def build_problems(files, build):
    """Sources that no target compiles, and headers that nothing includes."""
    commands = json.loads((Path(build) / "compile_commands.json").read_text())
    built = {os.path.realpath(os.path.join(entry["directory"], entry["file"])) for entry in commands}
    included = set()
    for path in files:
        if re.match(SOURCE, path):
            included |= set(re.findall(r'#include "([^"]+)"', (ROOT / path).read_text()))
    for path in files:
        if path.split("/")[0] not in CODE:
            continue
        if path.endswith(".cpp") and os.path.realpath(ROOT / path) not in built:
            yield path, 1, "not_built", "no target compiles this file"
        if path.endswith(".h") and path not in included:
            yield path, 1, "not_included", "nothing includes this header"


def tree_files():
    """Paths of the project's text files, whether or not this is a git checkout."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        paths = listed.stdout.splitlines()
    else:
        paths = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file()]
        paths = [p for p in paths if not p.startswith(("build", ".git/"))]
    for path in sorted(set(paths)):
        if (ROOT / path).is_file() and not (ROOT / path).is_symlink():
            if b"\0" not in (ROOT / path).read_bytes()[:4096]:
                yield path


def check_tree(build):
    files = list(tree_files())
    problems = []
    for path in files:
        lines = (ROOT / path).read_text(errors="replace").splitlines()
        checks = [line_problems, link_problems]
        if re.match(SOURCE, path):
            checks += [include_problems, size_problems, header_problems]
        for check in checks:
            problems += [(path, *problem) for problem in check(path, lines)]
    if build:
        problems += build_problems(files, build)
    for path, line, rule, reason in sorted(problems):
        print(f"{path}:{line}: {rule}: {reason}")
    print(f"tidy: {len(files)} files, {len(problems)} problems")
    return 1 if problems else 0


def self_test():
    failures = []
    for rule in RULES:
        if not re.search(rule.pattern, rule.bad):
            failures.append(f"{rule.name} misses {rule.bad!r}")
        if re.search(rule.pattern, rule.good):
            failures.append(f"{rule.name} refuses {rule.good!r}")

    def expect(check, path, text, wanted):
        found = [name for _, name, _ in check(path, text.splitlines())]
        if found != wanted:
            failures.append(f"{check.__name__} of {path}: {found}, wanted {wanted}")

    expect(include_problems, "passes/x.cpp", '#include "planner/plan.h"', ["layering"])
    expect(include_problems, "passes/x.cpp", '#include "ir/graph.h"', [])
    expect(include_problems, "codegen/emit.cpp", "#include <llvm/ADT/Twine.h>", ["layering"])
    expect(include_problems, "tools/x.cpp", '#include "planner/plan.h"', [])
    expect(size_problems, "ir/x.h", "\n" * 201, ["header_length"])
    expect(size_problems, "ir/x.cpp", "int f() {\n" + "  g();\n" * 80 + "}\n", ["function_length"])
    expect(size_problems, "ir/x.cpp", "int f(int a,\n      int b) {\n" + "  g();\n" * 70 + "}\n", [])
    expect(size_problems, "ir/x.cpp", "const int t[] = {\n" + "  1,\n" * 100 + "};\n", [])
    expect(header_problems, "ir/x.h", "#pragma once\n", ["header_comment"])
    expect(header_problems, "ir/x.h", "// What, why, example.\n#pragma once\n", [])
    expect(link_problems, "README.md", "[a](no/such/file.md) [b](https://example.org)", ["dead_link"])
    print("\n".join(failures) or f"tidy: {len(RULES)} rules find what they should")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="a build directory with compile_commands.json")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    return self_test() if arguments.self_test else check_tree(arguments.build)


if __name__ == "__main__":
    sys.exit(main())
