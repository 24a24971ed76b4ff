// The state behind elaborate(): see elaborate.h. Its methods lie in five files, by what they turn into
// nodes.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "frontend/batch.h"
#include "frontend/binding.h"
#include "frontend/elaborate.h"
#include "ir/op.h"

namespace shardc::frontend {

using Values = std::optional<std::vector<ValueId>>;  // nothing: unknown after a mistake
using Slots = std::vector<std::optional<ValueId>>;   // the same, value by value

// What an expression is worth: a tensor, or a number whose type its neighbours decide.
struct Operand {
  std::optional<ValueId> value;
  std::optional<Attr> number;
  bool known() const { return value || number; }
};

// A list of statements that is being read: the model's own, a block's, or a block's as the body of a repeat.
struct Frame {
  Builder& builder;
  const Block* block;  // null at the top
  std::string path;    // "", "layer.", "outer.inner."
  const std::vector<Statement>& statements;
  const std::vector<Use>& uses;
  const Bindings& params;  // of the builder's graph: "wte", "layer.wq"
  Bindings names;
};

class Elaborator {
 public:
  Elaborator(Reporter& reporter, const Dims& dims, const Blocks& blocks, Scope& scope, std::int64_t& bytes)
      : reporter_(reporter), dims_(dims), blocks_(blocks), scope_(scope), bytes_(bytes) {}

  void top(const std::vector<Use>& uses, const std::vector<Statement>& graph, Builder& builder);
  // Blocks that nothing uses are read for mistakes too, with arguments of unknown type.
  void unused_blocks();

 private:
  // --- elaborate.cpp
  bool stopped() const { return stopped_ || reporter_.full(); }
  bool step(Span span);  // one more operation: may it be?
  void run(Frame& frame);
  void bind(Frame& frame, const Named& name, std::optional<ValueId> value);
  // May the frame's graph call a value so? Else reports.
  bool free(const Frame& frame, const Named& name);
  // The results of a statement's expression, called `names`.
  Values results(Frame& frame, const Ast& ast, const std::vector<std::string>& names);
  // One operand inside the statement `base`.
  Operand operand(Frame& frame, const Ast& ast, const std::string& base);
  // Numbers and dimensions only, joined by + - * /: a number itself.
  bool foldable(const Frame& frame, const Ast& ast) const;
  // What a name stands for: a value, a parameter, a dimension.
  Operand resolve(const Frame& frame, const Ast& ast);
  void report_unknown_name(const Frame& frame, const Ast& ast);
  std::vector<std::string> known_names(const Frame& frame) const;
  // A number becomes a constant of the type that suits its neighbours.
  std::optional<ValueId> tensor(Frame& frame, const Operand& operand, const std::vector<DType>& neighbours,
                                const std::string& base, Span span);
  // --- elaborate_ops.cpp
  Values call(Frame& frame, const Ast& ast, const std::vector<std::string>& names, const std::string& base);
  void report_unknown_function(const Ast& ast);
  Values call_op(Frame& frame, const Ast& ast, const OpDef& op, const std::vector<std::string>& names,
                 const std::string& base);
  bool attribute(const Frame& frame, const Ast& ast, const std::string& key, Attrs& attrs);
  bool tensors(Frame& frame, const std::vector<std::pair<Operand, Span>>& operands, const std::string& base,
               std::vector<ValueId>& values);
  // The caret goes to the argument at fault, else to the whole call.
  void report_op_error(const Frame& frame, const Ast& ast, const OpDef& op, const Bound& bound,
                       const Diagnostic& error);
  // Adds the sizes of new values to the running total, which has a limit.
  Values account(const Frame& frame, Span span, std::vector<ValueId> values);
  // --- elaborate_blocks.cpp
  Slots block_arguments(Frame& frame, const Bound& bound, const Block& block, const std::string& base);
  Values inline_block(Frame& frame, const Ast& ast, const Block& block, const std::string& base);
  // The statements of the frame's block; its results.
  Slots run_block(Frame& frame, const Slots& arguments);
  Values repeat(Frame& frame, const Ast& ast, const std::vector<std::string>& names, const std::string& base);
  // The block that the first argument of a repeat or a scan names; else reports, with `usage` as hint.
  const Block* named_block(const Ast& ast, std::string_view usage);
  Values repeat_block(Frame& frame, const Ast& ast, const Block& block, const std::optional<Slots>& arguments,
                      const std::vector<std::string>& names);
  void add_param(Builder& body, const std::string& name, const ParamSpec& spec, Bindings& params);
  // A repeat hands the results of one iteration to the next, so they must be of the arguments' types.
  bool carried_types_agree(const Builder& body, const Block& block, const Slots& inner, const Slots& returned,
                           const Ast& ast);
  std::optional<std::vector<ValueId>> repeat_operands(const Frame& frame, const Block& block,
                                                      const std::string& path,
                                                      const std::optional<Slots>& arguments);
  Values finish_repeat(Frame& frame, const Ast& ast, const Use& use, Builder body, const Slots& returned,
                       std::vector<ValueId> operands, const std::vector<std::string>& names);

