#include "stpn/nn/stpn/stpn_recurrent.h"

namespace stpn::nn {

std::shared_ptr<Unit> StpnRecurrentOptions::make(int64_t input_size) const {
  return make_unit<StpnRecurrent>(input_size, *this);
}

}  // namespace stpn::nn
