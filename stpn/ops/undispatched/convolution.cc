#include "stpn/ops/undispatched/convolution.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/profile.h"
#include "stpn/ops/call_node.h"
#include "stpn/ops/runtime/backend.h"
#include "stpn/ops/runtime/saved_buffer.h"
#include "stpn/ops/runtime/threads.h"
#include "stpn/ops/typed_op.h"

namespace stpn::ops {
namespace {

std::string text_of(const at::Tensor& tensor) {
  return tensor.defined() ? fmt::format("{} of {}", c10::str(tensor.sizes()),
                                        c10::toString(tensor.scalar_type()))
                          : "undefined";
}

void check_convolution_parameters(const kernels::ConvolutionNetwork& network,
                                  const std::vector<ConvolutionTensors>& parameters) {
  STPN_CHECK(parameters.size() == network.layers.size(),
             "convolution: there are {} layers, but parameters of {}", network.layers.size(),
             parameters.size());
  const at::ScalarType type =
      parameters[0].weight.defined() ? parameters[0].weight.scalar_type() : at::kFloat;
  STPN_CHECK(type == at::kFloat || type == at::kDouble,
             "convolution: parameters are of {}, want Float or Double", c10::toString(type));
  const auto extents = kernels::extents_of(network);
  for (size_t l = 0; l < extents.size(); ++l) {
    const kernels::ConvolutionExtent& e = extents[l];
    const auto check = [&](const at::Tensor& tensor, const char* name, const Shape& shape) {
      STPN_CHECK(tensor.defined() && tensor.sizes() == at::IntArrayRef(shape) &&
                     tensor.scalar_type() == type && tensor.device().is_cpu(),
                 "convolution: {} of layer {} is {}, wants {} of {} on the CPU", name, l,
                 text_of(tensor), c10::str(at::IntArrayRef(shape)), c10::toString(type));
      STPN_CHECK(!torch::autograd::isFwGradDefined(tensor),
                 "convolution: {} of layer {} has a tangent; forward-mode differentiation is not "
                 "implemented",
                 name, l);
    };
    check(parameters[l].weight, "weight", {e.filters, e.channels, e.size, e.size});
    check(parameters[l].bias, "bias", {e.filters});
  }
}

// Weight and bias of each layer in turn.
Tensors convolution_tensors(const std::vector<ConvolutionTensors>& parameters) {
  Tensors tensors;
  for (const auto& [weight, bias] : parameters) {
    tensors.push_back(weight);
    tensors.push_back(bias);
  }
  return tensors;
}

template <typename T>
std::vector<kernels::ConvolutionParameters<const T*>> pointers_of(const Tensors& dense) {
  std::vector<kernels::ConvolutionParameters<const T*>> pointers;
  for (size_t k = 0; k < dense.size(); k += 2) {
    pointers.push_back({read<T>(dense[k]), read<T>(dense[k + 1])});
  }
  return pointers;
}

// The tensors have to be contiguous and to outlive the params.
template <typename T>
kernels::ConvolutionForwardParams<T> convolution_params(const kernels::ConvolutionNetwork& network,
                                                        const at::Tensor& images,
                                                        const Tensors& dense,
                                                        const at::Tensor& features,
                                                        const at::Tensor& saved) {
  kernels::ConvolutionForwardParams<T> p;
  p.network = &network;
  p.images = images.size(0);
  p.image = read<uint8_t>(images);
  p.parameters = pointers_of<T>(dense);
  p.features = write<T>(features);
  p.saved = write<T>(saved);
  p.parallel = parallel_for_of_call();
  return p;
}

class ConvolutionNode : public torch::autograd::Node {
 public:
  // REQUIRES: images are contiguous.
  ConvolutionNode(const kernels::ConvolutionNetwork& network, const at::Tensor& images,
                  const Tensors& tensors, Backend backend)
      : torch::autograd::Node(torch::autograd::collect_next_edges(tensors)),
        network_(network),
        backend_(backend),
        images_(images, /*is_output=*/false) {
    for (const at::Tensor& tensor : tensors) tensors_.emplace_back(tensor, /*is_output=*/false);
  }

  // Makes the features differentiable.
  void attach_to(const at::Tensor& features, const at::Tensor& saved) {
    torch::autograd::set_history(features, getptr());
    features_ = torch::autograd::SavedVariable(features, /*is_output=*/true);
    saved_ = torch::autograd::SavedVariable(saved, /*is_output=*/false);
  }

  std::string name() const override { return "convolution_backward"; }

  Tensors apply(Tensors&& grads) override {
    const base::Working working(base::Work::convolution);
    const std::lock_guard lock(mutex_);
    Tensors tensors, gradients(tensors_.size());
    if (!grads[0].defined()) return gradients;
    for (const auto& saved : tensors_) tensors.push_back(saved.unpack());
    const at::Tensor features = features_.unpack(getptr());
    {
      const at::AutoDispatchBelowADInplaceOrView guard;
      const at::NoGradGuard no_grad;
      for (size_t k = 0; k < tensors.size(); ++k) {
        if (!task_should_compute_output(k)) continue;
        gradients[k] =
            at::detail::empty_cpu(tensors[k].sizes(), features.options().requires_grad(false));
      }
      const Tensors dense = contiguous_of(tensors);
      const at::Tensor grad = grads[0].contiguous();
      const at::Tensor images = images_.unpack();
      const at::Tensor saved = saved_.unpack();
      const auto run = [&](auto type) {
        using T = decltype(type);
        kernels::ConvolutionBackwardParams<T> p;
        p.forward = convolution_params<T>(network_, images, dense, features, saved);
        p.grad_features = read<T>(grad);
        for (size_t k = 0; k < gradients.size(); k += 2) {
          p.gradients.push_back({write<T>(gradients[k]), write<T>(gradients[k + 1])});
        }
        backend_ == Backend::reference ? kernels::convolution_backward_ref(p)
                                       : kernels::convolution_backward_cpu(p);
      };
      features.scalar_type() == at::kFloat ? run(float()) : run(double());
    }
    refuse_second_derivative("convolution", tensors, grads, gradients);
    return gradients;
  }