  // --- elaborate_scan.cpp
  Values scan(Frame& frame, const Ast& ast, const std::vector<std::string>& names, const std::string& base);
  Values scan_block(Frame& frame, const Ast& ast, const Block& block, const struct Scan& scan,
                    const std::vector<std::string>& names);
  // How often the block runs: the leading dimension of all that it goes along.
  std::optional<std::int64_t> iterations_of(const Frame& frame, const Ast& ast, const struct Scan& scan);

  // --- elaborate_manual.cpp
  Values manual(Frame& frame, const Ast& ast, const std::vector<std::string>& names, const std::string& base);
  // The axes of a region; reports.
  std::optional<std::vector<ManualAxis>> manual_axes(const Ast& list);
  // One spec per tensor of `types`, which it fits; reports.
  std::optional<std::vector<ManualSpec>> manual_specs(const Ast& list, const std::vector<ManualAxis>& axes,
                                                      std::size_t count, std::string_view what);
  std::optional<ManualSpec> manual_spec(const Ast& text, const std::vector<ManualAxis>& axes);
  bool cuts(const Type& type, const ManualSpec& spec, const std::vector<ManualAxis>& axes, Span span,
            std::string_view name);
  // The block, written for one shard, as a graph of its own; its arguments are those of `types`, then the
  // parameters of the block.
  std::optional<Graph> manual_body(Frame& frame, const Ast& ast, const Block& block,
                                   const std::vector<Type>& types);
  Values leave_manual(Frame& frame, const Ast& ast, Batcher& batcher, const std::vector<Batched>& results,
                      const std::vector<ManualSpec>& specs, const std::vector<ManualAxis>& axes,
                      const std::vector<std::string>& names);
  std::optional<std::int64_t> manual_extra(const Ast& ast, std::string_view key);
  // What `dim` or `shift` makes of the type of a collective over n shards; reports.
  bool resize(const Ast& ast, std::int64_t extra, std::int64_t n, Type& type, Attrs& attrs);
  Values manual_collective(Frame& frame, const Ast& ast, const std::vector<std::string>& names,
                           const std::string& base);

  Reporter& reporter_;
  const Dims& dims_;
  const Blocks& blocks_;
  Scope& scope_;
  std::int64_t& bytes_;
  const Bindings* top_names_ = nullptr;
  std::set<const Block*> seen_;                      // blocks that have been read; looked up, never walked
  std::vector<Span> used_at_;                        // the uses of blocks that lead here
  const std::vector<ManualAxis>* manual_ = nullptr;  // of the region that is being read
  bool unused_ = false;                              // blocks that nothing uses are being read
  int steps_ = 0;
  int depth_ = 0;
  bool stopped_ = false;
};

}  // namespace shardc::frontend
