// Boxed calls of any operator by name through libtorch's dispatcher, tensor handles, generators and threads.
#include "bridge.h"

#include <ATen/Context.h>
#include <ATen/Generator.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/version.h>

using bridge::guarded;
using bridge::Tag;
using bridge::to_handle;
using bridge::Value;

namespace {

// The optional type of this libtorch (c10's own before 2.x, the standard one later), rebound to tensors.
template <template <class> class Optional>
Optional<at::Tensor> rebind_to_tensor(const Optional<c10::IValue>&);
using OptionalTensor = decltype(rebind_to_tensor(std::declval<const c10::Argument&>().default_value()));

template <typename T>
c10::IValue to_list(const Value& value) {
  const T* elements = static_cast<const T*>(value.data);
  c10::List<T> list;
  list.reserve(value.length);
  for (int64_t i = 0; i < value.length; ++i) {
    list.push_back(elements[i]);
  }
  return list;
}

template <typename T>
c10::IValue to_tensor_list(const Value& value) {
  const auto* handles = static_cast<at::Tensor* const*>(value.data);
  c10::List<T> list;
  list.reserve(value.length);
  for (int64_t i = 0; i < value.length; ++i) {
    list.push_back(handles[i] == nullptr ? T{} : T{*handles[i]});
  }
  return list;
}

c10::IValue to_ivalue(const Value& value) {
  switch (value.tag) {
    case Tag::None:
      return {};
    case Tag::Tensor:
      return value.data == nullptr ? at::Tensor() : *static_cast<const at::Tensor*>(value.data);
    case Tag::Integer:
      return value.integer;
    case Tag::Real:
      return value.real;
    case Tag::Boolean:
      return value.integer != 0;
    case Tag::String:
      return std::string(static_cast<const char*>(value.data), value.length);
    case Tag::Device:
      return c10::Device(
          static_cast<c10::DeviceType>(value.integer), static_cast<c10::DeviceIndex>(value.length));
    case Tag::IntegerList:
      return to_list<int64_t>(value);
    case Tag::RealList:
      return to_list<double>(value);
    case Tag::TensorList:
      return to_tensor_list<at::Tensor>(value);
    case Tag::OptionalTensorList:
      return to_tensor_list<OptionalTensor>(value);
    case Tag::BooleanList:
      return to_list<bool>(value);
    case Tag::Generator:
      return *static_cast<const at::Generator*>(value.data);
  }
  TORCH_CHECK(false, "unknown argument tag ", static_cast<int64_t>(value.tag));
}

// Results are flat: a tensor list contributes one value for each of its tensors.
void append(std::vector<Value>& values, const c10::IValue& result) {
  Value value{};
  if (result.isTensor()) {
    value.tag = Tag::Tensor;
    value.data = to_handle(result.toTensor());
  } else if (result.isTensorList()) {
    for (const at::Tensor& tensor : result.toTensorVector()) {
      append(values, tensor);
    }
    return;
  } else if (result.isInt()) {
    value.tag = Tag::Integer;
    value.integer = result.toInt();
  } else if (result.isDouble()) {
    value.tag = Tag::Real;
    value.real = result.toDouble();
  } else if (result.isBool()) {
    value.tag = Tag::Boolean;
    value.integer = result.toBool();
  } else {
    TORCH_CHECK(false, "a result of type ", result.tagKind(), " is not supported");
  }
  values.push_back(value);
}

} // namespace

// The operator `name.overload`, for TorchBridge_call. It lives as long as the process.
BRIDGE_EXPORT const char* TorchBridge_find(const char* name, const char* overload, void** result) {
  return guarded([&] {
    *result = new c10::OperatorHandle(c10::Dispatcher::singleton().findSchemaOrThrow(name, overload));
  });
}

// Trailing arguments left out take the schema's defaults. `results` is owned by the bridge until the next call on this
// thread; tensors in it are owned by the caller. With null `results` they are dropped (in-place operators).
BRIDGE_EXPORT const char* TorchBridge_call(
    const void* operation, const Value* arguments, int64_t count, const Value** results, int64_t* result_count) {
  return guarded([&] {
    const auto& handle = *static_cast<const c10::OperatorHandle*>(operation);
    const auto& formals = handle.schema().arguments();
    TORCH_CHECK(
        count <= static_cast<int64_t>(formals.size()), handle.schema(), " takes ", formals.size(), " arguments, got ", count);
    torch::jit::Stack stack;
    stack.reserve(formals.size());
    for (int64_t i = 0; i < count; ++i) {
      stack.push_back(to_ivalue(arguments[i]));
    }
    for (size_t i = count; i < formals.size(); ++i) {
      TORCH_CHECK(formals[i].default_value(), handle.schema(), ": argument '", formals[i].name(), "' is missing");
      stack.push_back(*formals[i].default_value());
    }
    handle.callBoxed(&stack);
    if (results == nullptr) {
      return;
    }
    static thread_local std::vector<Value> values;
    values.clear();
    for (const c10::IValue& result : stack) {
      append(values, result);
    }
    *results = values.data();
    *result_count = static_cast<int64_t>(values.size());
  });
}