  void release_variables() override {
    const std::lock_guard lock(mutex_);
    for (torch::autograd::SavedVariable& saved : tensors_) saved.reset_data();
    images_.reset_data();
    features_.reset_data();
    saved_.reset_data();
  }

 private:
  const kernels::ConvolutionNetwork network_;
  const Backend backend_;
  std::vector<torch::autograd::SavedVariable> tensors_;
  torch::autograd::SavedVariable images_, features_, saved_;
};

}  // namespace

void check_convolution(const kernels::ConvolutionNetwork& network) {
  const kernels::ConvolutionImage& image = network.image;
  STPN_CHECK(image.channels >= 1 && image.height >= 1 && image.width >= 1,
             "convolution: the image is {} x {} x {} (channels, height, width)", image.channels,
             image.height, image.width);
  STPN_CHECK(image.unit != 0, "convolution: the unit of the image's bytes is 0");
  STPN_CHECK(!network.layers.empty(), "convolution: there is no layer");
  int64_t height = image.height;
  int64_t width = image.width;
  for (size_t l = 0; l < network.layers.size(); ++l) {
    const kernels::ConvolutionLayer& layer = network.layers[l];
    STPN_CHECK(layer.filters >= 1 && layer.size >= 1 && layer.stride >= 1,
               "convolution: layer {} has {} filters of size {} and stride {}; all must be at "
               "least 1",
               l, layer.filters, layer.size, layer.stride);
    STPN_CHECK(layer.size <= height && layer.size <= width,
               "convolution: filters of layer {} have size {}, but its input is {} x {}; take "
               "smaller filters or strides, or fewer layers",
               l, layer.size, height, width);
    height = (height - layer.size) / layer.stride + 1;
    width = (width - layer.size) / layer.stride + 1;
  }
}

at::Tensor run_convolution(const kernels::ConvolutionNetwork& network, const at::Tensor& images,
                           const std::vector<ConvolutionTensors>& parameters) {
  RECORD_FUNCTION("convolution", c10::ArrayRef<const c10::IValue>());
  const int64_t bytes = network.image.bytes();
  STPN_CHECK(images.defined() && images.dim() == 2 && images.size(1) == bytes &&
                 images.scalar_type() == at::kByte && images.device().is_cpu(),
             "convolution: images are {}, want (N, {}) of Byte on the CPU", text_of(images), bytes);
  check_convolution_parameters(network, parameters);
  const Tensors tensors = convolution_tensors(parameters);
  bool differentiable = false;
  for (const at::Tensor& tensor : tensors) differentiable |= tensor.requires_grad();
  differentiable = differentiable && at::GradMode::is_enabled();

  at::Tensor features, saved, dense_images;
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const at::NoGradGuard no_grad;
    const auto options = tensors[0].options().requires_grad(false);
    const int64_t count = images.size(0);
    features = at::detail::empty_cpu({count, kernels::features_of(network)}, options);
    dense_images = images.contiguous();
    const Tensors dense = contiguous_of(tensors);
    const auto run = [&](auto type) {
      using T = decltype(type);
      saved = saved_buffer(differentiable ? kernels::convolution_saved_size<T>(network, count) : 0,
                           options);
      const auto p = convolution_params<T>(network, dense_images, dense, features, saved);
      backend() == Backend::reference ? kernels::convolution_forward_ref(p)
                                      : kernels::convolution_forward_cpu(p);
    };
    features.scalar_type() == at::kFloat ? run(float()) : run(double());
  }
  if (differentiable) {
    c10::make_intrusive<ConvolutionNode>(network, dense_images, tensors, backend())
        ->attach_to(features, saved);
  }
  return features;
}

template <typename T>
std::unique_ptr<kernels::PreparedConvolution<T>> prepare_convolution(
    const kernels::ConvolutionNetwork& network, const std::vector<ConvolutionTensors>& parameters) {
  check_convolution_parameters(network, parameters);
  constexpr at::ScalarType kType = c10::CppTypeToScalarType<T>::value;
  STPN_CHECK(parameters[0].weight.scalar_type() == kType,
             "convolution: parameters are of {}, but features of {} were asked for",
             c10::toString(parameters[0].weight.scalar_type()), c10::toString(kType));
  const at::NoGradGuard no_grad;
  const Tensors dense = contiguous_of(convolution_tensors(parameters));
  return std::make_unique<kernels::PreparedConvolution<T>>(network, pointers_of<T>(dense),
                                                           backend() == Backend::reference);
}

template std::unique_ptr<kernels::PreparedConvolution<float>> prepare_convolution(
    const kernels::ConvolutionNetwork&, const std::vector<ConvolutionTensors>&);
template std::unique_ptr<kernels::PreparedConvolution<double>> prepare_convolution(
    const kernels::ConvolutionNetwork&, const std::vector<ConvolutionTensors>&);

}  // namespace stpn::ops
