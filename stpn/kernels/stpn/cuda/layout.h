// How the STPN's CUDA kernels divide a call, and where values lie. Arithmetic only; nothing of
// CUDA.
#pragma once

#include <cstdint>

#include "stpn/kernels/cuda/team.h"
#include "stpn/kernels/saved_bound.h"
#include "stpn/kernels/stpn/equations.h"

namespace stpn::kernels::cuda::stpn_unit {

enum Gate { kUpdateGate, kWriteGate, kDecayGate, kGates };

// What is saved of a neuron at each step, each by the index of its vector; -1: not by this variant.
struct SavedAt {
  explicit SavedAt(const StpnVariant& v)
      : norm(next(v.norm != Norm::none)),
        post_norm(next(v.norm == Norm::post)),
        beta(next(v.plastic_bias)),
        candidate(next(v.update_gate)),
        gate{next(v.update_gate), next(v.write_gate), next(v.decay_gate)},
        value(next(v.rule == Rule::delta)),
        growth(next(v.rule == Rule::delta)) {}

  int count = 1;
  int dot = 0;       // G z
  int norm;          // |G|
  int post_norm;     // |W + F| of norm `post`
  int beta;          // before the step
  int candidate;     // act(u), of which the update gate makes h
  int gate[kGates];  // values of the gates
  int value;         // W z, of rule `delta`
  int growth;        // what F learns by rule `delta`, before the write gate

 private:
  int next(bool has) { return has ? count++ : -1; }
};

struct Sizes {
  Sizes(const Extent& extent, const StpnVariant& variant)
      : steps(static_cast<int>(extent.steps)),
        batch(static_cast<int>(extent.batch)),
        inputs(static_cast<int>(extent.inputs)),
        hidden(static_cast<int>(extent.hidden)),
        fan_in(static_cast<int>(kernels::fan_in(extent, variant))),
        plastic(static_cast<int>(plastic_fan_in(extent, variant))),
        first(static_cast<int>(first_plastic_input(extent, variant))),
        gate_columns{variant.update_gate ? fan_in : 0, variant.write_gate ? inputs : 0,
                     variant.decay_gate ? inputs : 0},
        at(variant),
        interval(checkpoint_interval(synapses())) {}

  STPN_HOST_DEVICE int64_t synapses() const { return int64_t{hidden} * plastic; }
  // Values that forward saves: `at.count` per neuron at each step, and F at steps interval,
  // 2 interval ...
  SavedBound saved_bound() const { return {int64_t{at.count} * hidden, synapses(), interval}; }
  // Sums of the gradients of a sample's parameters: W; Lambda and Gamma of synapses; the weights of
  // the gates; and SumVector, one value per neuron each.
  STPN_HOST_DEVICE int64_t gate_sums(int gate) const {
    int64_t at_gate = int64_t{hidden} * fan_in + 2 * synapses();
    for (int k = 0; k < gate; ++k) at_gate += int64_t{hidden} * gate_columns[k];
    return at_gate;
  }
  STPN_HOST_DEVICE int64_t vector_sums() const { return gate_sums(kGates); }
  STPN_HOST_DEVICE int64_t sums() const { return vector_sums() + int64_t{kVectors} * hidden; }

  int steps, batch, inputs, hidden, fan_in, plastic, first;  // T, B, I, H, N, P, first plastic
  int gate_columns[kGates];  // of their weights; 0: there is no such gate
  SavedAt at;
  int interval;  // steps between checkpoints

  static constexpr int kVectors = 6;
};

// The vectors of Sizes::sums.
enum SumVector {
  kBiasSum,
  kGainSum,
  kOffsetSum,
  kBiasLambdaSum,
  kBiasGammaSum,
  kUpdateBiasSum,
};

// Offsets in a team's memory, in values.
struct ForwardMemory {
  ForwardMemory(const Sizes& s, const StpnVariant& v, const Team& team)
      : F(0),
        z(F + (team.resident ? int64_t{s.hidden} * team.row : 0)),
        a(z + 2 * int64_t{s.fan_in}),
        h(a + s.plastic),
        u(h + s.hidden),
        scale(u + s.hidden),
        update(scale + s.hidden),
        growth(update + s.hidden),
        beta(growth + s.hidden),
        partial(beta + s.hidden),
        end(partial + (v.rule == Rule::oja ? int64_t{team.groups()} * s.plastic : 0)) {}

