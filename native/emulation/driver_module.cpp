// The driver API: modules, functions, launches, tensor maps.
#include <dlfcn.h>
#include <map>
#include <memory>
#include <vector>
#include "driver.h"
#include "global_memory.h"
#include "image.h"
#include "last_error.h"
#include "launch.h"
#include "tensor_map.h"

using emulation::Kernel;

struct CUfunc_st {
  CUmodule module;
  const Kernel* kernel;
  u32 shared_limit = 48 << 10;   // cuFuncSetAttribute raises it
};
struct CUmod_st {
  void* library;
  CUcontext context;
  std::map<std::string, std::unique_ptr<CUfunc_st>> functions;
  std::vector<void*> globals;   // registered as memory
};

namespace emulation {
namespace {
Handles<CUmod_st> modules;
Handles<CUfunc_st> functions;
std::mutex lock;   // of a module's maps

// dlopen knows libraries by name: each module gets a file of its own.
void* open_library(const std::vector<u8>& shared_object) {
  TemporaryFolder folder;
  const std::string file = folder.path() + "/module.so";
  if (folder.path().empty() || !write_file(file, shared_object.data(), shared_object.size())) return nullptr;
  return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
}
}  // namespace
}  // namespace emulation

using namespace emulation;

// ---- modules
static thread_local int capture_mode = 0;   // global, thread-local, relaxed
DRIVER_API CUresult cuThreadExchangeStreamCaptureMode(int* mode) {
  if (!mode || *mode < 0 || *mode > 2) return CUDA_ERROR_INVALID_VALUE;
  std::swap(*mode, capture_mode);
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  if (CUresult code = check_context()) return code;
  if (thread_options().capturing && capture_mode != 2) return refuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a module is loaded while a graph is captured");
  if (!module || !image) return CUDA_ERROR_INVALID_VALUE;
  Architecture architecture;
  const std::vector<u8> shared_object = open_image(image, architecture);
  if (shared_object.empty()) return refuse(CUDA_ERROR_INVALID_IMAGE, "not an image of the emulated GPU, or a damaged one");
  if (!architecture.runs_on(current_context()->architecture))
    return refuse(CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "compiled for " + std::to_string(architecture.number) + ", the device is " + std::to_string(current_context()->architecture));
  void* library = open_library(shared_object);
  if (!library) {
    const char* why = dlerror();
    return refuse(CUDA_ERROR_INVALID_IMAGE, why ? why : "the module could not be written to a temporary file");
  }
  *module = modules.add(new CUmod_st{library, current_context(), {}, {}});
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuModuleUnload(CUmodule module) {
  if (CUresult code = check_context()) return code;
  if (!modules.remove(module)) return CUDA_ERROR_INVALID_HANDLE;
  for (auto& [name, function] : module->functions) functions.remove(function.get());
  for (void* global : module->globals) remove_buffer(global);
  dlclose(module->library);
  delete module;
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  if (CUresult code = check_context()) return code;
  if (!function || !name) return CUDA_ERROR_INVALID_VALUE;
  if (!modules.contains(module)) return CUDA_ERROR_INVALID_HANDLE;
  const void* kernel = dlsym(module->library, (std::string(name) + "_kernel").c_str());
  if (!kernel) return refuse(CUDA_ERROR_NOT_FOUND, std::string("the module has no kernel ") + name);
  std::lock_guard guard(lock);
  auto& known = module->functions[name];
  if (!known) {
    known = std::make_unique<CUfunc_st>(CUfunc_st{module, (const Kernel*)kernel});
    functions.add(known.get());
  }
  *function = known.get();
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule module, const char* name) {
  if (CUresult code = check_context()) return code;
  if (!name) return CUDA_ERROR_INVALID_VALUE;
  if (!modules.contains(module)) return CUDA_ERROR_INVALID_HANDLE;
  void* symbol = dlsym(module->library, name);
  const void* size = dlsym(module->library, (std::string(name) + "_bytes").c_str());
  if (!symbol || !size) return refuse(CUDA_ERROR_NOT_FOUND, std::string("the module has no variable ") + name);
  const size_t length = *(const u32*)size;
  std::lock_guard guard(lock);
  bool known = false;
  for (void* g : module->globals) known |= g == symbol;
  if (!known) {
    add_buffer(std::make_shared<Buffer>((u8*)symbol, length, u8(READABLE | INITIALISED), name));
    module->globals.push_back(symbol);
  }
  if (address) *address = (CUdeviceptr)symbol;
  if (bytes) *bytes = length;
  return CUDA_SUCCESS;
}

// ---- functions
DRIVER_API CUresult cuFuncSetAttribute(CUfunction function, int attribute, int value) {
  constexpr int MAX_DYNAMIC_SHARED_SIZE_BYTES = 8, PREFERRED_SHARED_MEMORY_CARVEOUT = 9;
  if (CUresult code = check_context()) return code;
  if (!functions.contains(function)) return CUDA_ERROR_INVALID_HANDLE;
  if (attribute == PREFERRED_SHARED_MEMORY_CARVEOUT) return CUDA_SUCCESS;
  if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0) return CUDA_ERROR_INVALID_VALUE;
  const u32 limit = function->module->context->shared_limit;
  if (u32(value) > limit)
    return refuse(CUDA_ERROR_INVALID_VALUE, std::to_string(value) + " bytes of shared memory, the device has " + std::to_string(limit));
  function->shared_limit = u32(value);
  return CUDA_SUCCESS;
}

