// Autograd: gradients of tensors, running the engine, and functions whose forward and backward are managed code.
#include "bridge.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/variable.h>

using bridge::elements;
using bridge::Live;
using bridge::to_handle;
using bridge::to_tensor;
using bridge::to_vector;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// What a managed forward or backward hands back: tensors, or the message of the exception it ended with.
struct Outcome {
  variable_list tensors;
  std::string error;
  bool failed = false;
};

struct Callbacks {
  void (*forward)(void* state, AutogradContext* context, Outcome* outcome);
  // Owns the handles in `gradients`; null where a gradient is undefined.
  void (*backward)(void* state, AutogradContext* context, at::Tensor* const* gradients, int64_t count, Outcome* outcome);
  void (*release)(void* state);
};

Callbacks callbacks{};
std::atomic<int64_t> live_states{0};

// The managed half of one application. The graph node owns it through its context: when the node dies, `release` lets
// the garbage collector have the managed object.
struct ManagedState : torch::CustomClassHolder {
  explicit ManagedState(void* state) : state(state) { live_states.fetch_add(1, std::memory_order_relaxed); }
  ~ManagedState() override {
    live_states.fetch_sub(1, std::memory_order_relaxed);
    callbacks.release(state);
  }
  void* state;
};

constexpr const char* state_key = "managed";

variable_list take(Outcome& outcome) {
  if (outcome.failed) {
    throw std::runtime_error(outcome.error);
  }
  return std::move(outcome.tensors);
}

struct ManagedFunction : torch::autograd::Function<ManagedFunction> {
  static variable_list forward(AutogradContext* context, at::TensorList, c10::intrusive_ptr<ManagedState> managed) {
    void* state = managed->state;
    context->saved_data[state_key] = c10::IValue::make_capsule(std::move(managed));
    context->set_materialize_grads(false); // managed code does it, as in TorchSharp
    Outcome outcome;
    callbacks.forward(state, context, &outcome);
    return take(outcome);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    std::vector<at::Tensor*> handles;
    handles.reserve(gradients.size());
    for (at::Tensor& gradient : gradients) {
      handles.push_back(to_handle(std::move(gradient)));
    }
    const auto capsule = context->saved_data[state_key].toCapsule();
    void* state = static_cast<ManagedState*>(capsule.get())->state;
    Outcome outcome;
    callbacks.backward(state, context, handles.data(), static_cast<int64_t>(handles.size()), &outcome);
    variable_list result = take(outcome);
    result.emplace_back(); // the state takes no gradient
    return result;
  }
};

} // namespace

// TorchSharp's node frees nothing after backward: what was saved lives as long as the output, and a second backward runs.
template <>
void torch::autograd::CppNode<ManagedFunction>::release_variables() {}

BRIDGE_EXPORT(TorchBridge_setCallbacks, (Live<const Callbacks> managed), {
  TORCH_CHECK(managed->forward && managed->backward && managed->release, "null callback");
  callbacks = *managed;
})

BRIDGE_EXPORT(TorchBridge_liveFunctions, (Live<int64_t> count), { *count = live_states.load(std::memory_order_relaxed); })

BRIDGE_EXPORT(TorchBridge_emit, (Live<Outcome> outcome, const at::Tensor* tensor), {
  outcome->tensors.push_back(to_tensor(tensor));
})

BRIDGE_EXPORT(TorchBridge_fail, (Live<Outcome> outcome, Live<const char> message), {
  outcome->failed = true;
  outcome->error = message.get();
})

