// Boxed calls of any operator by name through libtorch's dispatcher, tensor handles, generators and threads.
#include "bridge.h"

#include <ATen/Context.h>
#include <ATen/Generator.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/api/include/torch/version.h>

using bridge::elements;
using bridge::Live;
using bridge::Tag;
using bridge::to_device;
using bridge::to_handle;
using bridge::to_scalar_type;
using bridge::to_tensor;
using bridge::Value;

namespace {

// The optional type of this libtorch (c10's own before 2.x, the standard one later), rebound to tensors.
template <template <class> class Optional>
Optional<at::Tensor> rebind_to_tensor(const Optional<c10::IValue>&);
using OptionalTensor = decltype(rebind_to_tensor(std::declval<const c10::Argument&>().default_value()));

template <typename T>
c10::IValue to_list(const Value& value) {
  c10::List<T> list;
  for (const T& element : elements(static_cast<const T*>(value.data), value.length)) {
    list.push_back(element);
  }
  return list;
}

template <typename T>
c10::IValue to_tensor_list(const Value& value) {
  c10::List<T> list;
  for (const at::Tensor* handle : elements(static_cast<at::Tensor* const*>(value.data), value.length)) {
    list.push_back(handle == nullptr ? T{} : T{*handle});
  }
  return list;
}

c10::IValue to_ivalue(const Value& value) {
  switch (value.tag) {
    case Tag::None:
      return {};
    case Tag::Tensor:
      return to_tensor(static_cast<const at::Tensor*>(value.data));
    case Tag::Integer:
      return value.integer;
    case Tag::Real:
      return value.real;
    case Tag::Boolean:
      return value.integer != 0;
    case Tag::String: {
      const auto bytes = elements(static_cast<const char*>(value.data), value.length);
      return std::string(bytes.begin(), bytes.end());
    }
    case Tag::Device:
      return to_device(value.integer, value.length);
    case Tag::ScalarType:
      return static_cast<int64_t>(to_scalar_type(value.integer));
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
      return *Live<const at::Generator>{static_cast<const at::Generator*>(value.data)};
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
BRIDGE_EXPORT(TorchBridge_find, (Live<const char> name, Live<const char> overload, Live<const c10::OperatorHandle*> result), {
  *result = new c10::OperatorHandle(c10::Dispatcher::singleton().findSchemaOrThrow(name.get(), overload.get()));
})

// Trailing arguments left out take the schema's defaults. `results` is owned by the bridge until the next call on this
// thread; tensors in it are owned by the caller. With null `results` they are dropped (in-place operators).
BRIDGE_EXPORT(
    TorchBridge_call,
    (Live<const c10::OperatorHandle> operation, const Value* arguments, int64_t count, const Value** results,
     int64_t* result_count),
    {
      const auto& formals = operation->schema().arguments();
      TORCH_CHECK(
          count <= static_cast<int64_t>(formals.size()), operation->schema(), " takes ", formals.size(), " arguments, got ",
          count);
      torch::jit::Stack stack;
      stack.reserve(formals.size());
      for (const Value& value : elements(arguments, count)) {
        stack.push_back(to_ivalue(value));
      }
      for (size_t i = count; i < formals.size(); ++i) {
        TORCH_CHECK(formals[i].default_value(), operation->schema(), ": argument '", formals[i].name(), "' is missing");
        stack.push_back(*formals[i].default_value());
      }
      operation->callBoxed(&stack);
      if (results == nullptr) {
        return;
      }
      TORCH_CHECK(result_count != nullptr, "no place for the number of results");
      static thread_local std::vector<Value> values;
      values.clear();
      for (const c10::IValue& result : stack) {
        append(values, result);
      }
      *results = values.data();
      *result_count = static_cast<int64_t>(values.size());
    })

// Address of the first element (storage offset included); 0 for an empty tensor, as in LibTorchSharp.
BRIDGE_EXPORT_ADDRESS(THSTensor_data, (Live<const at::Tensor> tensor), {
  return tensor->numel() == 0 ? nullptr : tensor->data_ptr();
})

BRIDGE_EXPORT(TorchBridge_release, (Live<at::Tensor> tensor), {
  delete tensor.get();
  bridge::live_tensors.fetch_sub(1, std::memory_order_relaxed);
})

BRIDGE_EXPORT(TorchBridge_liveTensors, (Live<int64_t> count), { *count = bridge::live_tensors.load(std::memory_order_relaxed); })

// One number of a tensor, chosen by `property`.
BRIDGE_EXPORT(TorchBridge_read, (Live<const at::Tensor> tensor, int64_t property, Live<int64_t> value), {
  switch (property) {
    case 0: *value = tensor->dim(); return;
    case 1: *value = tensor->numel(); return;
    case 2: *value = static_cast<int64_t>(tensor->element_size()); return;
    case 3: *value = tensor->storage_offset(); return;
    case 4: *value = static_cast<int64_t>(tensor->scalar_type()); return;
    case 5: *value = static_cast<int64_t>(tensor->device().type()); return;
    case 6: *value = tensor->device().index(); return;
    case 7: *value = tensor->is_contiguous(); return;
    case 8: *value = tensor->requires_grad(); return;
    case 9: *value = tensor->is_leaf(); return;
  }
  TORCH_CHECK(false, "unknown property ", property);
})

// `sizes` and `strides` have room for `count` elements each: as many as the tensor has dimensions.
BRIDGE_EXPORT(TorchBridge_sizes, (Live<const at::Tensor> tensor, int64_t* sizes, int64_t count), {
  TORCH_CHECK(elements(sizes, count).size() == tensor->sizes().size(), "room for ", count, " sizes of ", tensor->dim());
  std::copy(tensor->sizes().begin(), tensor->sizes().end(), sizes);
})

BRIDGE_EXPORT(TorchBridge_strides, (Live<const at::Tensor> tensor, int64_t* strides, int64_t count), {
  TORCH_CHECK(elements(strides, count).size() == tensor->strides().size(), "room for ", count, " strides of ", tensor->dim());
  std::copy(tensor->strides().begin(), tensor->strides().end(), strides);
})

BRIDGE_EXPORT(TorchBridge_isGradEnabled, (Live<int64_t> enabled), { *enabled = at::GradMode::is_enabled(); })
BRIDGE_EXPORT(TorchBridge_setGradEnabled, (int64_t enabled), { at::GradMode::set_enabled(enabled != 0); })

// A constant of the library.
BRIDGE_EXPORT(TorchBridge_version, (Live<const char*> version), { *version = TORCH_VERSION; })

BRIDGE_EXPORT(TorchBridge_getThreads, (Live<int64_t> count), { *count = at::get_num_threads(); })
BRIDGE_EXPORT(TorchBridge_setThreads, (int64_t count), {
  // libtorch starts them at once, and libgomp ends the process where it cannot.
  constexpr int64_t most = 4096;
  TORCH_CHECK(count > 0 && count <= most, "expected 1 to ", most, " threads, got ", count);
  at::set_num_threads(static_cast<int>(count));
})

BRIDGE_EXPORT(TorchBridge_defaultGenerator, (Live<at::Generator*> result), {
  *result = new at::Generator(at::globalContext().defaultGenerator(c10::Device(c10::DeviceType::CPU)));
})

BRIDGE_EXPORT(TorchBridge_newGenerator, (uint64_t seed, Live<at::Generator*> result), {
  at::Generator generator = at::globalContext().defaultGenerator(c10::Device(c10::DeviceType::CPU)).clone();
  generator.set_current_seed(seed);
  *result = new at::Generator(std::move(generator));
})

BRIDGE_EXPORT(TorchBridge_releaseGenerator, (Live<at::Generator> generator), { delete generator.get(); })

BRIDGE_EXPORT(TorchBridge_seedGenerator, (Live<at::Generator> generator, uint64_t seed), {
  std::lock_guard<std::mutex> lock(generator->mutex());
  generator->set_current_seed(seed);
})

BRIDGE_EXPORT(TorchBridge_generatorSeed, (Live<at::Generator> generator, Live<uint64_t> seed), {
  *seed = generator->current_seed();
})

BRIDGE_EXPORT(TorchBridge_getGeneratorState, (Live<at::Generator> generator, Live<at::Tensor*> state), {
  std::lock_guard<std::mutex> lock(generator->mutex());
  *state = to_handle(generator->get_state());
})

BRIDGE_EXPORT(TorchBridge_setGeneratorState, (Live<at::Generator> generator, Live<const at::Tensor> state), {
  std::lock_guard<std::mutex> lock(generator->mutex());
  generator->set_state(*state);
})
