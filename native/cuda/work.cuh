// Which part of the problem a block works on: unit number -> batch, head, tile.
#pragma once
#include "parameters.cuh"

struct WorkUnit { int tile, head, batch; };

/// The tiles of a head are neighbours: blocks that run together share its operands in L2.
DEVICE WorkUnit work_by_head(int unit, int tiles, int heads) {
  const int h = unit / tiles;
  return {unit - h * tiles, h % heads, h / heads};
}

/// Causal: tiles differ in cost, so the last blocks to start should be the cheap ones: the tiles of several heads are dealt
/// out tile by tile, and as many heads go together as L2 holds the shared operands of (`together`, of batch * heads). The
/// caller orders a head's tiles: tile 0 is dealt out first.
DEVICE WorkUnit work_by_cost(int unit, int tiles, int heads, int batch, int together) {
  const int all = heads * batch, section = unit / (tiles * together), first = section * together;
  const int here = smaller(together, all - first), left = unit - section * tiles * together;
  const int tile = left / here, h = first + left - tile * here;
  return {tile, h % heads, h / heads};
}

/// Heads whose rows (`row_bytes` for each of `rows`, shared by `group` heads) fit into the part of L2 that is counted on:
/// 24 MB of the 40 to 50 of the large chips, 3 MB of the 4 to 6 of the small ones.
DEVICE int heads_in_cache(int rows, int row_bytes, int group, int all) {
  const int budget = (K_SHARED_LIMIT > 101376 ? 24 << 20 : 3 << 20) / row_bytes;
  const int shared = larger(1, budget / larger(1, rows));
  return shared < all / group ? shared * group : all;
}

/// Element (batch, head, 0, 0) of an operand.
template <class T> DEVICE T* head_of(const View& view, int batch, int head) {
  return (T*)view.data + batch * view.batch + head * view.head;
}