// Address of the first element (storage offset included); 0 for an empty tensor, as in LibTorchSharp.
BRIDGE_EXPORT void* THSTensor_data(const at::Tensor* tensor) {
  void* data = nullptr;
  guarded([&] { data = tensor->numel() == 0 ? nullptr : tensor->data_ptr(); });
  return data;
}

BRIDGE_EXPORT void TorchBridge_release(at::Tensor* tensor) {
  bridge::live_tensors.fetch_sub(1, std::memory_order_relaxed);
  delete tensor;
}

BRIDGE_EXPORT int64_t TorchBridge_liveTensors() {
  return bridge::live_tensors.load(std::memory_order_relaxed);
}

BRIDGE_EXPORT int64_t TorchBridge_dim(const at::Tensor* tensor) { return tensor->dim(); }
BRIDGE_EXPORT int64_t TorchBridge_numel(const at::Tensor* tensor) { return tensor->numel(); }
BRIDGE_EXPORT int64_t TorchBridge_elementSize(const at::Tensor* tensor) { return tensor->element_size(); }
BRIDGE_EXPORT int64_t TorchBridge_storageOffset(const at::Tensor* tensor) { return tensor->storage_offset(); }
BRIDGE_EXPORT int64_t TorchBridge_scalarType(const at::Tensor* tensor) { return static_cast<int64_t>(tensor->scalar_type()); }
BRIDGE_EXPORT int64_t TorchBridge_deviceType(const at::Tensor* tensor) { return static_cast<int64_t>(tensor->device().type()); }
BRIDGE_EXPORT int64_t TorchBridge_deviceIndex(const at::Tensor* tensor) { return tensor->device().index(); }
BRIDGE_EXPORT int64_t TorchBridge_isContiguous(const at::Tensor* tensor) { return tensor->is_contiguous(); }

// `sizes` and `strides` have room for dim() elements each.
BRIDGE_EXPORT void TorchBridge_sizes(const at::Tensor* tensor, int64_t* sizes) {
  std::copy(tensor->sizes().begin(), tensor->sizes().end(), sizes);
}

BRIDGE_EXPORT const char* TorchBridge_strides(const at::Tensor* tensor, int64_t* strides) {
  return guarded([&] { std::copy(tensor->strides().begin(), tensor->strides().end(), strides); });
}

BRIDGE_EXPORT int64_t TorchBridge_isGradEnabled() { return at::GradMode::is_enabled(); }
BRIDGE_EXPORT void TorchBridge_setGradEnabled(int64_t enabled) { at::GradMode::set_enabled(enabled != 0); }

BRIDGE_EXPORT const char* TorchBridge_version() { return TORCH_VERSION; }

BRIDGE_EXPORT int64_t TorchBridge_getThreads() { return at::get_num_threads(); }
BRIDGE_EXPORT const char* TorchBridge_setThreads(int64_t count) {
  return guarded([&] { at::set_num_threads(static_cast<int>(count)); });
}

BRIDGE_EXPORT const char* TorchBridge_defaultGenerator(void** result) {
  return guarded([&] {
    *result = new at::Generator(at::globalContext().defaultGenerator(c10::Device(c10::DeviceType::CPU)));
  });
}

BRIDGE_EXPORT const char* TorchBridge_newGenerator(uint64_t seed, void** result) {
  return guarded([&] {
    at::Generator generator = at::globalContext().defaultGenerator(c10::Device(c10::DeviceType::CPU)).clone();
    generator.set_current_seed(seed);
    *result = new at::Generator(std::move(generator));
  });
}

BRIDGE_EXPORT void TorchBridge_releaseGenerator(at::Generator* generator) { delete generator; }

BRIDGE_EXPORT const char* TorchBridge_seedGenerator(at::Generator* generator, uint64_t seed) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_current_seed(seed);
  });
}

BRIDGE_EXPORT const char* TorchBridge_generatorSeed(at::Generator* generator, uint64_t* seed) {
  return guarded([&] { *seed = generator->current_seed(); });
}

BRIDGE_EXPORT const char* TorchBridge_getGeneratorState(at::Generator* generator, at::Tensor** state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    *state = to_handle(generator->get_state());
  });
}

BRIDGE_EXPORT const char* TorchBridge_setGeneratorState(at::Generator* generator, const at::Tensor* state) {
  return guarded([&] {
    std::lock_guard<std::mutex> lock(generator->mutex());
    generator->set_state(*state);
  });
}
