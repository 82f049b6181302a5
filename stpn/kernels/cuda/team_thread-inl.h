// One thread of a team that takes a sample through its time steps: its place, and its share of
// rows and columns. It compiles as plain C++ too: emulation.h runs it on the CPU.
#pragma once

#include <cmath>

#include "stpn/kernels/cuda/team.h"
#include "stpn/kernels/layer_norm.h"

namespace stpn::kernels::cuda {

// A matrix of a team: row i begins at values + i * row.
template <typename T>
struct TeamMatrix {
  STPN_THREAD T* operator[](int i) const { return values + int64_t{i} * row; }
  T* values;
  int row;
};

// ThisTeam has the thread's place and the operations in which threads meet:
//   thread(), threads()  of the team
//   lane(), lanes()      of the thread's group
//   group(), groups()    of the team
//   sync()               every thread of the team has arrived, and its writes are seen by all
//   sum(value)           the sum over the lanes of a group, in a fixed order: the same bits in each
//   sum(a, b)            the same of two values, in place
//   from_first(value)    that of the group's first lane
template <class ThisTeam>
class TeamThread {
 public:
  // `rows`: as many as there are neurons.
  STPN_THREAD TeamThread(const ThisTeam& its_team, int rows) : team(its_team), rows_(rows) {}

  STPN_THREAD bool first_lane() const { return team.lane() == 0; }

  // use(i): for each of the thread's rows.
  template <typename Use>
  STPN_THREAD void for_rows(const Use& use) const {
    for (int i = team.group(); i < rows_; i += team.groups()) use(i);
  }
  // use(j): for each of the thread's columns.
  template <typename Use>
  STPN_THREAD void for_columns(int count, const Use& use) const {
    STPN_UNROLL_4
    for (int j = team.lane(); j < count; j += team.lanes()) use(j);
  }
  // use(k): each k in [first, count) in some thread of the team.
  template <typename Use>
  STPN_THREAD void share(int first, int count, const Use& use) const {
    for (int k = first + team.thread(); k < count; k += team.threads()) use(k);
  }

  // Column j of what the groups have summed over their rows in `partial` (groups, columns).
  template <typename T>
  STPN_THREAD T column_sum(const T* partial, int columns, int j) const {
    const int used = team.groups() < rows_ ? team.groups() : rows_;
    T sum = T(0);
    STPN_UNROLL_4
    for (int group = 0; group < used; ++group) sum += partial[int64_t{group} * columns + j];
    return sum;
  }

  // The mean of u (rows), and 1 / the standard deviation that the layer norm divides by.
  template <typename T>
  struct Normalisation {
    T mean, inverse_std;
  };
  template <typename T>
  STPN_THREAD Normalisation<T> normalisation(const T* u) const {
    const T count = static_cast<T>(rows_);
    T sum = T(0);
    for_columns(rows_, [&](int i) { sum += u[i]; });
    const T mean = team.sum(sum) / count;
    T squares = T(0);
    for_columns(rows_, [&](int i) { squares += (u[i] - mean) * (u[i] - mean); });
    const T variance = team.sum(squares) / count;
    return {mean, T(1) / std::sqrt(variance + T(kLayerNormEpsilon))};
  }

 protected:
  const ThisTeam& team;

 private:
  int rows_;
};

}  // namespace stpn::kernels::cuda
