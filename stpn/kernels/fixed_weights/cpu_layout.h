// How the CPU kernel of networks with fixed weights lays out its arrays. Arithmetic only, the same
// on every SIMD target.
//
// SIMD vectors run along the neurons. A row is H values, padded to 64 bytes. What a neuron computes
// before its activation functions is one row for each slot:
//
//   lstm   i, f, g, o           all of them p + q
//   gru    p_n, r, u, q_n       p_n and q_n are apart, because r multiplies q_n alone
//   rnn    h
//
// so that both p and q fill slots next to each other: p the first G, q the last G.
#pragma once

#include <algorithm>
#include <cstdint>

#include "stpn/kernels/cpu/matrices/padding.h"
#include "stpn/kernels/fixed_weights/equations.h"

namespace stpn::kernels {

constexpr int64_t slots_of(Cell cell) { return cell == Cell::rnn ? 1 : 4; }
// The slot of gate g, in the order of the weights, for p and for q.
constexpr int64_t input_slot(Cell cell, int64_t gate) {
  return cell == Cell::gru ? (gate + 1) % 3 : gate;
}
constexpr int64_t recurrent_slot(Cell cell, int64_t gate) {
  return cell == Cell::gru ? gate + 1 : gate;
}
constexpr int64_t first_recurrent_slot(Cell cell) { return recurrent_slot(cell, 0); }

template <typename T>
struct FixedWeightsLayout {
  FixedWeightsLayout(const Extent& of, Cell its_cell)
      : extent(of),
        cell(its_cell),
        row(padded_row<T>(of.hidden)),
        gate_values(gates_of(cell) * row),
        matrix_row(gate_values + kLanesOfRow<T>),
        slot_values(slots_of(cell) * row),
        saved_values(cell == Cell::rnn ? 0 : slot_values + (cell == Cell::lstm ? row : 0)),
        input_row(padded_row<T>(of.inputs)),
        shards(shards_of(of, slot_values)) {}

  // The samples of a shard: [first_sample(shard), first_sample(shard + 1)).
  int64_t first_sample(int64_t shard) const { return shard * extent.batch / shards; }

  // The parameters as forward reads them, and the sums of their gradients of a shard, are one
  // array: W_ih transposed (I, matrix_row), its slots in their order; W_hh transposed (H,
  // matrix_row); the biases (slot_values), summed where a slot has two.
  int64_t recurrent_offset() const { return extent.inputs * matrix_row; }
  int64_t bias_offset() const { return (extent.inputs + extent.hidden) * matrix_row; }
  int64_t parameters() const { return bias_offset() + slot_values; }

  Extent extent;
  Cell cell;
  int64_t row;          // H, padded
  int64_t gate_values;  // of G rows
  // Of a transposed matrix: gate_values, and a cache line more, because rows whose distance is a
  // power of two would all have to share a few places of the cache.
  int64_t matrix_row;
  int64_t slot_values;   // of all slots
  int64_t saved_values;  // what a sample saves at a step
  int64_t input_row;     // I, padded
  int64_t shards;

 private:
  // A function of the shapes only, so that bits do not depend on threads. A shard should take
  // longer than it takes to wake a thread, and its samples share the loads of the weights.
  static int64_t shards_of(const Extent& of, int64_t slot_values) {
    constexpr int64_t kMostShards = 16;
    constexpr int64_t kSamplesInShard = 8;
    constexpr int64_t kProductsInShard = 1 << 20;
    const int64_t products = of.steps * of.batch * (of.inputs + of.hidden) * slot_values;
    return std::clamp(std::min(of.batch / kSamplesInShard, products / kProductsInShard), int64_t{1},
                      kMostShards);
  }
};

// The weights as backward reads them, rows padded with zeros.
template <typename T>
struct BackwardWeights {
  const T* input;      // (G H, input_row): rows of W_ih, its slots in their order; null: no dx
  const T* recurrent;  // (G H, row): rows of W_hh
};

}  // namespace stpn::kernels
