// What the emulation keeps in the 128 bytes of a CUtensorMap (struct TensorMap of hopper.cuh).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace emulation {
struct TensorMapFields {
  uint64_t magic;
  uint8_t* address;       // of element 0
  uint64_t sizes[4];      // in elements, innermost first
  uint64_t strides[4];    // in bytes; strides[0] is an element
  uint32_t box[4];
  uint16_t swizzle_bytes; // 16 (none), 32, 64 or 128
  uint8_t rank, element_bytes;
};
static_assert(sizeof(TensorMapFields) <= 128);
constexpr uint64_t TENSOR_MAP_MAGIC = 0x70616d726f736e74;

/// cuTensorMapEncodeTiled for ranks up to 4, with its rules. Returns what is wrong, or an empty text. The codes are those of cuda.h:
/// data_type UINT8 0, UINT16 1, UINT32 2, INT32 3, UINT64 4, INT64 5, FLOAT16 6, FLOAT32 7, FLOAT64 8, BFLOAT16 9;
/// swizzle NONE 0, 32B 1, 64B 2, 128B 3.
std::string encode_tensor_map(void* map, int data_type, uint32_t rank, void* address, const uint64_t* sizes, const uint64_t* strides,
                              const uint32_t* box, const uint32_t* element_strides, int interleave, int swizzle, int promotion, int fill);
}  // namespace emulation
