// libtorch's own C++ module torch::nn::MultiheadAttention, which is what TorchSharp's is made of.
#include "bridge.h"

#include <torch/nn/modules/activation.h>

using bridge::Live;
using bridge::to_handle;
using bridge::to_tensor;
using Module = std::shared_ptr<torch::nn::Module>;

BRIDGE_EXPORT(
    TorchBridge_attentionNew,
    (int64_t embed_dim, int64_t num_heads, double dropout, int64_t bias, int64_t add_bias_kv, int64_t add_zero_attn,
     int64_t kdim, int64_t vdim, Live<Module*> module),
    {
      TORCH_CHECK(embed_dim > 0 && num_heads > 0, "embed_dim and num_heads must be positive, got ", embed_dim, " and ", num_heads);
      const auto options = torch::nn::MultiheadAttentionOptions(embed_dim, num_heads)
                               .dropout(dropout)
                               .bias(bias != 0)
                               .add_bias_kv(add_bias_kv != 0)
                               .add_zero_attn(add_zero_attn != 0)
                               .kdim(kdim)
                               .vdim(vdim);
      *module = new Module(std::make_shared<torch::nn::MultiheadAttentionImpl>(options));
    })

BRIDGE_EXPORT(TorchBridge_moduleRelease, (Live<Module> module), { delete module.get(); })

BRIDGE_EXPORT(TorchBridge_moduleTrain, (Live<Module> module, int64_t on), { (*module)->train(on != 0); })

// Converts the parameters in place: their handles stay valid. A type or device of -1 leaves it as it is.
BRIDGE_EXPORT(
    TorchBridge_moduleTo, (Live<Module> module, int64_t type, int64_t device_type, int64_t device_index), {
      if (type != -1) {
        (*module)->to(bridge::to_scalar_type(type));
      }
      if (device_type != -1) {
        (*module)->to(bridge::to_device(device_type, device_index));
      }
    })

// Name and handle of one parameter, in libtorch's order; null for both after the last. The name is valid until the next call.
BRIDGE_EXPORT(
    TorchBridge_moduleParameter,
    (Live<Module> module, int64_t index, Live<const char*> name, Live<at::Tensor*> parameter), {
      static thread_local std::string last_name;
      const auto parameters = (*module)->named_parameters();
      TORCH_CHECK(index >= 0, "there is no parameter ", index);
      *name = nullptr;
      *parameter = nullptr;
      if (index < static_cast<int64_t>(parameters.size())) {
        last_name = parameters[index].key();
        *name = last_name.c_str();
        *parameter = to_handle(parameters[index].value());
      }
    })

// `weights` is null unless need_weights.
BRIDGE_EXPORT(
    TorchBridge_attentionForward,
    (Live<Module> module, Live<const at::Tensor> query, Live<const at::Tensor> key, Live<const at::Tensor> value,
     const at::Tensor* key_padding_mask, int64_t need_weights, const at::Tensor* attn_mask, Live<at::Tensor*> output,
     Live<at::Tensor*> weights),
    {
      auto* attention = (*module)->as<torch::nn::MultiheadAttentionImpl>();
      TORCH_CHECK(attention != nullptr, "not a MultiheadAttention");
      auto result = attention->forward(
          *query, *key, *value, to_tensor(key_padding_mask), need_weights != 0, to_tensor(attn_mask));
      *output = to_handle(std::get<0>(result));
      *weights = to_handle(std::get<1>(result));
    })
