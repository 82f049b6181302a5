#include "stpn/nn/input_projection.h"

#include <algorithm>
#include <cassert>
#include <type_traits>
#include <utility>

#include "stpn/base/error.h"

namespace stpn::nn {
namespace {

// A drive whose steps after the first are written later.
class LaterDrive : public torch::autograd::Function<LaterDrive> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight, const at::Tensor& bias) {
    context->save_for_backward({x});
    const at::Tensor drive = at::empty({x.size(0), x.size(1), weight.size(0)}, x.options());
    drive[0].copy_(at::linear(x[0], weight, bias));
    return drive;
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               torch::autograd::tensor_list grads) {
    const at::Tensor x = context->get_saved_variables()[0].flatten(0, 1);
    const at::Tensor d_drive = grads[0].flatten(0, 1);
    return {at::Tensor(), d_drive.t().mm(x), d_drive.sum(0)};
  }
};

template <typename T>
class ProjectedLoop : public kernels::ClosedLoop {
 public:
  ProjectedLoop(kernels::ClosedLoop& loop, at::Tensor x, const at::Tensor& weight,
                const at::Tensor& bias, at::Tensor drive)
      : loop_(loop),
        x_(std::move(x)),
        weight_(weight.detach().t().contiguous()),
        bias_(bias.detach().contiguous()),
        drive_(std::move(drive)) {}

  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override {
    answer(t, first, count, h);
  }
  void after_step(int64_t t, int64_t first, int64_t count, const double* h) override {
    answer(t, first, count, h);
  }

 private:
  template <typename U>
  void answer(int64_t t, int64_t first, int64_t count, const U* h) {
    loop_.after_step(t, first, count, h);
    if constexpr (std::is_same_v<T, U>) {
      if (t + 1 < x_.size(0)) project(t + 1, first, count);
    } else {
      assert(false);
    }
  }

  // Sums over inputs for all units side by side.
  void project(int64_t t, int64_t first, int64_t count) {
    const int64_t batch = x_.size(1), inputs = x_.size(2), hidden = drive_.size(2);
    const T* x = x_.const_data_ptr<T>() + (t * batch + first) * inputs;
    T* __restrict drive = drive_.data_ptr<T>() + (t * batch + first) * hidden;
    for (int64_t b = 0; b < count; ++b, x += inputs, drive += hidden) {
      const T* __restrict weight = weight_.const_data_ptr<T>();
      std::copy_n(bias_.const_data_ptr<T>(), hidden, drive);
      for (int64_t j = 0; j < inputs; ++j, weight += hidden) {
        for (int64_t i = 0; i < hidden; ++i) drive[i] += weight[i] * x[j];
      }
    }
  }

  kernels::ClosedLoop& loop_;
  at::Tensor x_;
  at::Tensor weight_;  // (I, H)
  at::Tensor bias_;
  at::Tensor drive_;
};

}  // namespace

InputProjection::InputProjection(const at::Tensor& x, const at::Tensor& weight,
                                 const at::Tensor& bias, kernels::ClosedLoop* loop) {
  if (loop == nullptr) {
    drive_ = at::linear(x, weight, bias);
    return;
  }
  STPN_CHECK(x.is_contiguous() && !x.requires_grad(),
             "in a closed loop x is written as it goes: wants it contiguous and without gradient");
  drive_ = LaterDrive::apply(x, weight, bias);
  const at::Tensor memory = drive_.detach();
  if (x.scalar_type() == at::kFloat) {
    loop_ = std::make_unique<ProjectedLoop<float>>(*loop, x, weight, bias, memory);
  } else {
    loop_ = std::make_unique<ProjectedLoop<double>>(*loop, x, weight, bias, memory);
  }
}

}  // namespace stpn::nn
