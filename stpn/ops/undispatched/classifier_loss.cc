#include "stpn/ops/undispatched/classifier_loss.h"

#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstdint>

#include "stpn/base/error.h"
#include "stpn/kernels/classifier_loss/equations.h"
#include "stpn/ops/runtime/backend.h"

namespace stpn::ops {
namespace {

at::Tensor memory_like(const at::Tensor& tensor) {
  return at::detail::empty_cpu(tensor.sizes(), tensor.scalar_type());
}

void check_classifier_loss(const at::Tensor& y, const at::Tensor& weight, const at::Tensor& bias,
                           const at::Tensor& target) {
  for (const at::Tensor& tensor : {y, weight, bias}) {
    STPN_CHECK(tensor.device().is_cpu() && tensor.scalar_type() == y.scalar_type() &&
                   (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == at::kDouble),
               "classifier loss: y, weight and bias are not all Float or all Double, on the CPU");
  }
  STPN_CHECK(target.device().is_cpu() && target.scalar_type() == at::kLong && target.dim() == 1,
             "classifier loss: the target is not a vector of Long on the CPU");
  STPN_CHECK(y.dim() >= 2 && weight.dim() == 2 && bias.dim() == 1 && weight.size(1) == y.size(-1) &&
                 weight.size(1) > 0 && weight.size(0) > 0 && bias.size(0) == weight.size(0),
             "classifier loss: y is {}, the weight {} and the bias {}", c10::str(y.sizes()),
             c10::str(weight.sizes()), c10::str(bias.sizes()));
  STPN_CHECK(target.size(0) <= y.numel() / y.size(-1),
             "classifier loss: there are {} targets for y of {}", target.size(0),
             c10::str(y.sizes()));
  const int64_t answers = std::max<int64_t>(weight.size(0), 2);
  const auto* const first = target.const_data_ptr<int64_t>();
  for (int64_t n = 0; n < target.size(0); ++n) {
    STPN_CHECK(first[n] < answers, "classifier loss: a target is {}, of {} answers", first[n],
               answers);
  }
}

template <typename T>
ClassifierLoss classifier_loss_in(const at::Tensor& y, const at::Tensor& weight,
                                  const at::Tensor& bias, const at::Tensor& target, double scale) {
  ClassifierLoss result{
      .y = memory_like(y), .weight = memory_like(weight), .bias = memory_like(bias)};
  const int64_t N = target.size(0), H = weight.size(1);
  const int64_t before = y.numel() - N * H;
  T* const grad_y = result.y.data_ptr<T>();
  std::fill_n(grad_y, before, T(0));
  const kernels::ClassifierLossParams<T> p{.rows = N,
                                           .hidden = H,
                                           .classes = weight.size(0),
                                           .scale = scale,
                                           .y = y.const_data_ptr<T>() + before,
                                           .weight = weight.const_data_ptr<T>(),
                                           .bias = bias.const_data_ptr<T>(),
                                           .target = target.const_data_ptr<int64_t>(),
                                           .grad_y = grad_y + before,
                                           .grad_weight = result.weight.data_ptr<T>(),
                                           .grad_bias = result.bias.data_ptr<T>()};
  result.loss = backend() == Backend::reference ? kernels::classifier_loss_ref(p)
                                                : kernels::classifier_loss_cpu(p);
  return result;
}

}  // namespace

ClassifierLoss run_classifier_loss(const at::Tensor& y, const at::Tensor& weight,
                                   const at::Tensor& bias, const at::Tensor& target, double scale) {
  RECORD_FUNCTION("classifier_loss", c10::ArrayRef<const c10::IValue>());
  const at::AutoDispatchBelowADInplaceOrView no_graph;
  const at::Tensor dense_target = target.contiguous();
  check_classifier_loss(y, weight, bias, dense_target);
  const auto run =
      y.scalar_type() == at::kFloat ? classifier_loss_in<float> : classifier_loss_in<double>;
  return run(y.contiguous(), weight.contiguous(), bias.contiguous(), dense_target, scale);
}

}  // namespace stpn::ops
