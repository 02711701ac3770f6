// The driver API's types and what its parts share. The signatures are those of cuda.h, so that callers' declarations are put to the test.
#pragma once
#include <cstddef>
#include <mutex>
#include <set>
#include <string>
#include "emulation.h"

#define DRIVER_API extern "C" __attribute__((visibility("default")))

typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st* CUcontext;
typedef struct CUmod_st* CUmodule;
typedef struct CUfunc_st* CUfunction;
typedef struct CUstream_st* CUstream;
typedef struct CUevent_st* CUevent;

enum CUresult {
  CUDA_SUCCESS = 0, CUDA_ERROR_INVALID_VALUE = 1, CUDA_ERROR_OUT_OF_MEMORY = 2, CUDA_ERROR_NOT_INITIALIZED = 3, CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200, CUDA_ERROR_INVALID_CONTEXT = 201, CUDA_ERROR_NO_BINARY_FOR_GPU = 209, CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500, CUDA_ERROR_NOT_READY = 600, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701, CUDA_ERROR_LAUNCH_FAILED = 719,
  CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
};

/// A device's primary context; the only kind there is.
struct CUctx_st {
  int device;
  u32 architecture;            // 80 for sm_80
  u32 shared_limit;            // bytes of shared memory that a block may be given
  int multiprocessors;
  int retained;
};

namespace emulation {
/// The current context of this host thread; null where there is none.
CUcontext current_context();
/// CUDA_SUCCESS, or why nothing can be done now: not initialised, no context.
CUresult check_context();
/// Sets emulation_last_error() and returns the code.
CUresult refuse(CUresult code, const std::string& why);

/// The handles of one kind that are alive, so that a wrong one is an error and not a crash.
template <class T> class Handles {
 public:
  T* add(T* handle) {
    std::lock_guard guard(lock);
    return *alive.insert(handle).first;
  }
  bool remove(T* handle) {
    std::lock_guard guard(lock);
    return alive.erase(handle) != 0;
  }
  bool contains(T* handle) {
    std::lock_guard guard(lock);
    return alive.count(handle) != 0;
  }

 private:
  std::mutex lock;
  std::set<T*> alive;
};
/// Of a live stream, or of a default one (0, 1, 2).
bool is_stream(CUstream stream);
}  // namespace emulation
