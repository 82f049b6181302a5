// STPN_HOST_DEVICE marks the few functions that CUDA kernels use too.
#pragma once

#if defined(__CUDACC__)
#define STPN_HOST_DEVICE __host__ __device__
#else
#define STPN_HOST_DEVICE
#endif
