// CUDA devices: what torch.cuda needs, and the allocator's account of its memory. No header of CUDA's is needed: a libtorch
// without CUDA builds this file too, and says that there is no device.
#include "bridge.h"

#include <torch/csrc/api/include/torch/cuda.h>
#if __has_include(<c10/core/CachingDeviceAllocator.h>)
#include <c10/core/CachingDeviceAllocator.h>
#endif

using bridge::Live;

namespace {

// Whether this libtorch lets one ask a device's allocator for its statistics (2.9 and later). Looked up by argument, so
// that an older one compiles.
template <typename Type>
concept AccountsForMemory = requires(Type type) {
  getDeviceAllocator(type)->getDeviceStats(0);
  getDeviceAllocator(type)->resetPeakStats(0);
};

template <typename Type>
void statistics(Type type, int64_t device, int64_t* allocated, int64_t* peak) {
  if constexpr (AccountsForMemory<Type>) {
    const auto all = getDeviceAllocator(type)->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    *allocated = all.allocated_bytes[0].current;
    *peak = all.allocated_bytes[0].peak;
  } else {
    TORCH_CHECK(false, "this libtorch does not tell what its CUDA allocator holds");
  }
}

template <typename Type>
void reset_peak(Type type, int64_t device) {
  if constexpr (AccountsForMemory<Type>) {
    getDeviceAllocator(type)->resetPeakStats(static_cast<c10::DeviceIndex>(device));
  } else {
    TORCH_CHECK(false, "this libtorch does not tell what its CUDA allocator holds");
  }
}

} // namespace

BRIDGE_EXPORT(TorchBridge_cudaDevices, (Live<int64_t> count), { *count = static_cast<int64_t>(torch::cuda::device_count()); })

BRIDGE_EXPORT(TorchBridge_hasCudnn, (Live<int64_t> available), { *available = torch::cuda::cudnn_is_available(); })

BRIDGE_EXPORT(TorchBridge_cudaSynchronize, (int64_t device), { torch::cuda::synchronize(device); })

BRIDGE_EXPORT(TorchBridge_cudaSeed, (int64_t all, uint64_t seed), {
  all != 0 ? torch::cuda::manual_seed_all(seed) : torch::cuda::manual_seed(seed);
})

// Bytes of tensors now, and the most since the last reset.
BRIDGE_EXPORT(TorchBridge_cudaMemory, (int64_t device, Live<int64_t> allocated, Live<int64_t> peak), {
  statistics(c10::DeviceType::CUDA, device, allocated.get(), peak.get());
})

BRIDGE_EXPORT(TorchBridge_cudaResetPeak, (int64_t device), { reset_peak(c10::DeviceType::CUDA, device); })
