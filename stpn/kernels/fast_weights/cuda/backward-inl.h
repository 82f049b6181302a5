// Backward through all time steps of a sample, as one thread of its team does it. Names as in the
// reference (stpn/kernels/fast_weights/ref.cc): dX is the gradient of the loss with respect to X,
// and u_k the argument of tanh(LN()) for s_k.
#pragma once

#include "stpn/kernels/fast_weights/cuda/recompute-inl.h"

namespace stpn::kernels::cuda::fast_weights {

// A step is a turn for each of s_S .. s_0. In a turn the groups first go through their rows: du_k,
// the row's part of dA, and what it adds to ds_(k-1), which is a sum over rows. Then the threads
// share the neurons: a neuron's ds_(k-1), through the tanh and the gain of the layer norm. Each
// neuron always has the same thread.
template <typename T, class ThisTeam>
class BackwardThread : public SampleThread<T, ThisTeam> {
  using Base = SampleThread<T, ThisTeam>;
  using Base::b, Base::f, Base::layer_norm, Base::s, Base::team;
  using Base::first_lane, Base::for_columns, Base::for_rows, Base::is_reset, Base::saved,
      Base::share;

 public:
  // `memory` is the team's; the workspace is the call's.
  STPN_THREAD BackwardThread(const ThisTeam& its_team, const FastWeightsBackwardParams<T>& call,
                             const Sizes& sizes, const Team& shape, const BackwardMemory& at,
                             T* memory, const Workspace<T>& workspace, int sample)
      : Base(its_team, call.forward, sizes, sample),
        p(call),
        resident_(shape.resident),
        recomputed_(workspace.recomputed(sample)),
        weight_sums_(workspace.weight_sums(sample)),
        workspace_(workspace),
        dA_{memory + at.dA, shape.row},
        weight_{shape.resident ? memory + at.weight : weight_sums_, at.weight_row},
        z_(memory + at.z),
        activity_(memory + at.activity),
        normalised_(memory + at.normalised),
        ds_(memory + at.ds),
        dp_(memory + at.dp),
        dh_(memory + at.dh),
        vectors_(memory + at.vectors),
        partial_(memory + at.partial) {}

  STPN_THREAD void run() {
    begin();
    RecomputeThread<T, ThisTeam> recompute(*this, recomputed_);
    for (int interval = (s.steps - 1) / s.interval; interval >= 0; --interval) {
      const int first = interval * s.interval;
      const int end = first + s.interval < s.steps ? first + s.interval : s.steps;
      recompute.run(interval);
      for (int t = end - 1; t >= first; --t) {
        step(t, recomputed_ + (t - first) * s.synapses());
      }
    }
    finish();
  }

 private:
  STPN_THREAD T* vector(int which) const { return vectors_ + int64_t{which} * s.hidden; }

  STPN_THREAD void begin() {
    const T* of_A = p.grad_final_A;
    for_rows([&](int i) {
      for_columns(s.inputs, [&](int j) { weight_[i][j] = T(0); });
      for_columns(s.hidden, [&](int j) {
        weight_[i][s.inputs + j] = T(0);
        dA_[i][j] = of_A == nullptr ? T(0) : of_A[(int64_t{b} * s.hidden + i) * s.hidden + j];
      });
      if (first_lane()) vector(kBiasSum)[i] = T(0);
    });
    share(0, s.hidden, [&](int i) {
      vector(kGainSum)[i] = vector(kOffsetSum)[i] = T(0);
      begin_step(s.steps - 1, i, T(0));
    });
    team.sync();
  }

  // Of a neuron, given the gradient of h[t] but for that of the output.
  STPN_THREAD void begin_step(int t, int i, T dh) {
    const T given =
        p.grad_output == nullptr ? T(0) : p.grad_output[this->sample_at(t) * s.hidden + i];
    through_tanh(t, s.inner_steps, i, dh + given, this->output(t)[i]);
  }

