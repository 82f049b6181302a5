// What stands between the images that an agent sees and its unit.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>

namespace stpn::nn {

// An encoder without torch, for one image between two steps of a closed loop. A copy of the
// parameters at the time when it was made. Several threads may use it at once.
class StepEncoder {
 public:
  virtual ~StepEncoder() = default;
  //   image     in (I) bytes
  //   features  out (features)
  virtual void encode(const uint8_t* image, float* features) const = 0;
  virtual void encode(const uint8_t* image, double* features) const = 0;
};

class Encoder : public torch::nn::Module {
 public:
  virtual int64_t features() const = 0;  // inputs of the unit
  // images (N, I) uint8 -> (N, features), differentiable in the parameters.
  virtual torch::Tensor forward(const torch::Tensor& images) = 0;
  // The same values as forward, whatever N is. REQUIRES: parameters of the type that is encoded to.
  virtual std::unique_ptr<StepEncoder> step_encoder() const = 0;
  virtual void reset_parameters(uint64_t seed) = 0;
};

}  // namespace stpn::nn
