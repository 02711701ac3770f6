// The order in which the blocks of a persistent grid take units of work (a tile of rows of one head).
#pragma once
#include "device.cuh"

/// A unit of work is the rank-th tile of the pair-th (batch, head), numbered b * heads + h; rank 0 has the most work.
/// Units are taken tile by tile over a section of the heads, then over the next section: the blocks at work at one time
/// then read few heads' keys, near the same place, from L2. A section is what fits L2, or as many heads as still share
/// each K and V tile among some blocks.
/// UNEVEN (causal): units of a section go from heavy to light and the blocks take them to and fro, so that the first in
/// one round is the last in the next, and start from the other end in every other section. Each block's sum of work
/// then comes out nearly equal without a counter in memory.
template <bool UNEVEN> struct WorkOrder {
  int section;                          // heads of a section
  int first = 0, round = 0, turn = 0;   // of the section being worked on; for even units `round` counts over all

  /// pairs: heads in all; bytes: what one head's streamed operands take; group: heads that share them.
  DEVICE WorkOrder(int pairs, i64 bytes, int group) {
    constexpr i64 L2_BYTES = 32 << 20;
    const i64 fit = L2_BYTES / (bytes > 0 ? bytes : 1) * group;
    section = fit < 16 ? 16 : fit < pairs ? (int)fit : pairs;
    section = round_up(section, group);
  }

  /// The next unit of this block, of `tiles` units for each head; false when there is none.
  DEVICE bool next(int& pair, int& rank, int tiles, int pairs) {
    const int blocks = grid_size(), block = block_id();
    if constexpr (!UNEVEN) {
      const i64 at = block + (i64)round++ * blocks;
      if (at >= (i64)tiles * pairs) return false;
      const int skipped = (int)(at / ((i64)tiles * section)) * section, heads = smaller(section, pairs - skipped);
      const int within = (int)(at - (i64)skipped * tiles);
      pair = skipped + within % heads;
      rank = within / heads;
      return true;
    } else {
      for (;;) {
        if (first >= pairs) return false;
        const int heads = smaller(section, pairs - first), units = heads * tiles, begin = round * blocks;
        if (begin >= units) { first += section; round = 0; turn++; continue; }
        const int at = begin + ((round + turn) % 2 ? blocks - 1 - block : block);
        round++;
        if (at >= units) continue;
        pair = first + at % heads;
        rank = at / heads;
        return true;
      }
    }
  }
};
