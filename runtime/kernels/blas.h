// What a session settles before the first product.
#pragma once

namespace shardc::runtime {

// Products run on the calling thread only: ranks are the parallelism. The setting is the process'. Throws
// RunError if the variable SHARDC_KERNEL names no kernel (product.h).
void prepare_products();

}  // namespace shardc::runtime