  int64_t F;        // (H, row), resident only: else the final F holds it
  int64_t z;        // (2, N)    of this step and the next
  int64_t a;        // (P)       presynaptic factor of the Hebbian term, where it is not z
  int64_t h, u;     // (H)       activity; pre-activation
  int64_t scale;    // (H)       what F is multiplied with as it enters the update
  int64_t update;   // (H)       update gate
  int64_t growth;   // (H)       what F learns from z, or by Hebb's rule first what multiplies h
  int64_t beta;     // (H)
  int64_t partial;  // (groups, P) sums over the rows of a group
  int64_t end;
};

struct BackwardMemory {
  BackwardMemory(const Sizes& s, const Team& team)
      : dF(0),
        weight(dF + matrix(s, team)),
        lambda(weight + (team.resident ? matrix(s, team) : 0)),
        gamma(lambda + (team.resident ? matrix(s, team) : 0)),
        gate{gamma + (team.resident ? matrix(s, team) : 0),
             gate[kUpdateGate] + gate_matrix(s, team, kUpdateGate),
             gate[kWriteGate] + gate_matrix(s, team, kWriteGate)},
        z(gate[kDecayGate] + gate_matrix(s, team, kDecayGate)),
        a(z + 2 * int64_t{s.fan_in}),
        da(a + s.plastic),
        dh(da + s.plastic),
        u(dh + s.hidden),
        du(u + s.hidden),
        dh_all(du + s.hidden),
        row(dh_all + s.hidden),
        dbeta(row + int64_t{kRowVectors} * s.hidden),
        vectors(dbeta + s.hidden),
        partial(vectors + int64_t{Sizes::kVectors} * s.hidden),
        end(partial + int64_t{team.groups()} * s.fan_in) {}

  static int64_t matrix(const Sizes& s, const Team& team) { return int64_t{s.hidden} * team.row; }
  static int64_t gate_matrix(const Sizes& s, const Team& team, int gate) {
    return team.resident && s.gate_columns[gate] > 0 ? matrix(s, team) : 0;
  }
  static constexpr int kRowVectors = 4;  // the members of RowGradients

  int64_t dF;                     // (H, row)
  int64_t weight, lambda, gamma;  // (H, row), resident only: gradient sums
  int64_t gate[kGates];           // likewise, of the gates that there are
  int64_t z;                      // (2, N)
  int64_t a, da;                  // (P)       presynaptic factor of the Hebbian term; its gradient
  int64_t dh, u, du;              // (H)       of h[t]; pre-activation and its gradient
  int64_t dh_all;                 // (H)       dh and what the step adds to it
  int64_t row;                    // (kRowVectors, H) RowGradients
  int64_t dbeta;                  // (H)
  int64_t vectors;                // (kVectors, H) gradient sums
  int64_t partial;                // (groups, N) sums over the rows of a group
  int64_t end;
};

// A call divided: everything that the kernels need besides the call itself.
struct Division {
  Division(const Extent& extent, const StpnVariant& variant, int64_t value_bytes,
           const Machine& machine)
      : sizes(extent, variant),
        forward(Team::resident_for(sizes.hidden, sizes.fan_in)),
        backward(forward),
        forward_memory(sizes, variant, forward),
        backward_memory(sizes, backward) {
    place(forward, forward_memory.end * value_bytes, machine);
    place(backward, backward_memory.end * value_bytes, machine);
    forward_memory = ForwardMemory(sizes, variant, forward);
    backward_memory = BackwardMemory(sizes, backward);
  }

  // Values of the workspace (Workspace has its parts).
  int64_t forward_workspace() const { return streamed(forward, forward_memory.end); }
  int64_t backward_workspace() const {
    return sizes.batch * (recomputed() + sizes.sums()) + sizes.sums() +
           streamed(backward, backward_memory.end);
  }
  // F of all steps of an interval, of a sample.
  STPN_HOST_DEVICE int64_t recomputed() const { return sizes.interval * sizes.synapses(); }

  Sizes sizes;
  Team forward, backward;
  ForwardMemory forward_memory;
  BackwardMemory backward_memory;

 private:
  int64_t streamed(const Team& team, int64_t values) const {
    return team.resident ? 0 : sizes.batch * values;
  }
  void place(Team& team, int64_t bytes, const Machine& machine) const {
    team.place(bytes, sizes.hidden, sizes.fan_in, sizes.batch, machine);
  }
};

// The parts of a call's workspace. In forward: the memory of streamed teams. In backward, in this
// order: F of all steps of an interval, and the gradient sums, of each sample; the sums over all
// samples; the memory of streamed teams.
template <typename T>
struct Workspace {
  STPN_HOST_DEVICE Workspace(void* workspace, const Division& division)
      : begin(static_cast<T*>(workspace)), d(division) {}

  STPN_HOST_DEVICE T* forward_team(int sample) const {
    return begin + sample * d.forward_memory.end;
  }
  STPN_HOST_DEVICE T* recomputed(int sample) const { return begin + sample * d.recomputed(); }
  STPN_HOST_DEVICE T* sums(int sample) const {
    return recomputed(d.sizes.batch) + sample * d.sizes.sums();
  }
  STPN_HOST_DEVICE T* totals() const { return sums(d.sizes.batch); }
  STPN_HOST_DEVICE T* backward_team(int sample) const {
    return totals() + d.sizes.sums() + sample * d.backward_memory.end;
  }

  T* begin;
  const Division& d;
};

}  // namespace stpn::kernels::cuda::stpn_unit
