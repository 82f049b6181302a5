// How the CUDA kernels of Fast Weights divide a call, and where values lie. Arithmetic only;
// nothing of CUDA.
#pragma once

#include <cstdint>

#include "stpn/kernels/cuda/team.h"
#include "stpn/kernels/fast_weights/equations.h"
#include "stpn/kernels/saved_bound.h"

namespace stpn::kernels::cuda::fast_weights {

// Of the gradients of parameters that are vectors (H).
enum SumVector { kBiasSum, kGainSum, kOffsetSum, kVectors };

struct Sizes {
  Sizes(const Extent& extent, const FastWeightsVariant& variant)
      : steps(static_cast<int>(extent.steps)),
        batch(static_cast<int>(extent.batch)),
        inputs(static_cast<int>(extent.inputs)),
        hidden(static_cast<int>(extent.hidden)),
        fan_in(inputs + hidden),
        inner_steps(static_cast<int>(variant.inner_steps)),
        saved_activities(inner_steps + (variant.layer_norm ? 1 : 0)),
        saved_row(hidden + (variant.layer_norm ? 1 : 0)),
        interval(checkpoint_interval(synapses())) {}

  STPN_HOST_DEVICE int64_t synapses() const { return int64_t{hidden} * hidden; }
  STPN_HOST_DEVICE int64_t weights() const { return int64_t{hidden} * fan_in; }
  STPN_HOST_DEVICE int64_t saved_per_step() const { return int64_t{saved_activities} * saved_row; }
  // Values that forward saves. At each step, of the activities s_0 .. s_(S-1), the activities; or,
  // with layer norm, of s_0 .. s_S what it gave before gain and offset, and after these H values
  // 1 / the standard deviation that it divided by. (Backward needs both s_k and what the layer norm
  // gave. The first is tanh of the second; the second is not to be had from the first, where tanh
  // is at its limits.) And A before steps interval, 2 interval ...
  SavedBound saved_bound() const { return {saved_per_step(), synapses(), interval}; }

  int steps, batch, inputs, hidden, fan_in;  // T, B, I, H, N
  int inner_steps;                           // S
  int saved_activities, saved_row;           // rows that are saved at a step; values of one
  int interval;                              // steps between checkpoints
};

// Offsets in a team's memory, in values.
struct ForwardMemory {
  ForwardMemory(const Sizes& s, const Team& team)
      : A(0),
        z(A + (team.resident ? int64_t{s.hidden} * team.row : 0)),
        p(z + 2 * int64_t{s.fan_in}),
        u(p + s.hidden),
        activity(u + s.hidden),
        end(activity + 2 * int64_t{s.hidden}) {}

  int64_t A;         // (H, row), resident only: else the final A holds it
  int64_t z;         // (2, N)    of this step and the next
  int64_t p;         // (H)       W z + b
  int64_t u;         // (H)       what the layer norm is given
  int64_t activity;  // (2, H)    s_k of this inner step and the next
  int64_t end;
};

struct BackwardMemory {
  BackwardMemory(const Sizes& s, const Team& team)
      : weight_row(team.resident ? team.padded(s.fan_in) : s.fan_in),
        dA(0),
        weight(dA + int64_t{s.hidden} * team.row),
        z(weight + (team.resident ? int64_t{s.hidden} * weight_row : 0)),
        activity(z + s.fan_in),
        normalised(activity + s.hidden),
        ds(normalised + s.hidden),
        dp(ds + s.hidden),
        dh(dp + s.hidden),
        vectors(dh + s.hidden),
        partial(vectors + int64_t{kVectors} * s.hidden),
        end(partial + int64_t{team.groups()} * s.fan_in) {}

  int weight_row;  // values from one row of the sums of W's gradient to the next

  int64_t dA;          // (H, row)         of A[t]
  int64_t weight;      // (H, weight_row), resident only: gradient sums
  int64_t z;           // (N)
  int64_t activity;    // (H)              s_(k-1)
  int64_t normalised;  // (H)              what the layer norm gave for s_k
  int64_t ds;          // (H)              gradient of that, or without layer norm du_k
  int64_t dp;          // (H)              sum of the du_k so far
  int64_t dh;          // (H)              what rows of dA add to the gradient of h[t-1]
  int64_t vectors;     // (kVectors, H)    gradient sums
  int64_t partial;     // (groups, N)      sums over the rows of a group
  int64_t end;
};

// A call divided: everything that the kernels need besides the call itself.
struct Division {
  Division(const Extent& extent, const FastWeightsVariant& variant, int64_t value_bytes,
           const Machine& machine)
      : sizes(extent, variant),
        forward(Team::resident_for(sizes.hidden, sizes.fan_in)),
        backward(forward),
        forward_memory(sizes, forward),
        backward_memory(sizes, backward) {
    place(forward, forward_memory, value_bytes, machine);
    place(backward, backward_memory, value_bytes, machine);
  }

  // Values of the workspace (Workspace has its parts).
  int64_t forward_workspace() const { return streamed(forward, forward_memory.end); }
  int64_t backward_workspace() const {
    return sizes.batch * (recomputed() + sizes.weights() + int64_t{kVectors} * sizes.hidden) +
           streamed(backward, backward_memory.end);
  }
  // A of all steps of an interval, of a sample.
  STPN_HOST_DEVICE int64_t recomputed() const { return sizes.interval * sizes.synapses(); }

  Sizes sizes;
  Team forward, backward;
  ForwardMemory forward_memory;
  BackwardMemory backward_memory;

 private:
  int64_t streamed(const Team& team, int64_t values) const {
    return team.resident ? 0 : sizes.batch * values;
  }
  // The lanes are those of rows of W; the matrices of rows of the team's memory are H x H.
  template <class Memory>
  void place(Team& team, Memory& memory, int64_t value_bytes, const Machine& machine) const {
    team.row = team.padded(sizes.hidden);
    memory = Memory(sizes, team);
    team.place(memory.end * value_bytes, sizes.hidden, sizes.hidden, sizes.batch, machine);
    memory = Memory(sizes, team);
  }
};

// The parts of a call's workspace. In forward: the memory of streamed teams. In backward, in this
// order: A of all steps of an interval, of each sample; the gradient sums of each sample, those of
// W and then one vector after the other; the memory of streamed teams.
template <typename T>
struct Workspace {
  STPN_HOST_DEVICE Workspace(void* workspace, const Division& division)
      : begin(static_cast<T*>(workspace)), d(division) {}

  STPN_HOST_DEVICE T* forward_team(int sample) const {
    return begin + sample * d.forward_memory.end;
  }
  STPN_HOST_DEVICE T* recomputed(int sample) const { return begin + sample * d.recomputed(); }
  STPN_HOST_DEVICE T* weight_sums(int sample) const {
    return recomputed(d.sizes.batch) + sample * d.sizes.weights();
  }
  STPN_HOST_DEVICE T* vector_sums(int which, int sample) const {
    return weight_sums(d.sizes.batch) + (int64_t{which} * d.sizes.batch + sample) * d.sizes.hidden;
  }
  STPN_HOST_DEVICE T* backward_team(int sample) const {
    return vector_sums(kVectors, 0) + sample * d.backward_memory.end;
  }

  T* begin;
  const Division& d;
};

}  // namespace stpn::kernels::cuda::fast_weights
