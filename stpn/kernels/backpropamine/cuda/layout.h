// How Backpropamine's CUDA kernels divide a call, and where values lie. Arithmetic only; nothing of
// CUDA.
#pragma once

#include <cstdint>

#include "stpn/kernels/backpropamine/equations.h"
#include "stpn/kernels/cuda/team.h"
#include "stpn/kernels/saved_bound.h"

namespace stpn::kernels::cuda::backpropamine {

// Sums of the gradients of a sample's parameters.
enum Sum {
  kInputSum,            // (H, I)
  kWeightSum,           // (H, H)
  kAlphaSum,            // (H, H)
  kBiasSum,             // (H)
  kModulatorWeightSum,  // (H)
  kModulatorBiasSum,    // (1)
  kRateSum,             // (1)
  kSums
};

struct Sizes {
  Sizes(const Extent& extent, const BackpropamineVariant& variant)
      : steps(static_cast<int>(extent.steps)),
        batch(static_cast<int>(extent.batch)),
        inputs(static_cast<int>(extent.inputs)),
        hidden(static_cast<int>(extent.hidden)),
        fan_in(inputs + hidden),
        states(variant.has_trace() ? 2 : 1),
        modulators(variant.has_modulator() ? 1 : 0),
        interval(checkpoint_interval(synapses())),
        bound(variant.bound()) {}

  STPN_HOST_DEVICE int64_t synapses() const { return int64_t{hidden} * hidden; }
  // Values of P and E.
  STPN_HOST_DEVICE int64_t state() const { return states * synapses(); }
  // Values that forward saves: the modulator at each step, and P and E at steps interval,
  // 2 interval ...
  SavedBound saved_bound() const { return {modulators, state(), interval}; }
  STPN_HOST_DEVICE int64_t sum_size(int sum) const {
    if (sum == kInputSum) return int64_t{hidden} * inputs;
    if (sum <= kAlphaSum) return synapses();
    return sum <= kModulatorWeightSum ? hidden : 1;
  }
  // Values of all sums before this one.
  STPN_HOST_DEVICE int64_t sums_before(int sum) const {
    int64_t values = 0;
    for (int k = 0; k < sum; ++k) values += sum_size(k);
    return values;
  }

  int steps, batch, inputs, hidden, fan_in;  // T, B, I, H, I + H
  int states;                                // matrices of a sample: P, and E if there is a trace
  int modulators;                            // 1 if there is one, else 0
  int interval;                              // steps between checkpoints
  double bound;                              // of P

  static constexpr int kVectors = 2;  // sums of one value per neuron
};

// Offsets in a team's memory, in values.
struct ForwardMemory {
  ForwardMemory(const Sizes& s, const Team& team)
      : P(0),
        E(P + (team.resident ? int64_t{s.hidden} * team.row : 0)),
        x(E + (team.resident ? (s.states - 1) * int64_t{s.hidden} * team.row : 0)),
        h(x + 2 * int64_t{s.inputs}),
        zero(h + 3 * int64_t{s.hidden}),
        end(zero + s.hidden) {}

  int64_t P, E;  // (H, row), resident only: else the final states hold them
  int64_t x;     // (2, I)  of this step and the next
  int64_t h;     // (3, H)  of this step and the two before
  int64_t zero;  // (H)     h before a reset
  int64_t end;
};

struct BackwardMemory {
  BackwardMemory(const Sizes& s, const Team& team)
      : input_row(team.resident ? team.padded(s.inputs) : s.inputs),
        dP(0),
        dE(dP + int64_t{s.hidden} * team.row),
        input(dE + (s.states - 1) * int64_t{s.hidden} * team.row),
        weight(input + (team.resident ? int64_t{s.hidden} * input_row : 0)),
        alpha(weight + (team.resident ? int64_t{s.hidden} * team.row : 0)),
        z(alpha + (team.resident ? int64_t{s.hidden} * team.row : 0)),
        dh(z + 2 * int64_t{s.fan_in}),
        dh_update(dh + s.hidden),
        dm(dh_update + s.hidden),
        vectors(dm + s.hidden),
        partial(vectors + int64_t{Sizes::kVectors} * s.hidden),
        end(partial + int64_t{team.groups()} * s.fan_in) {}

  int input_row;          // from one row of `input` to the next
  int64_t dP, dE;         // (H, row)
  int64_t input;          // (H, input_row), resident only: gradient sums
  int64_t weight, alpha;  // (H, row), likewise
  int64_t z;              // (2, I + H) x[t] and h[t-1], of this step and the one before
  int64_t dh;             // (H)        of h[t], from the step after
  int64_t dh_update;      // (H)        likewise, from the update
  int64_t dm;             // (H)        of m, from each row
  int64_t vectors;        // (kVectors, H) gradient sums
  int64_t partial;        // (groups, I + H) sums over the rows of a group
  int64_t end;
};

// A call divided: everything that the kernels need besides the call itself.
struct Division {
  Division(const Extent& extent, const BackpropamineVariant& variant, int64_t value_bytes,
           const Machine& machine)
      : sizes(extent, variant),
        forward(team_for(sizes)),
        backward(forward),
        forward_memory(sizes, forward),
        backward_memory(sizes, backward) {
    place(forward, forward_memory.end * value_bytes, machine);
    place(backward, backward_memory.end * value_bytes, machine);
    forward_memory = ForwardMemory(sizes, forward);
    backward_memory = BackwardMemory(sizes, backward);
  }

  // Values of the workspace (Workspace has its parts).
  int64_t forward_workspace() const { return streamed(forward, forward_memory.end); }
  int64_t backward_workspace() const {
    return sizes.batch * (recomputed() + sizes.sums_before(kSums)) +
           streamed(backward, backward_memory.end);
  }
  // P and E of all steps of an interval, of a sample.
  STPN_HOST_DEVICE int64_t recomputed() const { return sizes.interval * sizes.state(); }

  Sizes sizes;
  Team forward, backward;
  ForwardMemory forward_memory;
  BackwardMemory backward_memory;

 private:
  // A group takes a row of the inputs' weights and of the recurrent ones in each step.
  static Team team_for(const Sizes& s) {
    Team team = Team::resident_for(s.hidden, s.fan_in);
    team.row = team.padded(s.hidden);
    return team;
  }
  int64_t streamed(const Team& team, int64_t values) const {
    return team.resident ? 0 : sizes.batch * values;
  }
  void place(Team& team, int64_t bytes, const Machine& machine) const {
    team.place(bytes, sizes.hidden, sizes.hidden, sizes.batch, machine);
  }
};

// The parts of a call's workspace. In forward: the memory of streamed teams. In backward, in this
// order: P and E of all steps of an interval, of each sample; each gradient sum, of each sample;
// the memory of streamed teams.
template <typename T>
struct Workspace {
  STPN_HOST_DEVICE Workspace(void* workspace, const Division& division)
      : begin(static_cast<T*>(workspace)), d(division) {}

  STPN_HOST_DEVICE T* forward_team(int sample) const {
    return begin + sample * d.forward_memory.end;
  }
  STPN_HOST_DEVICE T* recomputed(int sample) const { return begin + sample * d.recomputed(); }
  STPN_HOST_DEVICE T* sum(int which, int sample) const {
    return recomputed(d.sizes.batch) + d.sizes.batch * d.sizes.sums_before(which) +
           sample * d.sizes.sum_size(which);
  }
  STPN_HOST_DEVICE T* backward_team(int sample) const {
    return sum(kSums, 0) + sample * d.backward_memory.end;
  }

  T* begin;
  const Division& d;
};

}  // namespace stpn::kernels::cuda::backpropamine
