// What the emulation keeps in the 128 bytes of a CUtensorMap (struct TensorMap of hopper.cuh): filled by cuTensorMapEncodeTiled
// (tensor_map.cpp), which checks as the driver does, and read by the tensor copies.
#pragma once
#include "emulation.h"

namespace emulation {
constexpr u64 TENSOR_MAP_MAGIC = 0x70616d2072736e74ull;
struct TensorMapFields {
  u64 magic;
  u64 address;          // of element 0
  u64 strides[4];       // in bytes, of dimensions 1 .. rank - 1; dimension 0 is contiguous
  u32 sizes[5];         // of the tensor, innermost first
  u16 box[5];
  u8 rank;
  u8 element_bytes;
  u8 data_type;         // CUtensorMapDataType
  u8 swizzle_bytes;     // 16 (none), 32, 64 or 128
  u8 nan_fill;          // what is out of bounds reads as NaN instead of zero
  u8 reserved[11];
};
static_assert(sizeof(TensorMapFields) <= 128);
}  // namespace emulation
