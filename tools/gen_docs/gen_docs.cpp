// gen_docs: prints docs/ops.md, written from the op table.
//
//   build/gen_docs > docs/ops.md
#include <iostream>

#include "ir/op_reference.h"

int main() {
  std::cout << shardc::op_reference();
  return std::cout.good() ? 0 : 1;
}
