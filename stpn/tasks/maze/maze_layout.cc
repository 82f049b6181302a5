#include "stpn/tasks/maze/maze_layout.h"

#include <array>
#include <cassert>
#include <cstddef>
#include <limits>

namespace stpn::tasks {

MazeLayout::MazeLayout(int64_t size)
    : size_(size),
      rank_(size * size, -1),
      next_(size * size * kActions),
      view_(size * size * kView) {
  assert(size >= 5 && size % 2 == 1);
  const auto side = static_cast<int32_t>(size);
  for (int32_t row = 1; row < side - 1; ++row) {
    for (int32_t column = 1; column < side - 1; ++column) {
      const int32_t cell = row * side + column;
      const bool pillar = row % 2 == 0 && column % 2 == 0 && cell != centre();
      if (pillar) continue;
      rank_[cell] = static_cast<int32_t>(free_.size());
      free_.push_back(cell);
    }
  }
  const std::array<int32_t, kActions> moves = {-side, side, -1, 1};
  for (const int32_t cell : free_) {
    for (int64_t action = 0; action < kActions; ++action) {
      const int32_t there = cell + moves[action];
      next_[cell * kActions + action] = is_wall(there) ? cell : there;
    }
    float* view = view_.data() + cell * kView;
    for (const int32_t row : {-side, 0, side}) {
      for (const int32_t column : {-1, 0, 1}) {
        *view++ = is_wall(cell + row + column) ? 1.0f : 0.0f;
      }
    }
  }
}

std::vector<uint8_t> MazeLayout::shortest_ways(int32_t goal) const {
  constexpr int32_t kFar = std::numeric_limits<int32_t>::max();
  std::vector<int32_t> distance(rank_.size(), kFar);
  std::vector<int32_t> reached = {goal};  // in ascending order of distance
  distance[goal] = 0;
  for (size_t i = 0; i < reached.size(); ++i) {
    for (int64_t action = 0; action < kActions; ++action) {
      const int32_t there =
          next(reached[i], action);  // distances are symmetric: each move can be undone
      if (distance[there] != kFar) continue;
      distance[there] = distance[reached[i]] + 1;
      reached.push_back(there);
    }
  }
  std::vector<uint8_t> ways(rank_.size(), 0);
  for (const int32_t cell : free_) {
    int32_t nearest = kFar;
    for (uint8_t action = 0; action < kActions; ++action) {
      const int32_t there = next(cell, action);
      if (there == cell || distance[there] >= nearest) continue;
      nearest = distance[there];
      ways[cell] = action;
    }
  }
  return ways;
}

}  // namespace stpn::tasks
