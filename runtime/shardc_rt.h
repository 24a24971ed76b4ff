/* The C boundary between generated programs and the runtime.  Generated code includes this header and nothing
 * else; it is freestanding (no standard header), so that it costs the compiler nothing.
 *
 * A program is one step function and a constant description of its tensors (shardc_program).  Every rank runs
 * the same code on its own part of every tensor.
 *
 * Layout: a tensor's local buffer is row-major over its local shape.  A dimension of global size n that is
 * split over axes (major to minor) of sizes k0, k1, ... has ceil(ceil(n/k0)/k1)... places on every rank (its
 * "chunk"); places beyond the global size hold unspecified values and are never read.
 */
#ifndef SHARDC_RT_H
#define SHARDC_RT_H

#ifdef __cplusplus
extern "C" {
#endif

typedef signed char shardc_i8;
typedef int shardc_i32;
typedef long shardc_i64;
typedef unsigned long shardc_u64;
typedef unsigned short shardc_u16;

#define SHARDC_ABI 6

/* f32 bf16 f16 i32 i64 bool, as in ir/types.h */
enum shardc_dtype { SHARDC_F32, SHARDC_BF16, SHARDC_F16, SHARDC_I32, SHARDC_I64, SHARDC_BOOL };
enum shardc_combine { SHARDC_SUM, SHARDC_MAX, SHARDC_MIN };
enum shardc_role { SHARDC_INPUT, SHARDC_PARAM, SHARDC_STATE };
enum shardc_init { SHARDC_ZEROS, SHARDC_ONES, SHARDC_CONSTANT, SHARDC_NORMAL, SHARDC_UNIFORM };
enum shardc_output_role { SHARDC_RESULT, SHARDC_GRADIENT };

/* A rank's coordinate along one (part of an) axis is (rank / stride) % size. */
typedef struct shardc_axis {
  shardc_i64 stride, size;
} shardc_axis;

/* The ranks that differ only along these axes; member m has m's coordinates in mixed radix, major first. */
typedef struct shardc_group {
  int axes;
  const shardc_axis* axis;
} shardc_group;

typedef struct shardc_dim {
  shardc_i64 size; /* global */
  int axes;        /* how many axes split it */
  const shardc_axis* axis;
} shardc_dim;

typedef struct shardc_tensor {
  const char* name;
  int dtype;
  int rank;
  const shardc_dim* dim;
} shardc_tensor;

typedef struct shardc_arg {
  shardc_tensor tensor;
  int role;         /* shardc_role */
  int init;         /* shardc_init, of params and states */
  double a, b;      /* NORMAL: deviation a. CONSTANT: a. UNIFORM: [a, b) */
  shardc_i64 bound; /* integer inputs: values are in [0, bound); 0: unchecked */
} shardc_arg;

typedef struct shardc_output {
  shardc_tensor tensor;
  int role; /* shardc_output_role */
} shardc_output;

/* Instrumented regions, for profiles: what one execution does on one rank. */
typedef struct shardc_region {
  const char* name; /* "layer.h = layer_norm" */
  double flops, bytes;
} shardc_region;

/* The runtime's per-rank state; more of it follows what is public here. */
typedef struct shardc_rank {
  int profiling; /* 0: shardc_enter and shardc_leave may be skipped */
  int threads;   /* of the rank, this one included; 1 while they work */
} shardc_rank;

typedef struct shardc_program {
  int abi; /* SHARDC_ABI */
  const char* model;
  int axes; /* of the mesh, in order; the rank count is the product of the sizes */
  const char* const* axis_name;
  const shardc_i64* axis_size;
  int groups;
  const shardc_group* group;
  int args;
  const shardc_arg* arg;
  int outputs;
  const shardc_output* output;
  shardc_i64 arena_bytes; /* scratch of one rank for one step */
  int regions;
  const shardc_region* region;
  const char* loss; /* name of the output to report, or 0 */
  /* One step.  arg[i] and output[i] point to local buffers, 64-byte aligned; params and states are updated in
   * place.  `salt` mixes seed and step number for random ops. */
  void (*step)(shardc_rank* self, shardc_i64 rank, shardc_u64 salt, char* arena, void* const* arg,
               void* const* output);
} shardc_program;

/* --- what generated code calls ----------------------------------------------------------------- */

/* in-place over `count` elements of `data` */
void shardc_all_reduce(shardc_rank* self, int group, void* data, shardc_i64 count, int dtype, int combine);
/* in [outer, chunk, inner] -> out [outer, total, inner]: member m's rows land at m*chunk, those beyond
 * `total` are dropped.  in and out do not overlap; in == 0: this member's rows are in their place in out. */
void shardc_all_gather(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                       shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype);
/* in [outer, total, inner], partial -> out [outer, chunk, inner]: rows m*chunk.. of the combination; rows
 * beyond `total` are left unspecified. */
void shardc_reduce_scatter(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer,
                           shardc_i64 chunk, shardc_i64 total, shardc_i64 inner, int dtype, int combine);
/* `in` has shape in_shape[0..rank): in_shape[from] is a chunk of from_total, in_shape[to] is whole.  `out`
 * has from_total at `from` and to_chunk at `to` (member m keeps rows m*to_chunk.. of `to`). */
void shardc_all_to_all(shardc_rank* self, int group, const void* in, void* out, int rank,
                       const shardc_i64* in_shape, int from, int to, shardc_i64 from_total,
                       shardc_i64 to_chunk, int dtype);

/* `count` elements of `out` become those of `in` on rank source[rank], a member of the same group. */
void shardc_permute(shardc_rank* self, int group, const void* in, void* out, shardc_i64 count, int dtype,
                    const int* source);
/* in [outer, chunk, inner] -> out [outer, before + chunk + after, inner]: rows of the whole dimension, which
 * has `total`, from member * chunk - before on; those outside it are left unspecified.  The rows that are not
 * this rank's own come from other members, as far away as it takes. */
void shardc_halo(shardc_rank* self, int group, const void* in, void* out, shardc_i64 outer, shardc_i64 chunk,
                 shardc_i64 total, shardc_i64 inner, shardc_i64 before, shardc_i64 after, int dtype);

/* The same as those without start_, but only begun: until shardc_wait has returned for that ticket nobody
 * writes `in`, `out` or `data`, nor reads the latter two. Tickets are small numbers; all ranks begin and end
 * the same ones in the same order, each within the step, or the iteration of a loop, in which it began. */
void shardc_start_all_reduce(shardc_rank* self, int ticket, int group, void* data, shardc_i64 count,
                             int dtype, int combine);
void shardc_start_all_gather(shardc_rank* self, int ticket, int group, const void* in, void* out,
                             shardc_i64 outer, shardc_i64 chunk, shardc_i64 total, shardc_i64 inner,
                             int dtype);
void shardc_start_reduce_scatter(shardc_rank* self, int ticket, int group, const void* in, void* out,
                                 shardc_i64 outer, shardc_i64 chunk, shardc_i64 total, shardc_i64 inner,
                                 int dtype, int combine);
void shardc_start_all_to_all(shardc_rank* self, int ticket, int group, const void* in, void* out, int rank,
                             const shardc_i64* in_shape, int from, int to, shardc_i64 from_total,
                             shardc_i64 to_chunk, int dtype);
void shardc_wait(shardc_rank* self, int ticket);

/* Calls work(self, begin, end, with) for parts of [0, count) on all threads of the rank at once, and returns
 * when all have. Parts begin at multiples of `unit`. Within them `self` is the thread's own, and has only its
 * `threads` (1) and its scratch memory. */
typedef void (*shardc_work)(shardc_rank* self, shardc_i64 begin, shardc_i64 end, const void* with);
void shardc_parallel(shardc_rank* self, shardc_i64 count, shardc_i64 unit, shardc_work work,
                     const void* with);

/* A buffer [count, row]; shardc_work reads or writes its rows from begin up to end. */
typedef struct shardc_rows {
  void* data;
  shardc_i64 row;
  int dtype;
} shardc_rows;
/* All-reduces of `sums`, then shardc_parallel, of work that makes the same of the same on all members. Where
 * they share memory they divide it: `results` go to all, `sums` are unspecified then. A buffer may be both.
 */
void shardc_all_reduce_map(shardc_rank* self, int group, const shardc_rows* sums, int sum_count, int combine,
                           const shardc_rows* results, int result_count, shardc_i64 count, shardc_i64 unit,
                           shardc_work work, const void* with);

/* C[m, n] (ldc) = or += A[m, k] B[k, n], row-major; ta: A is stored [k, m]; tb: B is stored [n, k]. By all
 * threads of the rank where it is large. */
void shardc_gemm(shardc_rank* self, int ta, int tb, shardc_i64 m, shardc_i64 n, shardc_i64 k, const float* a,
                 shardc_i64 lda, const float* b, shardc_i64 ldb, int accumulate, float* c, shardc_i64 ldc);

/* The same of 16-bit floats, of `dtype` (bf16 or f16), summed up in f32: C is of that type too, or f32. */
void shardc_gemm_narrow(shardc_rank* self, int dtype, int ta, int tb, shardc_i64 m, shardc_i64 n,
                        shardc_i64 k, const void* a, shardc_i64 lda, const void* b, shardc_i64 ldb,
                        int c_dtype, void* c, shardc_i64 ldc);

/* Memory of at least `bytes`, 64-byte aligned, for what a kernel copies while it works; the same piece for
 * all kernels of a thread. */
void* shardc_scratch(shardc_rank* self, shardc_i64 bytes);

/* indices [outer, count, inner]: of each of the lines x[o, :, i] of `size` elements (f32, i32 or i64), the
 * places of the `count` first in ascending or descending order; equal ones in order of place, NaN last. */
void shardc_sort_indices(const void* x, int dtype, shardc_i64 outer, shardc_i64 size, shardc_i64 inner,
                         int descending, shardc_i64 count, shardc_i32* indices);

/* Called around each region. They record profiles where self->profiling is not 0; leaving also gives what is
 * begun and not waited for a chance to go on. Otherwise the calls are cheap. */
void shardc_enter(shardc_rank* self, int region);
void shardc_leave(shardc_rank* self, int region);

/* --- what a compiled executable's main is ------------------------------------------------------------------
 * Parses the command line, runs, reports.  Exit status: 0 done; 2 bad usage or input; 3 a rank failed or an
 * internal error. */
int shardc_main(int argc, char** argv, const shardc_program* program);

#ifdef __cplusplus
}
#endif
#endif
