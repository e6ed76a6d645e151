#include "kernels/cuda_plain.cuh"
#include "kernels/rearrange.h"

namespace kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;

// A thread copies units 1 grid apart, counted in the order of `out`'s dimensions.
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    rearrange_kernel(Unit* out, const Unit* in, const __grid_constant__ RearrangePlan plan) {
  wait_for_inputs();
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
       unit < plan.num_units; unit += step) {
    std::int64_t rest = unit;
    std::int64_t out_offset = 0;
    std::int64_t in_offset = 0;
    for (int i = plan.num_dims - 1; i >= 0; --i) {
      const std::int64_t next = rest / plan.shape[i];
      const std::int64_t index = rest - next * plan.shape[i];
      out_offset += index * plan.out_strides[i];
      in_offset += index * plan.in_strides[i];
      rest = next;
    }
    out[out_offset] = in[in_offset];
  }
}

template <typename Unit>
void launch_copy(const Rearrange& op, const RearrangePlan& plan, Stream stream) {
  const std::int64_t num_blocks = std::min<std::int64_t>(
      (plan.num_units - 1) / kThreads + 1,
      static_cast<std::int64_t>(device_traits().num_multiprocessors) * kBlocksPerMultiprocessor);
  launch(rearrange_kernel<Unit>, static_cast<unsigned>(num_blocks), kThreads, 0, stream,
         static_cast<Unit*>(op.out), static_cast<const Unit*>(op.in), plan);
}

}  // namespace

void rearrange_cuda(const Rearrange& op, Stream stream) {
  const RearrangePlan plan = plan_rearrange(op);
  if (plan.num_units == 0) return;
  switch (plan.unit_bytes) {
    case 1:
      return launch_copy<std::uint8_t>(op, plan, stream);
    case 2:
      return launch_copy<std::uint16_t>(op, plan, stream);
    case 4:
      return launch_copy<std::uint32_t>(op, plan, stream);
    case 8:
      return launch_copy<std::uint64_t>(op, plan, stream);
    default:
      return launch_copy<uint4>(op, plan, stream);
  }
}

}  // namespace kernels