// Applies a managed function to `inputs`. `state` is released when the node dies, also when this call fails.
// `outputs` has room for `capacity` handles.
BRIDGE_EXPORT(
    TorchBridge_apply,
    (Live<void> state, at::Tensor* const* inputs, int64_t count, at::Tensor** outputs, int64_t capacity,
     Live<int64_t> output_count),
    {
      TORCH_CHECK(callbacks.forward != nullptr, "no callbacks");
      auto managed = c10::make_intrusive<ManagedState>(state.get());
      const auto tensors = to_vector(inputs, count);
      variable_list results = ManagedFunction::apply(at::TensorList(tensors), std::move(managed));
      const int64_t produced = static_cast<int64_t>(results.size());
      TORCH_CHECK(
          produced <= static_cast<int64_t>(elements(outputs, capacity).size()), "a function may return at most ", capacity,
          " tensors, got ", produced);
      for (size_t i = 0; i < results.size(); ++i) {
        outputs[i] = to_handle(std::move(results[i]));
      }
      *output_count = produced;
    })

BRIDGE_EXPORT(TorchBridge_contextSave, (Live<AutogradContext> context, at::Tensor* const* tensors, int64_t count), {
  context->save_for_backward(to_vector(tensors, count));
})

BRIDGE_EXPORT(TorchBridge_contextSavedCount, (Live<const AutogradContext> context, Live<int64_t> count), {
  *count = static_cast<int64_t>(context->get_saved_variables().size());
})

// `tensors` has room for `count` handles: as many as were saved.
BRIDGE_EXPORT(TorchBridge_contextSaved, (Live<const AutogradContext> context, at::Tensor** tensors, int64_t count), {
  auto saved = context->get_saved_variables();
  TORCH_CHECK(elements(tensors, count).size() == saved.size(), "room for ", count, " saved tensors of ", saved.size());
  for (at::Tensor& tensor : saved) {
    *tensors++ = to_handle(std::move(tensor));
  }
})

BRIDGE_EXPORT(TorchBridge_contextMarkDirty, (Live<AutogradContext> context, at::Tensor* const* tensors, int64_t count), {
  context->mark_dirty(to_vector(tensors, count));
})

BRIDGE_EXPORT(
    TorchBridge_contextMarkNonDifferentiable, (Live<AutogradContext> context, at::Tensor* const* tensors, int64_t count),
    { context->mark_non_differentiable(to_vector(tensors, count)); })

BRIDGE_EXPORT(TorchBridge_setRequiresGrad, (Live<at::Tensor> tensor, int64_t value), { tensor->set_requires_grad(value != 0); })

BRIDGE_EXPORT(TorchBridge_grad, (Live<const at::Tensor> tensor, Live<at::Tensor*> gradient), {
  *gradient = to_handle(tensor->grad());
})

BRIDGE_EXPORT(TorchBridge_setGrad, (Live<at::Tensor> tensor, const at::Tensor* gradient), {
  tensor->mutable_grad() = to_tensor(gradient);
})

BRIDGE_EXPORT(
    TorchBridge_backward,
    (at::Tensor* const* tensors, int64_t count, at::Tensor* const* gradients, int64_t gradient_count, int64_t retain_graph,
     int64_t create_graph, at::Tensor* const* inputs, int64_t input_count),
    {
      torch::autograd::backward(
          to_vector(tensors, count), to_vector(gradients, gradient_count), retain_graph != 0, create_graph != 0,
          to_vector(inputs, input_count));
    })

// `results` has room for one handle for each input.
BRIDGE_EXPORT(
    TorchBridge_gradients,
    (at::Tensor* const* outputs, int64_t count, at::Tensor* const* inputs, int64_t input_count, at::Tensor* const* gradients,
     int64_t gradient_count, int64_t retain_graph, int64_t create_graph, int64_t allow_unused, at::Tensor** results),
    {
      variable_list tensors = torch::autograd::grad(
          to_vector(outputs, count), to_vector(inputs, input_count), to_vector(gradients, gradient_count), retain_graph != 0,
          create_graph != 0, allow_unused != 0);
      TORCH_CHECK(elements(results, input_count).size() == tensors.size(), "room for ", input_count, " gradients");
      for (at::Tensor& tensor : tensors) {
        *results++ = to_handle(std::move(tensor));
      }
    })