DRIVER_API CUresult cuFuncGetAttribute(int* value, int attribute, CUfunction function) {
  if (CUresult code = check_context()) return code;
  if (!value) return CUDA_ERROR_INVALID_VALUE;
  if (!functions.contains(function)) return CUDA_ERROR_INVALID_HANDLE;
  switch (attribute) {
    case 0: *value = int(function->kernel->threads); break;                       // MAX_THREADS_PER_BLOCK
    case 1: case 2: case 3: *value = 0; break;                                    // static shared, constant, local memory
    case 4: *value = 65536 / int(function->kernel->threads) / 8 * 8; break;       // NUM_REGS: as many as the launch bounds leave
    case 5: case 6: *value = int(function->module->context->architecture); break; // PTX_VERSION, BINARY_VERSION
    case 8: *value = int(function->shared_limit); break;
    default: return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

/// Offset and size of a parameter, to compare with what the host declares.
DRIVER_API CUresult cuFuncGetParamInfo(CUfunction function, size_t index, size_t* offset, size_t* bytes) {
  if (CUresult code = check_context()) return code;
  if (!offset) return CUDA_ERROR_INVALID_VALUE;
  if (!functions.contains(function)) return CUDA_ERROR_INVALID_HANDLE;
  const Kernel& k = *function->kernel;
  if (index >= k.parameters) return CUDA_ERROR_INVALID_VALUE;
  *offset = 0;
  for (size_t i = 0; i <= index; i++) {
    *offset = (*offset + k.alignments[i] - 1) / k.alignments[i] * k.alignments[i];
    if (i < index) *offset += k.sizes[i];
  }
  if (bytes) *bytes = k.sizes[index];
  return CUDA_SUCCESS;
}

// ---- launches: at once, with their findings
DRIVER_API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream,
                                   void** parameters, void** extra) {
  last_error.clear();
  if (CUresult code = check_context()) return code;
  if (!functions.contains(function) || !is_stream(stream)) return CUDA_ERROR_INVALID_HANDLE;
  const Kernel& k = *function->kernel;
  if (function->module->context != current_context())
    return refuse(CUDA_ERROR_INVALID_HANDLE, "the function belongs to another device than the current context");
  if (extra || (k.parameters && !parameters)) return refuse(CUDA_ERROR_INVALID_VALUE, "parameters are taken from kernelParams only");
  if (grid_y != 1 || grid_z != 1 || block_y != 1 || block_z != 1) return refuse(CUDA_ERROR_INVALID_VALUE, "grids and blocks have one dimension here");
  if (grid_x == 0 || grid_x > 0x7fffffff || block_x == 0) return refuse(CUDA_ERROR_INVALID_VALUE, "an empty or too large grid");
  if (shared_bytes > function->shared_limit)
    return refuse(CUDA_ERROR_INVALID_VALUE, std::to_string(shared_bytes) + " bytes of shared memory, the function may have "
                  + std::to_string(function->shared_limit));
  if (block_x > k.threads)
    return refuse(CUDA_ERROR_INVALID_VALUE, "a block of " + std::to_string(block_x) + " threads, the launch bounds say " + std::to_string(k.threads));
  return launch_and_remember(k, grid_x, block_x, shared_bytes, parameters) ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
}

// ---- tensor maps
DRIVER_API CUresult cuTensorMapEncodeTiled(void* map, int data_type, u32 rank, void* address, const u64* sizes, const u64* strides, const u32* box,
                                           const u32* element_strides, int interleave, int swizzle, int promotion, int fill) {
  if (CUresult code = check_context()) return code;
  if (!map || !sizes || (rank > 1 && !strides) || !box || !element_strides) return CUDA_ERROR_INVALID_VALUE;
  const std::string wrong = encode_tensor_map(map, data_type, rank, address, (const uint64_t*)sizes, (const uint64_t*)strides, box, element_strides,
                                              interleave, swizzle, promotion, fill);
  return wrong.empty() ? CUDA_SUCCESS : refuse(CUDA_ERROR_INVALID_VALUE, wrong);
}
