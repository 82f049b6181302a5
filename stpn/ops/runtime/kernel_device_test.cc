#include "stpn/ops/runtime/kernel_device.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstring>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/ops/units/stpn.h"

namespace stpn::ops::kernel_device_test {
namespace {

constexpr int64_t kBatch = 3, kInputs = 4, kHidden = 5;

// Answers each step with inputs that depend on its outputs.
class Echo : public kernels::ClosedLoop {
 public:
  explicit Echo(torch::Tensor x) : x_(std::move(x)) {}
  void after_step(int64_t t, int64_t first, int64_t count, const float* h) override {
    if (t + 1 == x_.size(0)) return;
    for (int64_t b = 0; b < count; ++b) {
      x_[t + 1][first + b].fill_(0.5 + h[b * kHidden]);
    }
  }
  void after_step(int64_t, int64_t, int64_t, const double*) override { FAIL(); }

 private:
  torch::Tensor x_;
};

StpnCall call_of(int64_t steps, bool differentiable) {
  torch::manual_seed(1);
  StpnCall call;
  call.variant.recurrent = true;
  call.variant.norm = kernels::Norm::pre;
  call.x = torch::rand({steps, kBatch, kInputs});
  call.h = torch::zeros({kBatch, kHidden});
  call.F = torch::zeros({kBatch, kHidden, kInputs + kHidden});
  call.weight = torch::rand({kHidden, kInputs + kHidden}) - 0.5;
  call.weight_lambda = torch::rand({kHidden, kInputs + kHidden});
  call.weight_gamma = 0.1 * torch::rand({kHidden, kInputs + kHidden});
  call.weight.requires_grad_(differentiable);
  call.energy = true;
  return call;
}

std::string message_of(const std::string& device) {
  try {
    kernel_device_of(device);
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(KernelDeviceTest, RefusesWhatIsNoDevice) {
  EXPECT_EQ(kernel_device_of("cpu"), torch::Device(torch::kCPU));
  EXPECT_EQ(message_of("gpu"),
            "--device is \"gpu\": there are cpu, cuda and cuda:N, where N is the number of a GPU");
  EXPECT_EQ(message_of("cuda:x").substr(0, 14), "--device cuda:");
  EXPECT_EQ(message_of("cuda:").substr(0, 14), "--device cuda:");
}

TEST(KernelDeviceTest, SaysWhatIsMissingWhereThereIsNoGpu) {
  if (torch::cuda::is_available()) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(message_of("cuda:1").substr(0, 15), "--device cuda:1");
}

// Tensors on `meta` have no values, so that none come back from there.
TEST(KernelDeviceTest, MovesSequencesButNoSingleSteps) {
  const KernelDeviceGuard guard(torch::kMeta);
  EXPECT_THROW(stpn_recurrent(call_of(2, false)), c10::Error);
  EXPECT_THROW(stpn_recurrent(call_of(2, true)), c10::Error);
  EXPECT_TRUE(stpn_recurrent(call_of(1, true)).output.is_cpu());
}

TEST(KernelDeviceTest, ActsOnTheCpuAndMovesWhatIsDifferentiated) {
  const KernelDeviceGuard guard(torch::kMeta);
  for (const bool differentiable : {false, true}) {
    StpnCall call = call_of(4, differentiable);
    Echo echo(call.x);
    call.closed_loop = &echo;
    if (differentiable) {
      EXPECT_THROW(stpn_recurrent(call), c10::Error);
    } else {
      EXPECT_TRUE(stpn_recurrent(call).output.is_cpu());
    }
  }
}

TEST(KernelDeviceTest, AClosedLoopThatRunsAgainGivesTheSameBits) {
  const auto results_of = [] {
    StpnCall call = call_of(6, true);
    Echo echo(call.x);
    call.closed_loop = &echo;
    const StpnResult result = stpn_recurrent(call);
    (result.output.square().sum() + result.energy.sum() + result.F.sum()).backward();
    return std::vector<torch::Tensor>{call.x, result.output, result.F, call.weight.grad()};
  };
  const auto wanted = results_of();
  const KernelDeviceGuard guard(torch::kCPU);
  const auto found = results_of();
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_TRUE(torch::equal(found[i], wanted[i])) << i;
}

TEST(KernelDeviceTest, EndsWithItsGuard) {
  { const KernelDeviceGuard guard(torch::kMeta); }
  EXPECT_EQ(kernel_device(), nullptr);
  EXPECT_TRUE(stpn_recurrent(call_of(2, false)).output.is_cpu());
}

}  // namespace
}  // namespace stpn::ops::kernel_device_test
