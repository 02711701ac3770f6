// Where a wgmma finds its operands in shared memory: the canonical layouts of the PTX ISA's matrix descriptors.
#pragma once
#include <cstdint>
#include <string>

namespace emulation {
/// One operand of 16-bit elements, R rows (of M or N) by k = 16, in pieces of 16 bytes (8 elements).
///   K-major:  piece (row r, k 8c ..):           r / 8 * stride + r % 8 * swizzle + 16 c;  without swizzle 16 (r % 8) + c * leading
///   MN-major: piece (rows 8r .., k), panels of p = swizzle / 16 pieces: r / p * leading + r % p * 16 + k / 8 * stride + k % 8 * swizzle;
///             without swizzle r * stride + k / 8 * leading + 16 (k % 8)
/// The swizzle is on the address: bits 4.. are xored with bits 7.. (3 bits of them for 128 bytes, 2 for 64, 1 for 32).
struct MatrixOperand {
  uint32_t start, leading, stride, swizzle;
  bool mn_major;

  MatrixOperand(uint64_t descriptor, bool mn_major)
      : start(uint32_t(descriptor & 0x3fff) << 4), leading(uint32_t(descriptor >> 16 & 0x3fff) << 4),
        stride(uint32_t(descriptor >> 32 & 0x3fff) << 4), swizzle(spans()[descriptor >> 62]), mn_major(mn_major) { }

  static const uint32_t* spans() {
    static const uint32_t s[] = {16, 128, 64, 32};
    return s;
  }
  /// What is wrong with a descriptor for `rows` rows; empty if nothing.
  static std::string check(uint64_t descriptor, bool mn_major, uint32_t rows) {
    const MatrixOperand o(descriptor, mn_major);
    const uint32_t atom = 8 * o.swizzle;
    if (descriptor & 0x3ff1c000c000c000ull) return "reserved bits are set";
    if (descriptor >> 49 & 7) return "the base offset is not 0";
    if (o.swizzle == 16) return {};
    if (o.start % atom >= o.swizzle) return "the start lies inside a pattern of 8 rows (not aligned to " + std::to_string(atom) + ")";
    if (o.stride % atom) return "the stride " + std::to_string(o.stride) + " is not a multiple of the pattern's " + std::to_string(atom);
    const uint32_t offset = o.start % o.swizzle;
    if (!mn_major) return offset + 32 > o.swizzle ? "16 elements of k run over the end of a swizzled row" : "";
    if (rows * 2 + offset > o.swizzle) {
      if (offset) return "the rows run over the end of a swizzled panel";
      if (o.leading % atom) return "the leading offset " + std::to_string(o.leading) + " is not a multiple of the pattern's " + std::to_string(atom);
    }
    return {};
  }
  /// Address of a piece: of (row, k / 8) when K-major, of (row / 8, k) when MN-major.
  uint32_t piece(uint32_t r, uint32_t k) const {
    uint32_t a = start;
    if (mn_major) {
      if (swizzle == 16) a += r * stride + k / 8 * leading + k % 8 * 16;
      else a += r / (swizzle / 16) * leading + r % (swizzle / 16) * 16 + k / 8 * stride + k % 8 * swizzle;
    } else {
      a += r / 8 * stride + r % 8 * swizzle + k * (swizzle == 16 ? leading : 16);
    }
    return a ^ ((a >> 7) % (swizzle / 16)) << 4;
  }
};
}  // namespace emulation
