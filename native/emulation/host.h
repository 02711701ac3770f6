// What the emulation exports beyond the driver API and NVRTC, to C# and to C++ programs that run a kernel directly.
//   #include "host.h"
//   #include "kernel.cu"       // compiled as part of the program, with its K_ macros
//   ... emulation_launch(&torchflash_kernel_kernel, blocks, threads, shared_bytes, parameters)
//   g++ -std=c++20 -O1 -I native/emulation -I native/cuda -DK_...=... program.cpp libtorchflash-emulation.so -Wl,-rpath,...
#pragma once
#include <stddef.h>

namespace emulation { struct Kernel; }
extern "C" {
/// Runs a kernel; 0 where nothing was found, else emulation_last_error() tells what. parameters[i] points to the i-th parameter.
int emulation_launch(const emulation::Kernel* kernel, unsigned blocks, unsigned threads, unsigned shared_bytes, void** parameters);
/// The finding of this host thread's last failed call, with the kernel's line; "" where there was none.
const char* emulation_last_error(void);
/// "name value" lines of this host thread's last launch: mma, ldmatrix, ldmatrix_conflicts, shared_conflicts, ... (Statistics in machine.h).
const char* emulation_statistics(void);
/// Options of this host thread: seed, workers, races, conflicts_fail (ldmatrix), shared_conflicts (count those of lds and sts), steps
/// (limit). 0: done, 1: no such option.
int emulation_set_option(const char* name, long long value);
/// The compiler that this host thread's programs are compiled with; "" for the usual one (TORCHFLASH_EMULATION_CXX, else g++).
void emulation_set_compiler(const char* name);
/// Memory between guard pages, poisoned (NaN), "never written" until written by a kernel, marked initialised, or copied to (cuMemcpy).
void* emulation_allocate(size_t bytes, const char* name);
void emulation_free(void* memory);
/// Makes ordinary memory an operand; bytes count as initialised.
int emulation_register_host(void* memory, size_t bytes, int writable);
int emulation_unregister_host(void* memory);
/// These bytes count as initialised / may neither be read nor written / may not be written.
int emulation_mark_initialised(void* memory, size_t bytes);
int emulation_mark_gap(void* memory, size_t bytes);
int emulation_mark_input(void* memory, size_t bytes);
}
