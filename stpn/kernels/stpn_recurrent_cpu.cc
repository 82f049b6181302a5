#include "stpn/kernels/stpn_recurrent.h"
namespace stpn::kernels {
template <typename T>
void stpn_recurrent_forward_cpu(const StpnRecurrentForward<T>&) {}
template <typename T>
void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<T>&) {}
bool stpn_recurrent_cpu_supports(const StpnRecurrentVariant&) { return false; }
template <typename T>
int64_t stpn_recurrent_kept_size(const Extent&, const StpnRecurrentVariant&) { return 0; }
template void stpn_recurrent_forward_cpu(const StpnRecurrentForward<float>&);
template void stpn_recurrent_forward_cpu(const StpnRecurrentForward<double>&);
template void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<float>&);
template void stpn_recurrent_backward_cpu(const StpnRecurrentBackward<double>&);
template int64_t stpn_recurrent_kept_size<float>(const Extent&, const StpnRecurrentVariant&);
template int64_t stpn_recurrent_kept_size<double>(const Extent&, const StpnRecurrentVariant&);
}