  // From ds_k to the gradient of what the layer norm gave, or to du_k; `activity` is s_k. Loads
  // what the turn of s_k needs of the neuron.
  STPN_THREAD void through_tanh(int t, int k, int i, T ds, T activity) {
    T gradient = ds * (T(1) - activity * activity);
    if (layer_norm) {
      const T normalised = saved(t, k)[i];
      normalised_[i] = normalised;
      vector(kGainSum)[i] += gradient * normalised;
      vector(kOffsetSum)[i] += gradient;
      gradient *= f.layer_norm_weight[i];
    }
    ds_[i] = gradient;
    if (k == 0) return;
    const T below = saved(t, k - 1)[i];
    activity_[i] = layer_norm ? this->activity_of(below, i) : below;
  }

  STPN_THREAD void step(int t, const T* A) {
    share(0, s.fan_in, [&](int j) { z_[j] = this->z(t, j); });
    for (int k = s.inner_steps; k > 0; --k) {
      const ThroughNorm norm = through_norm(t, k);
      for_rows([&](int i) {
        const T du = norm.du(ds_[i], normalised_[i]);
        if (first_lane()) dp_[i] = k == s.inner_steps ? du : dp_[i] + du;
        through_recall(t, i, du, A + int64_t{i} * s.hidden);
      });
      team.sync();
      share(0, s.hidden,
            [&](int j) { through_tanh(t, k - 1, j, column(s.inputs + j), activity_[j]); });
      team.sync();
    }
    const ThroughNorm norm = through_norm(t, 0);
    for_rows([&](int i) {
      through_projection(i, dp_[i] + norm.du(ds_[i], normalised_[i]), is_reset(t));
    });
    team.sync();
    if (p.grad_x != nullptr) {
      share(0, s.inputs, [&](int j) { p.grad_x[this->sample_at(t) * s.inputs + j] = column(j); });
    }
    share(0, s.hidden, [&](int j) {
      const T dh = is_reset(t) ? T(0) : column(s.inputs + j) + dh_[j];
      if (t > 0) {
        begin_step(t - 1, j, dh);
      } else if (p.grad_initial_h != nullptr) {
        p.grad_initial_h[int64_t{b} * s.hidden + j] = dh;
      }
    });
    team.sync();
  }

  STPN_THREAD T column(int j) const { return this->column_sum(partial_, s.fan_in, j); }

  // From the gradient of what the layer norm gave to du_k.
  struct ThroughNorm {
    STPN_THREAD T du(T gradient, T normalised) const {
      return layer_norm ? (gradient - mean - normalised * mean_product) * inverse_std : gradient;
    }
    bool layer_norm;
    T mean, mean_product, inverse_std;
  };
  STPN_THREAD ThroughNorm through_norm(int t, int k) const {
    if (!layer_norm) return {false, T(0), T(0), T(1)};
    T sum = T(0);
    T product = T(0);
    for_columns(s.hidden, [&](int i) {
      sum += ds_[i];
      product += ds_[i] * normalised_[i];
    });
    team.sum(sum, product);
    return {true, sum / T(s.hidden), product / T(s.hidden), saved(t, k)[s.hidden]};
  }

  // Through A[t] s_(k-1) and the energy of a row; `A` is its row.
  STPN_THREAD void through_recall(int t, int i, T du, const T* A) {
    T* partial = partial_ + int64_t{team.group()} * s.fan_in + s.inputs;
    const bool fresh = i < team.groups();
    if (p.grad_energy == nullptr) {
      recall_row<false>(fresh, du, T(0), A, activity_, dA_[i], partial);
    } else {
      const T dE = p.grad_energy[this->sample_at(t) * s.hidden + i];
      recall_row<true>(fresh, du, dE, A, activity_, dA_[i], partial);
    }
  }
  // `fresh`: the group's first row: nothing is in `partial` yet. What is written does not overlap.
  template <bool kMeasured>
  STPN_THREAD void recall_row(bool fresh, T du, T dE, const T* __restrict__ A,
                              const T* __restrict__ activity, T* __restrict__ dA,
                              T* __restrict__ partial) const {
    for_columns(s.hidden, [&](int j) {
      T d_synapse = du * activity[j];
      T ds = du * A[j];
      if constexpr (kMeasured) {
        d_synapse += dE * sign(A[j]) * activity[j] * activity[j];
        ds += dE * std::abs(A[j]) * T(2) * activity[j];
      }
      dA[j] += d_synapse;
      partial[j] = fresh ? ds : partial[j] + ds;
    });
  }

