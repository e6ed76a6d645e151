/* The C interface of LLAISYS over Kvasir's operators: a runtime for the CPU and for NVIDIA GPUs,
 * strided tensors, the operators, and a Qwen2 model built from them. LLAISYS's own test programs
 * load libllaisys.so and run on it unchanged.
 *
 * It is for tests and teaching. Operators are the plain contract forms (kernels/), each call does
 * all its work alone, and sequences are computed one at a time; what serves requests is the engine.
 *
 * Errors: a line on the standard error names the function, the argument and the value, then a C++
 * exception is thrown, which ends a program that is not C++. Memory is never touched out of bounds.
 *
 * Threads: each has its own streams and its own CPU workers. A tensor or a model may be used by one
 * thread at a time.
 */
#ifndef KVASIR_LLAISYS_H
#define KVASIR_LLAISYS_H

#include <stddef.h>
#include <stdint.h>

#define LLAISYS_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
/* Callers may pass any int: C++ must not conclude otherwise. */
#define LLAISYS_INT : int
#else
#define LLAISYS_INT
#endif

typedef enum LLAISYS_INT { LLAISYS_DEVICE_CPU = 0, LLAISYS_DEVICE_NVIDIA = 1 } llaisysDeviceType_t;

typedef enum LLAISYS_INT {
  LLAISYS_MEMCPY_H2H = 0,
  LLAISYS_MEMCPY_H2D = 1,
  LLAISYS_MEMCPY_D2H = 2,
  LLAISYS_MEMCPY_D2D = 3
} llaisysMemcpyKind_t;

typedef enum LLAISYS_INT {
  LLAISYS_DTYPE_INVALID = 0,
  LLAISYS_DTYPE_BYTE = 1,
  LLAISYS_DTYPE_BOOL = 2,
  LLAISYS_DTYPE_I8 = 3,
  LLAISYS_DTYPE_I16 = 4,
  LLAISYS_DTYPE_I32 = 5,
  LLAISYS_DTYPE_I64 = 6,
  LLAISYS_DTYPE_U8 = 7,
  LLAISYS_DTYPE_U16 = 8,
  LLAISYS_DTYPE_U32 = 9,
  LLAISYS_DTYPE_U64 = 10,
  LLAISYS_DTYPE_F8 = 11,
  LLAISYS_DTYPE_F16 = 12,
  LLAISYS_DTYPE_F32 = 13,
  LLAISYS_DTYPE_F64 = 14,
  LLAISYS_DTYPE_C16 = 15,
  LLAISYS_DTYPE_C32 = 16,
  LLAISYS_DTYPE_C64 = 17,
  LLAISYS_DTYPE_C128 = 18,
  LLAISYS_DTYPE_BF16 = 19
} llaisysDataType_t;

typedef void* llaisysStream_t;
typedef struct LlaisysTensor* llaisysTensor_t;

/* ---- runtime ---- */

/* Memory, copies and streams of one kind of device, on the calling thread's current one. The CPU
 * has one device; its streams are null, and everything is done when a call returns. */
typedef struct LlaisysRuntimeAPI {
  int (*get_device_count)(void); /* 0 also without a driver, or when built without CUDA */
  void (*set_device)(int id);
  void (*device_synchronize)(void);
  llaisysStream_t (*create_stream)(void);
  void (*destroy_stream)(llaisysStream_t stream);
  void (*stream_synchronize)(llaisysStream_t stream);
  void* (*malloc_device)(size_t num_bytes);
  void (*free_device)(void* memory);
  void* (*malloc_host)(size_t num_bytes); /* pinned, for NVIDIA */
  void (*free_host)(void* memory);
  void (*memcpy_sync)(void* dst, const void* src, size_t num_bytes, llaisysMemcpyKind_t kind);
  void (*memcpy_async)(void* dst, const void* src, size_t num_bytes, llaisysMemcpyKind_t kind,
                       llaisysStream_t stream);
} LlaisysRuntimeAPI;

LLAISYS_API const LlaisysRuntimeAPI* llaisysGetRuntimeAPI(llaisysDeviceType_t device);

/* Makes a device the calling thread's current one. */
LLAISYS_API void llaisysSetContextRuntime(llaisysDeviceType_t device, int id);

/* ---- tensors ---- */

/* Row-major, its contents undefined. `id` is the index of the device; 0 for the CPU. */
LLAISYS_API llaisysTensor_t tensorCreate(size_t* shape, size_t ndim, llaisysDataType_t dtype,
                                         llaisysDeviceType_t device, int id);
/* The memory goes with the last tensor that shares it. Null is allowed. */
LLAISYS_API void tensorDestroy(llaisysTensor_t tensor);

LLAISYS_API void* tensorGetData(llaisysTensor_t tensor); /* of the first element, on its device */
LLAISYS_API size_t tensorGetNdim(llaisysTensor_t tensor);
LLAISYS_API void tensorGetShape(llaisysTensor_t tensor, size_t* shape);
LLAISYS_API void tensorGetStrides(llaisysTensor_t tensor, ptrdiff_t* strides); /* elements */
LLAISYS_API llaisysDataType_t tensorGetDataType(llaisysTensor_t tensor);
LLAISYS_API llaisysDeviceType_t tensorGetDeviceType(llaisysTensor_t tensor);
LLAISYS_API int tensorGetDeviceId(llaisysTensor_t tensor);
LLAISYS_API uint8_t tensorIsContiguous(llaisysTensor_t tensor);
/* Prints shape, strides, type and elements to the standard output. */
LLAISYS_API void tensorDebug(llaisysTensor_t tensor);

