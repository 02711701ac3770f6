// cuTensorMapEncodeTiled's rules, as the CUDA driver documents them.
#include "tensor_map.h"
#include <cstring>

namespace emulation {
namespace {
uint8_t size_of(int data_type) {
  static const uint8_t sizes[] = {1, 2, 4, 4, 8, 8, 2, 4, 8, 2};
  return data_type >= 0 && data_type < 10 ? sizes[data_type] : 0;
}
std::string check_sizes(uint32_t rank, const uint64_t* sizes, const uint64_t* strides, const uint32_t* box, const uint32_t* element_strides) {
  for (uint32_t i = 0; i < rank; i++) {
    const std::string of = " of dimension " + std::to_string(i) + " is ";
    if (sizes[i] == 0 || sizes[i] > (1ull << 32)) return "the size" + of + std::to_string(sizes[i]);
    if (box[i] == 0 || box[i] > 256) return "the box" + of + std::to_string(box[i]) + ", not 1 to 256";
    if (element_strides[i] != 1) return "the element stride" + of + std::to_string(element_strides[i]) + "; the emulation knows only 1";
    if (i + 1 < rank && (strides[i] % 16 || strides[i] >= (1ull << 40)))
      return "the stride of dimension " + std::to_string(i + 1) + " is " + std::to_string(strides[i]) + " bytes, not a multiple of 16 below 2^40";
  }
  return {};
}
}  // namespace

std::string encode_tensor_map(void* map, int data_type, uint32_t rank, void* address, const uint64_t* sizes, const uint64_t* strides,
                              const uint32_t* box, const uint32_t* element_strides, int interleave, int swizzle, int promotion, int fill) {
  const uint8_t bytes = size_of(data_type);
  if (!map || (uintptr_t)map % 64) return "the tensor map is not aligned to 64 bytes";
  if (!bytes) return "unknown data type " + std::to_string(data_type);
  if (rank < 1 || rank > 4) return "rank " + std::to_string(rank) + "; the emulation knows 1 to 4";
  if (!address || (uintptr_t)address % 16) return "the global address is not aligned to 16 bytes";
  if (interleave != 0 || fill != 0) return "the emulation knows neither interleaving nor NaN fill";
  if (swizzle < 0 || swizzle > 3 || promotion < 0 || promotion > 3) return "unknown swizzle or promotion";
  if (std::string wrong = check_sizes(rank, sizes, strides, box, element_strides); !wrong.empty()) return wrong;
  const uint32_t row = box[0] * bytes, span = 16u << swizzle;
  if (row % 16) return "the inner box has " + std::to_string(row) + " bytes, not a multiple of 16";
  if (swizzle && row > span) return "the inner box has " + std::to_string(row) + " bytes, more than the swizzle's " + std::to_string(span);
  TensorMapFields f{TENSOR_MAP_MAGIC, (uint8_t*)address, {1, 1, 1, 1}, {bytes, 0, 0, 0}, {1, 1, 1, 1}, uint16_t(span), uint8_t(rank), bytes};
  for (uint32_t i = 0; i < rank; i++) {
    f.sizes[i] = sizes[i];
    f.box[i] = box[i];
    if (i) f.strides[i] = strides[i - 1];
  }
  memset(map, 0, 128);
  memcpy(map, &f, sizeof f);
  return {};
}
}  // namespace emulation
