// The walls of a maze, and what follows from them: what an agent sees, and the shortest paths.
#pragma once

#include <cstdint>
#include <vector>

namespace stpn::tasks {

// Cells are numbered row by row: row * size + column.
//
//   # # # # # # #
//   #           #     size 7: the outer wall, and a pillar where row and column are both even;
//   #   #   #   #     the centre is always free
//   #           #
//   #   #   #   #
//   #           #
//   # # # # # # #
class MazeLayout {
 public:
  static constexpr int64_t kActions = 4;  // up, down, left, right
  static constexpr int64_t kView = 9;     // the 3 x 3 cells around a cell, row by row

  // REQUIRES: size odd, at least 5.
  explicit MazeLayout(int64_t size);

  int64_t size() const { return size_; }
  int32_t centre() const { return static_cast<int32_t>(size_ * size_ / 2); }
  bool is_wall(int32_t cell) const { return rank_[cell] < 0; }
  const std::vector<int32_t>& free_cells() const { return free_; }  // in ascending order
  // The index of a free cell in free_cells().
  int32_t rank(int32_t cell) const { return rank_[cell]; }

  // The cell that an action leads to from a free cell; the same cell if a wall is in the way.
  int32_t next(int32_t cell, int64_t action) const { return next_[cell * kActions + action]; }
  // The view from a free cell: kView numbers, 1 for a wall and 0 for none.
  const float* view(int32_t cell) const { return view_.data() + cell * kView; }

  // By cell, the first action of a shortest path to `goal`; of several, the one with the lowest
  // number. At `goal` itself, the first action that leaves it.
  std::vector<uint8_t> shortest_ways(int32_t goal) const;

 private:
  int64_t size_;
  std::vector<int32_t> free_;
  std::vector<int32_t> rank_;  // (cells), -1 for a wall
  std::vector<int32_t> next_;  // (cells, kActions)
  std::vector<float> view_;    // (cells, kView)
};

}  // namespace stpn::tasks
