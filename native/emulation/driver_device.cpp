// The driver API: initialisation, the three emulated devices, contexts, errors.
#include <atomic>
#include <cstdio>
#include <mutex>
#include <vector>
#include "driver.h"
#include "last_error.h"

namespace emulation {
namespace {
std::atomic<bool> initialised{false};
// Few multiprocessors, so that a persistent kernel's blocks have more than one unit of work each.
CUctx_st devices[] = {{0, 80, 166912, 4, 0}, {1, 90, 232448, 3, 0}, {2, 86, 101376, 2, 0}};
constexpr int DEVICES = int(sizeof devices / sizeof devices[0]);
std::mutex lock;
thread_local std::vector<CUcontext> contexts;

CUresult check_device(CUdevice device) {
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  return device >= 0 && device < DEVICES ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

struct Error { CUresult code; const char *name, *text; };
const Error errors[] = {
  {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
  {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
  {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
  {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
  {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
  {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
  {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
  {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
  {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
  {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
  {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
  {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
  {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
  {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
};

const Error* find_error(int code) {
  for (const Error& e : errors) if (e.code == code) return &e;
  return nullptr;
}

// CUdevice_attribute; -1: not known here.
int attribute_of(const CUctx_st& device, int attribute) {
  switch (attribute) {
    case 1: return 1024;                                  // MAX_THREADS_PER_BLOCK
    case 2: case 3: return 1024;                          // MAX_BLOCK_DIM_X, Y
    case 4: return 64;                                    // MAX_BLOCK_DIM_Z
    case 5: return 0x7fffffff;                            // MAX_GRID_DIM_X
    case 6: case 7: return 65535;                         // MAX_GRID_DIM_Y, Z
    case 8: return 48 << 10;                              // MAX_SHARED_MEMORY_PER_BLOCK
    case 10: return 32;                                   // WARP_SIZE
    case 12: return 65536;                                // MAX_REGISTERS_PER_BLOCK
    case 13: return 1000000;                              // CLOCK_RATE
    case 16: return device.multiprocessors;
    case 38: return 40 << 20;                             // L2_CACHE_SIZE
    case 39: return device.architecture == 86 ? 1536 : 2048;   // MAX_THREADS_PER_MULTIPROCESSOR
    case 41: return 1;                                    // UNIFIED_ADDRESSING
    case 75: return int(device.architecture / 10);
    case 76: return int(device.architecture % 10);
    case 81: return int(device.shared_limit) + 1024;      // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
    case 82: return 65536;                                // MAX_REGISTERS_PER_MULTIPROCESSOR
    case 97: return int(device.shared_limit);             // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
    case 111: return 1024;                                // RESERVED_SHARED_MEMORY_PER_BLOCK
    default: return -1;
  }
}
}  // namespace

CUcontext current_context() { return contexts.empty() ? nullptr : contexts.back(); }

CUresult check_context() {
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  return current_context() ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult refuse(CUresult code, const std::string& why) {
  last_error = why;
  return code;
}
}  // namespace emulation

using namespace emulation;

DRIVER_API CUresult cuGetErrorName(CUresult code, const char** text) {
  const Error* e = find_error(code);
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = e ? e->name : nullptr;
  return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

DRIVER_API CUresult cuGetErrorString(CUresult code, const char** text) {
  const Error* e = find_error(code);
  if (!text) return CUDA_ERROR_INVALID_VALUE;
  *text = e ? e->text : nullptr;
  return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

DRIVER_API CUresult cuInit(unsigned flags) {
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  initialised = true;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDriverGetVersion(int* version) {
  if (!version) return CUDA_ERROR_INVALID_VALUE;
  *version = 12040;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDeviceGetCount(int* count) {
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (!count) return CUDA_ERROR_INVALID_VALUE;
  *count = DEVICES;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  if (CUresult code = check_device(ordinal)) return code;
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  if (CUresult code = check_device(device)) return code;
  if (!name || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  snprintf(name, size_t(length), "TorchFlash emulated GPU, sm_%u", devices[device].architecture);
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  if (CUresult code = check_device(device)) return code;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *bytes = size_t(16) << 30;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  if (CUresult code = check_device(device)) return code;
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  const int known = attribute_of(devices[device], attribute);
  if (known == -1) return refuse(CUDA_ERROR_INVALID_VALUE, "device attribute " + std::to_string(attribute) + " is not emulated");
  *value = known;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  if (CUresult code = check_device(device)) return code;
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(lock);
  devices[device].retained++;
  *context = &devices[device];
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (CUresult code = check_device(device)) return code;
  std::lock_guard guard(lock);
  if (devices[device].retained == 0) return CUDA_ERROR_INVALID_CONTEXT;
  devices[device].retained--;
  return CUDA_SUCCESS;
}

static CUresult check_handle(CUcontext context) {
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  std::lock_guard guard(lock);
  for (CUctx_st& d : devices) if (context == &d) return d.retained ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
  return CUDA_ERROR_INVALID_CONTEXT;
}

DRIVER_API CUresult cuCtxPushCurrent_v2(CUcontext context) {
  if (CUresult code = check_handle(context)) return code;
  contexts.push_back(context);
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuCtxPopCurrent_v2(CUcontext* context) {
  if (CUresult code = check_context()) return code;
  if (context) *context = contexts.back();
  contexts.pop_back();
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuCtxSetCurrent(CUcontext context) {
  if (context) if (CUresult code = check_handle(context)) return code;
  if (!contexts.empty()) contexts.pop_back();
  if (context) contexts.push_back(context);
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuCtxGetCurrent(CUcontext* context) {
  if (!initialised) return CUDA_ERROR_NOT_INITIALIZED;
  if (!context) return CUDA_ERROR_INVALID_VALUE;
  *context = current_context();
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuCtxGetDevice(CUdevice* device) {
  if (CUresult code = check_context()) return code;
  if (!device) return CUDA_ERROR_INVALID_VALUE;
  *device = current_context()->device;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuCtxSynchronize(void) { return check_context(); }
