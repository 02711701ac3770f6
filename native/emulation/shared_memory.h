// A block's shared memory and what is known of each of its words.
#pragma once
#include "machine.h"

namespace emulation {
/// Poisons it all: NaN in every format, nothing initialised.
void reset_shared(Machine& m);
/// The bytes at a shared address, after checking bounds and alignment (`alignment` bytes, a power of two).
u8* shared_bytes(Machine& m, u32 address, u32 bytes, u32 alignment, Where where);
/// Checks a read by `who`, a thread of warp w or WHOLE_WARP, and remembers it.
void note_read(Machine& m, u32 address, u32 bytes, u32 w, u16 who, Where where);
/// Checks a write by a thread and remembers it; pending: by a copy that is now under way (its bytes must not be touched until settle_copy).
void note_write(Machine& m, u32 address, u32 bytes, u32 thread, bool pending, Where where);
/// A copy under way has arrived; writer is a thread, or 32 * agent + anything, at that agent's clock.
void settle_copy(Machine& m, u32 address, u32 bytes, u32 writer, u32 clock, u32 epoch);
/// Asynchronous reads (wgmma, bulk stores) begin (+1) or end (-1): meanwhile any write is an error.
void count_asynchronous_reads(Machine& m, u32 address, u32 bytes, int change);
/// Adds to the statistics the bank conflicts of what this warp's lanes logged since its last rendezvous, and forgets it.
void count_shared_conflicts(Machine& m, u32 w);
}  // namespace emulation
