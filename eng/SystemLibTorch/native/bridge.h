// What every file of the bridge shares: the one form of an export, handles, values, and errors as strings.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

// The only way to define an export: BRIDGE_EXPORT(name, (parameters), { body }). It returns null, or the message of what
// the body threw; a handle or result that must be there is a `Live` parameter. So no export lets an exception into managed
// frames, and none reads through a null pointer.
#define BRIDGE_EXPORT(name, parameters, ...)                                                    \
  extern "C" __attribute__((visibility("default"))) const char* name parameters noexcept {      \
    return ::bridge::guarded([&] __VA_ARGS__);                                                  \
  }

// The same for an export that returns an address: null where the body throws.
#define BRIDGE_EXPORT_ADDRESS(name, parameters, ...)                                            \
  extern "C" __attribute__((visibility("default"))) void* name parameters noexcept {            \
    void* address = nullptr;                                                                    \
    ::bridge::guarded([&] { address = [&]() -> void* __VA_ARGS__(); });                         \
    return address;                                                                             \
  }

namespace bridge {

// One argument or result of a boxed call. Lists point to `length` elements owned by the caller.
enum class Tag : int64_t {
  None = 0,
  Tensor = 1, // null: an undefined tensor
  Integer = 2,
  Real = 3,
  Boolean = 4,
  String = 5,
  Device = 6, // integer = type, length = index
  IntegerList = 7,
  RealList = 8,
  TensorList = 9,
  OptionalTensorList = 10,
  Generator = 11,
  BooleanList = 12, // one byte each
  ScalarType = 13,
};

struct Value {
  Tag tag;
  union {
    int64_t integer;
    double real;
    const void* data;
  };
  int64_t length;
};

// Tensors the managed side holds; tests watch it return to where it was.
inline std::atomic<int64_t> live_tensors{0};

// A pointer parameter that must not be null. Trivial and one pointer wide: the ABI passes the pointer itself.
template <typename T>
struct Live {
  T* pointer;
  T* get() const {
    TORCH_CHECK(pointer != nullptr, "null handle");
    return pointer;
  }
  std::add_lvalue_reference_t<T> operator*() const { return *get(); }
  T* operator->() const { return get(); }
};

// An array parameter.
template <typename T>
at::ArrayRef<T> elements(const T* first, int64_t count) {
  TORCH_CHECK(count >= 0 && (first != nullptr || count == 0), "an array of ", count, " elements at ", static_cast<const void*>(first));
  return at::ArrayRef<T>(first, static_cast<size_t>(count));
}

// libtorch looks these two up in tables without a check.
inline at::ScalarType to_scalar_type(int64_t type) {
  TORCH_CHECK(
      type >= 0 && type < c10::NumScalarTypes && type != static_cast<int64_t>(at::ScalarType::Undefined), type,
      " is not an element type");
  return static_cast<at::ScalarType>(type);
}

inline c10::Device to_device(int64_t type, int64_t index) {
  TORCH_CHECK(type >= 0 && type < c10::COMPILE_TIME_MAX_DEVICE_TYPES, type, " is not a device type");
  TORCH_CHECK(index >= -1 && index <= INT8_MAX, index, " is not a device index");
  return {static_cast<c10::DeviceType>(type), static_cast<c10::DeviceIndex>(index)};
}

inline at::Tensor* to_handle(at::Tensor tensor) {
  if (!tensor.defined()) {
    return nullptr;
  }
  live_tensors.fetch_add(1, std::memory_order_relaxed);
  return new at::Tensor(std::move(tensor));
}

inline at::Tensor to_tensor(const at::Tensor* handle) { return handle == nullptr ? at::Tensor() : *handle; }

inline std::vector<at::Tensor> to_vector(at::Tensor* const* handles, int64_t count) {
  std::vector<at::Tensor> tensors;
  for (const at::Tensor* handle : elements(handles, count)) {
    tensors.push_back(to_tensor(handle));
  }
  return tensors;
}

// The message of the last error on this thread; valid until the next one.
inline thread_local std::string last_error;

// Runs `body`; returns null, or the message of what it threw. Nothing thrown may cross into managed frames.
template <typename Body>
const char* guarded(Body&& body) noexcept {
  try {
    try {
      body();
      return nullptr;
    } catch (const c10::Error& error) {
      last_error = error.what_without_backtrace();
    } catch (const std::exception& error) {
      last_error = error.what();
    }
    return last_error.c_str();
  } catch (...) {
    return "unknown native exception";
  }
}

} // namespace bridge
