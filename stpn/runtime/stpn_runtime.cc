// The C interface: handles in place of objects, and no exception leaves it.
#include "stpn/runtime/stpn_runtime.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "stpn/runtime/memory.h"
#include "stpn/runtime/network.h"

struct stpn_network {
  stpn::runtime::Network network;
};
struct stpn_memory {
  stpn::runtime::Memory memory;
};

namespace {

const stpn::runtime::Head* head_of(const stpn_network* network, int64_t head) {
  const auto& heads = network->network.heads;
  return 0 <= head && head < static_cast<int64_t>(heads.size()) ? &heads[head] : nullptr;
}

}  // namespace

stpn_network* stpn_load(const char* path, char* error, size_t size) {
  std::string message;
  try {
    return new stpn_network{stpn::runtime::read_network(path)};
  } catch (const std::exception& problem) {
    message = problem.what();
  }
  if (size > 0) {
    const size_t length = std::min(size - 1, message.size());
    std::copy_n(message.begin(), length, error);
    error[length] = '\0';
  }
  return nullptr;
}
void stpn_free(stpn_network* network) { delete network; }

int64_t stpn_inputs(const stpn_network* network) { return network->network.extent.inputs; }
int64_t stpn_neurons(const stpn_network* network) { return network->network.extent.hidden; }
int64_t stpn_plastic(const stpn_network* network) {
  return plastic_fan_in(network->network.extent, network->network.variant);
}

const char* stpn_head_name(const stpn_network* network, int64_t head) {
  const stpn::runtime::Head* found = head_of(network, head);
  return found == nullptr ? nullptr : found->name.c_str();
}
int64_t stpn_head_size(const stpn_network* network, int64_t head) {
  const stpn::runtime::Head* found = head_of(network, head);
  return found == nullptr ? 0 : found->size;
}

stpn_memory* stpn_new_memory(const stpn_network* network) {
  try {
    return new stpn_memory{stpn::runtime::Memory(network->network)};
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void stpn_free_memory(stpn_memory* memory) { delete memory; }
void stpn_reset(stpn_memory* memory) { memory->memory.reset(); }

void stpn_step(stpn_memory* memory, const float* x) { memory->memory.step(x); }
void stpn_output(const stpn_memory* memory, int64_t head, float* out) {
  const auto& heads = memory->memory.network().heads;
  if (0 <= head && head < static_cast<int64_t>(heads.size()))
    memory->memory.output(heads[head], out);
}

float* stpn_h(stpn_memory* memory) { return memory->memory.h(); }
float* stpn_F(stpn_memory* memory) { return memory->memory.F(); }
float* stpn_beta(stpn_memory* memory) { return memory->memory.beta(); }
