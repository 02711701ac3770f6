// What every file of the bridge shares: tensor handles, values, and errors as strings.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>

#define BRIDGE_EXPORT extern "C" __attribute__((visibility("default")))

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

inline at::Tensor* to_handle(at::Tensor tensor) {
  if (!tensor.defined()) {
    return nullptr;
  }
  live_tensors.fetch_add(1, std::memory_order_relaxed);
  return new at::Tensor(std::move(tensor));
}

inline std::vector<at::Tensor> to_vector(at::Tensor* const* handles, int64_t count) {
  std::vector<at::Tensor> tensors(count);
  for (int64_t i = 0; i < count; ++i) {
    if (handles[i] != nullptr) {
      tensors[i] = *handles[i];
    }
  }
  return tensors;
}

// The message of the last error on this thread; valid until the next one.
inline thread_local std::string last_error;

// Runs `body`; returns null, or the message of what it threw. Nothing thrown may cross into managed frames.
template <typename Body>
const char* guarded(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    last_error = error.what_without_backtrace();
  } catch (const std::exception& error) {
    last_error = error.what();
  } catch (...) {
    last_error = "unknown native exception";
  }
  return last_error.c_str();
}

} // namespace bridge