  // Through W z + b of a row, given dp, and the update of its A.
  STPN_THREAD void through_projection(int i, T dp, bool reset) {
    const T* W = f.weight + int64_t{i} * s.fan_in;
    T* partial = partial_ + int64_t{team.group()} * s.fan_in;
    const bool fresh = i < team.groups();
    if (p.grad_x == nullptr) {
      for_columns(s.inputs, [&](int j) { weight_[i][j] += dp * z_[j]; });
    } else {
      inputs_row(fresh, dp, W, z_, weight_[i], partial);
    }
    const T sum =
        team.sum(recurrent_row(fresh, dp, reset, this->rate * z_[s.inputs + i], W + s.inputs,
                               z_ + s.inputs, weight_[i] + s.inputs, dA_[i], partial + s.inputs));
    if (!first_lane()) return;
    dh_[i] = this->rate * sum;
    vector(kBiasSum)[i] += dp;
  }
  STPN_THREAD void inputs_row(bool fresh, T dp, const T* __restrict__ W, const T* __restrict__ x,
                              T* __restrict__ dW, T* __restrict__ partial) const {
    for_columns(s.inputs, [&](int j) {
      const T dx = dp * W[j];
      dW[j] += dp * x[j];
      partial[j] = fresh ? dx : partial[j] + dx;
    });
  }
  // dA becomes the gradient of A[t-1]. Returns the thread's part of the row's dA h.
  STPN_THREAD T recurrent_row(bool fresh, T dp, bool reset, T growth, const T* __restrict__ W,
                              const T* __restrict__ h, T* __restrict__ dW, T* __restrict__ dA,
                              T* __restrict__ partial) const {
    T sum = T(0);
    for_columns(s.hidden, [&](int j) {
      const T d_synapse = dA[j];
      const T dh = dp * W[j] + growth * d_synapse;
      sum += d_synapse * h[j];
      dW[j] += dp * h[j];
      partial[j] = fresh ? dh : partial[j] + dh;
      dA[j] = reset ? T(0) : this->decay * d_synapse;
    });
    return sum;
  }

  STPN_THREAD void finish() {
    for_rows([&](int i) {
      if (p.grad_initial_A != nullptr) {
        T* to = p.grad_initial_A + (int64_t{b} * s.hidden + i) * s.hidden;
        for_columns(s.hidden, [&](int j) { to[j] = dA_[i][j]; });
      }
      if (resident_) {
        T* to = weight_sums_ + int64_t{i} * s.fan_in;
        for_columns(s.inputs, [&](int j) { to[j] = weight_[i][j]; });
        for_columns(s.hidden, [&](int j) { to[s.inputs + j] = weight_[i][s.inputs + j]; });
      }
    });
    for (int which = 0; which < kVectors; ++which) {
      T* to = workspace_.vector_sums(which, b);
      share(0, s.hidden, [&](int i) { to[i] = vector(which)[i]; });
    }
  }

  const FastWeightsBackwardParams<T>& p;
  bool resident_;
  T *recomputed_, *weight_sums_;
  const Workspace<T>& workspace_;
  TeamMatrix<T> dA_, weight_;
  T *z_, *activity_, *normalised_, *ds_, *dp_, *dh_, *vectors_, *partial_;
};

}  // namespace stpn::kernels::cuda::fast_weights
