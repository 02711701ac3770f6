// The driver API: memory and streams. Everything is done at once, in the order of the calls.
#include <chrono>
#include <cstring>
#include <new>
#include "driver.h"
#include "global_memory.h"

struct CUstream_st { int device; };
struct CUevent_st { bool recorded; std::chrono::steady_clock::time_point time; };

namespace emulation {
namespace {
Handles<CUstream_st> streams;
Handles<CUevent_st> events;
}  // namespace

/// The default streams have the handles 0, 1 and 2.
bool is_stream(CUstream stream) { return (size_t)stream <= 2 || streams.contains(stream); }

// The buffer that holds all of a range of device memory, or an error.
static CUresult check_range(CUdeviceptr address, size_t bytes, const Buffer** buffer, std::shared_ptr<const MemoryMap>& memory) {
  if (CUresult code = check_context()) return code;
  memory = current_memory();
  *buffer = memory->find((const void*)address);
  if (!*buffer || bytes > size_t((*buffer)->end - (const u8*)address))
    return refuse(CUDA_ERROR_INVALID_VALUE, std::to_string(bytes) + " bytes at " + std::to_string(address) + " are not all in one allocation");
  return CUDA_SUCCESS;
}

static CUresult write_device(CUdeviceptr to, size_t bytes, const void* from, int value) {
  const Buffer* buffer;
  std::shared_ptr<const MemoryMap> memory;
  if (bytes == 0) return check_context();
  if (CUresult code = check_range(to, bytes, &buffer, memory)) return code;
  if (from) memcpy((void*)to, from, bytes);
  else memset((void*)to, value, bytes);
  change_state((void*)to, bytes, INITIALISED, 0);
  return CUDA_SUCCESS;
}

static CUresult read_device(void* to, CUdeviceptr from, size_t bytes) {
  const Buffer* buffer;
  std::shared_ptr<const MemoryMap> memory;
  if (bytes == 0) return check_context();
  if (CUresult code = check_range(from, bytes, &buffer, memory)) return code;
  memcpy(to, (const void*)from, bytes);
  return CUDA_SUCCESS;
}
}  // namespace emulation

using namespace emulation;

// ---- memory
DRIVER_API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
  if (CUresult code = check_context()) return code;
  if (!address || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  try {
    auto buffer = Buffer::allocate(bytes, "an allocation of " + std::to_string(bytes) + " bytes");
    *address = (CUdeviceptr)buffer->begin;
    add_buffer(std::move(buffer));
    return CUDA_SUCCESS;
  } catch (const std::bad_alloc&) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
}

DRIVER_API CUresult cuMemFree_v2(CUdeviceptr address) {
  if (CUresult code = check_context()) return code;
  if (address == 0) return CUDA_SUCCESS;
  return remove_buffer((void*)address) ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_VALUE, "no allocation starts at " + std::to_string(address));
}

DRIVER_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return from || bytes == 0 ? write_device(to, bytes, from, 0) : CUDA_ERROR_INVALID_VALUE;
}
DRIVER_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return to || bytes == 0 ? read_device(to, from, bytes) : CUDA_ERROR_INVALID_VALUE;
}
DRIVER_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  const Buffer* buffer;
  std::shared_ptr<const MemoryMap> memory;
  if (bytes) if (CUresult code = check_range(from, bytes, &buffer, memory)) return code;
  return write_device(to, bytes, (const void*)from, 0);
}
DRIVER_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t bytes) { return write_device(to, bytes, nullptr, value); }

static CUresult check_stream(CUstream stream) {
  if (CUresult code = check_context()) return code;
  return is_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

DRIVER_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  if (CUresult code = check_stream(stream)) return code;
  return cuMemcpyHtoD_v2(to, from, bytes);
}
DRIVER_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  if (CUresult code = check_stream(stream)) return code;
  return cuMemcpyDtoH_v2(to, from, bytes);
}
DRIVER_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  if (CUresult code = check_stream(stream)) return code;
  return cuMemcpyDtoD_v2(to, from, bytes);
}
DRIVER_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  if (CUresult code = check_stream(stream)) return code;
  return cuMemsetD8_v2(to, value, bytes);
}

// ---- streams
DRIVER_API CUresult cuStreamCreate(CUstream* stream, unsigned) {
  if (CUresult code = check_context()) return code;
  if (!stream) return CUDA_ERROR_INVALID_VALUE;
  *stream = streams.add(new CUstream_st{current_context()->device});
  return CUDA_SUCCESS;
}
DRIVER_API CUresult cuStreamDestroy_v2(CUstream stream) {
  if (CUresult code = check_context()) return code;
  if (!streams.remove(stream)) return CUDA_ERROR_INVALID_HANDLE;
  delete stream;
  return CUDA_SUCCESS;
}
DRIVER_API CUresult cuStreamSynchronize(CUstream stream) { return check_stream(stream); }
DRIVER_API CUresult cuStreamQuery(CUstream stream) { return check_stream(stream); }

// ---- events
DRIVER_API CUresult cuEventCreate(CUevent* event, unsigned) {
  if (CUresult code = check_context()) return code;
  if (!event) return CUDA_ERROR_INVALID_VALUE;
  *event = events.add(new CUevent_st{});
  return CUDA_SUCCESS;
}
DRIVER_API CUresult cuEventRecord(CUevent event, CUstream stream) {
  if (CUresult code = check_stream(stream)) return code;
  if (!events.contains(event)) return CUDA_ERROR_INVALID_HANDLE;
  event->recorded = true;
  event->time = std::chrono::steady_clock::now();
  return CUDA_SUCCESS;
}
DRIVER_API CUresult cuEventSynchronize(CUevent event) {
  if (CUresult code = check_context()) return code;
  return events.contains(event) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
DRIVER_API CUresult cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  if (CUresult code = check_context()) return code;
  if (!milliseconds) return CUDA_ERROR_INVALID_VALUE;
  if (!events.contains(start) || !events.contains(end) || !start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return CUDA_SUCCESS;
}
DRIVER_API CUresult cuEventDestroy_v2(CUevent event) {
  if (CUresult code = check_context()) return code;
  if (!events.remove(event)) return CUDA_ERROR_INVALID_HANDLE;
  delete event;
  return CUDA_SUCCESS;
}