/* Fills a tensor from host memory that holds its elements row-major. */
LLAISYS_API void tensorLoad(llaisysTensor_t tensor, const void* data);

/* The following share the tensor's memory; each result is destroyed on its own. */

/* The same elements in another shape; refused where that would need a copy. */
LLAISYS_API llaisysTensor_t tensorView(llaisysTensor_t tensor, size_t* shape, size_t ndim);
/* Dimension i of the result is dimension order[i]. */
LLAISYS_API llaisysTensor_t tensorPermute(llaisysTensor_t tensor, size_t* order);
/* Indices [start, end) of a dimension. */
LLAISYS_API llaisysTensor_t tensorSlice(llaisysTensor_t tensor, size_t dim, size_t start,
                                        size_t end);

/* ---- operators ---- */

/* All tensors of a call are on one device; types are F32, F16 or BF16, of all alike, unless said
 * otherwise. Any strides will do. What each computes stands in kernels/<operator>.h. On NVIDIA the
 * calls return before the work is done; memcpy_sync and device_synchronize wait for it. */

LLAISYS_API void llaisysAdd(llaisysTensor_t c, llaisysTensor_t a, llaisysTensor_t b);
/* max_idx: one element of I64; max_val: one of vals' type; vals: one dimension. */
LLAISYS_API void llaisysArgmax(llaisysTensor_t max_idx, llaisysTensor_t max_val,
                               llaisysTensor_t vals);
/* out [n, width], index [n] of I64, weight [rows, width]. */
LLAISYS_API void llaisysEmbedding(llaisysTensor_t out, llaisysTensor_t index,
                                  llaisysTensor_t weight);
/* out [m, n], in [m, k], weight [n, k], bias [n] or null. */
LLAISYS_API void llaisysLinear(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t weight,
                               llaisysTensor_t bias);
/* Any type, any shape of at most 8 dimensions, the same for both. */
LLAISYS_API void llaisysRearrange(llaisysTensor_t out, llaisysTensor_t in);
/* out and in [.., width], weight [width]. */
LLAISYS_API void llaisysRmsNorm(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t weight,
                                float eps);
/* out and in [tokens, heads, head_dim], pos_ids [tokens] of I64. */
LLAISYS_API void llaisysROPE(llaisysTensor_t out, llaisysTensor_t in, llaisysTensor_t pos_ids,
                             float theta);
/* attn_val [queries, heads, value_dim], q [queries, heads, head_dim], k [keys, kv_heads, head_dim],
 * v [keys, kv_heads, value_dim]. */
LLAISYS_API void llaisysSelfAttention(llaisysTensor_t attn_val, llaisysTensor_t q,
                                      llaisysTensor_t k, llaisysTensor_t v, float scale);
LLAISYS_API void llaisysSwiGLU(llaisysTensor_t out, llaisysTensor_t gate, llaisysTensor_t up);

/* ---- Qwen2 ---- */

struct LlaisysQwen2Meta {
  llaisysDataType_t dtype; /* of weights, activations and cache */
  size_t nlayer;
  size_t hs;     /* hidden size */
  size_t nh;     /* query heads, a multiple of nkvh */
  size_t nkvh;   /* key and value heads */
  size_t dh;     /* elements of a head, even */
  size_t di;     /* intermediate size of the MLP */
  size_t maxseq; /* tokens a sequence may have */
  size_t voc;    /* vocabulary size */
  float epsilon, theta;
  int64_t end_token; /* not used here: the caller decides when to stop */
};

/* A handle for each weight, shaped as in a checkpoint: nh * dh by hs for attn_q_w, and so on. The
 * model makes and owns them; fill them with tensorLoad. A handle may also be replaced by one of the
 * caller's tensors, which then has to outlive the model; the biases may be null. */
struct LlaisysQwen2Weights {
  llaisysTensor_t in_embed;
  llaisysTensor_t out_embed;
  llaisysTensor_t out_norm_w;
  /* arrays of nlayer handles */
  llaisysTensor_t* attn_norm_w;
  llaisysTensor_t* attn_q_w;
  llaisysTensor_t* attn_q_b;
  llaisysTensor_t* attn_k_w;
  llaisysTensor_t* attn_k_b;
  llaisysTensor_t* attn_v_w;
  llaisysTensor_t* attn_v_b;
  llaisysTensor_t* attn_o_w;
  llaisysTensor_t* mlp_norm_w;
  llaisysTensor_t* mlp_gate_w;
  llaisysTensor_t* mlp_up_w;
  llaisysTensor_t* mlp_down_w;
};

struct LlaisysQwen2Model;

/* `ndevice` must be 1. */
LLAISYS_API struct LlaisysQwen2Model* llaisysQwen2ModelCreate(const struct LlaisysQwen2Meta* meta,
                                                              llaisysDeviceType_t device,
                                                              int* device_ids, int ndevice);
LLAISYS_API void llaisysQwen2ModelDestroy(struct LlaisysQwen2Model* model);
LLAISYS_API struct LlaisysQwen2Weights* llaisysQwen2ModelWeights(struct LlaisysQwen2Model* model);
/* Appends tokens to the model's one sequence and returns the likeliest next token: the first call
 * gets the prompt, each later one the newest token. Keys and values persist between calls. */
LLAISYS_API int64_t llaisysQwen2ModelInfer(struct LlaisysQwen2Model* model, int64_t* token_ids,
                                           size_t ntoken);

#ifdef __cplusplus
}
#endif

#endif
