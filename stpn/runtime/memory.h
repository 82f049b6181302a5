// The state of one sample, and the time step that changes it.
#pragma once

#include <vector>

#include "stpn/runtime/network.h"

namespace stpn::runtime {

class Memory {
 public:
  explicit Memory(const Network& network);  // which must outlive it

  void reset();
  // x (I). Allocates nothing.
  void step(const float* x);
  // (size of the head)
  void output(const Head& head, float* out) const;

  float* h() { return h_.data(); }
  float* F() { return F_.data(); }
  float* beta() { return beta_.empty() ? nullptr : beta_.data(); }
  const Network& network() const { return network_; }

 private:
  void preactivations();
  void normalise_layer();
  bool compute(const Gate& gate);
  void keep_activity();
  void presynaptic_terms();
  void gate_update();
  void update();

  const Network& network_;
  const int64_t H_, N_, P_, first_;  // sizes, and the first presynaptic input with fast weights
  std::vector<float> h_, F_, beta_;
  std::vector<float> z_;        // (N)  [x; h]
  std::vector<float> hebbian_;  // (P)  presynaptic term of the update
  std::vector<float> new_h_;    // (H)
  std::vector<float> growth_;   // (H)  what the update multiplies the presynaptic term by
  std::vector<float> gate_;     // (H)
  std::vector<float> scale_;    // (H)  what the update multiplies F by
};

}  // namespace stpn::runtime
