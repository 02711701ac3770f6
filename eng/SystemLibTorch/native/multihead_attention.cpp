// libtorch's own C++ module torch::nn::MultiheadAttention, which is what TorchSharp's is made of.
#include "bridge.h"

#include <torch/nn/modules/activation.h>

using bridge::guarded;
using bridge::to_handle;

namespace {

using Handle = std::shared_ptr<torch::nn::Module>;

torch::nn::Module& module_of(void* handle) { return **static_cast<Handle*>(handle); }

at::Tensor optional(const at::Tensor* tensor) { return tensor == nullptr ? at::Tensor() : *tensor; }

} // namespace

BRIDGE_EXPORT const char* TorchBridge_attentionNew(
    int64_t embed_dim, int64_t num_heads, double dropout, int64_t bias, int64_t add_bias_kv, int64_t add_zero_attn,
    int64_t kdim, int64_t vdim, void** module) {
  return guarded([&] {
    const auto options = torch::nn::MultiheadAttentionOptions(embed_dim, num_heads)
                             .dropout(dropout)
                             .bias(bias != 0)
                             .add_bias_kv(add_bias_kv != 0)
                             .add_zero_attn(add_zero_attn != 0)
                             .kdim(kdim)
                             .vdim(vdim);
    *module = new Handle(std::make_shared<torch::nn::MultiheadAttentionImpl>(options));
  });
}

BRIDGE_EXPORT void TorchBridge_moduleRelease(void* module) { delete static_cast<Handle*>(module); }

BRIDGE_EXPORT const char* TorchBridge_moduleTrain(void* module, int64_t on) {
  return guarded([&] { module_of(module).train(on != 0); });
}

// Converts the parameters in place: their handles stay valid. A type or device of -1 leaves it as it is.
BRIDGE_EXPORT const char* TorchBridge_moduleTo(void* module, int64_t type, int64_t device_type, int64_t device_index) {
  return guarded([&] {
    if (type >= 0) {
      module_of(module).to(static_cast<at::ScalarType>(type));
    }
    if (device_type >= 0) {
      module_of(module).to(
          c10::Device(static_cast<c10::DeviceType>(device_type), static_cast<c10::DeviceIndex>(device_index)));
    }
  });
}

// Name and handle of one parameter, in libtorch's order; null for both after the last. The name is valid until the next call.
BRIDGE_EXPORT const char* TorchBridge_moduleParameter(
    void* module, int64_t index, const char** name, at::Tensor** parameter) {
  return guarded([&] {
    static thread_local std::string last_name;
    const auto parameters = module_of(module).named_parameters();
    *name = nullptr;
    *parameter = nullptr;
    if (index < static_cast<int64_t>(parameters.size())) {
      last_name = parameters[index].key();
      *name = last_name.c_str();
      *parameter = to_handle(parameters[index].value());
    }
  });
}

// `weights` is null unless need_weights.
BRIDGE_EXPORT const char* TorchBridge_attentionForward(
    void* module, const at::Tensor* query, const at::Tensor* key, const at::Tensor* value,
    const at::Tensor* key_padding_mask, int64_t need_weights, const at::Tensor* attn_mask, at::Tensor** output,
    at::Tensor** weights) {
  return guarded([&] {
    auto result = module_of(module).as<torch::nn::MultiheadAttentionImpl>()->forward(
        *query, *key, *value, optional(key_padding_mask), need_weights != 0, optional(attn_mask));
    *output = to_handle(std::get<0>(result));
    *weights = to_handle(std::get<1>(result));
  });
}
