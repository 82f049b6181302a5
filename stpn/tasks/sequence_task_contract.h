// The tests that every SequenceTask has to pass, as one call.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "stpn/tasks/sequence_task.h"
#include "stpn/tasks/task_registry.h"

namespace stpn::tasks::contract {

struct Batch {
  std::vector<float> x;         // (T, count, I)
  std::vector<int64_t> target;  // (T, count)
  bool operator==(const Batch&) const = default;
};

// A target that no task may write.
inline constexpr int64_t kUnwritten = -7;

// A batch, written over NaNs and impossible targets. After each buffer is a margin that must not
// change.
inline Batch read(const SequenceTask& task, Split split, int64_t first, int64_t count) {
  constexpr int64_t kMargin = 64;
  const auto elements = static_cast<size_t>(task.steps() * count * task.input_size());
  const auto targets = static_cast<size_t>(task.steps() * count);
  Batch batch{
      std::vector<float>(elements + kMargin, std::numeric_limits<float>::quiet_NaN()),
      std::vector<int64_t>(targets + kMargin, kUnwritten),
  };
  task.batch(split, first, count, batch.x.data(), batch.target.data());
  for (size_t i = elements; i < batch.x.size(); ++i) {
    EXPECT_TRUE(std::isnan(batch.x[i])) << "wrote past the end of x";
  }
  for (size_t i = targets; i < batch.target.size(); ++i) {
    EXPECT_EQ(batch.target[i], kUnwritten) << "wrote past the end of target";
  }
  batch.x.resize(elements);
  batch.target.resize(targets);
  return batch;
}

inline Batch read_all(const SequenceTask& task, Split split) {
  return read(task, split, 0, task.size(split));
}

// `batch` holds a whole split.
inline void expect_within_bounds(const SequenceTask& task, Split split, const Batch& batch) {
  const int64_t size = task.size(split), inputs = task.input_size();
  const int64_t values = task.classes() == 1 ? 2 : task.classes();
  for (const float value : batch.x) ASSERT_TRUE(std::isfinite(value)) << "left unwritten";
  for (int64_t b = 0; b < size; ++b) {
    SCOPED_TRACE(testing::Message() << "sequence " << b);
    const int64_t length = task.length(split, b);
    ASSERT_GE(length, 1);
    ASSERT_LE(length, task.steps());
    int64_t asked = 0;
    for (int64_t t = 0; t < task.steps(); ++t) {
      const int64_t target = batch.target[t * size + b];
      if (target == kNoTarget) continue;
      ++asked;
      ASSERT_LT(t, length) << "a target past the end";
      ASSERT_GE(target, 0);
      ASSERT_LT(target, values);
    }
    ASSERT_GE(asked, 1);
    for (int64_t t = length; t < task.steps(); ++t) {
      const float* x = batch.x.data() + (t * size + b) * inputs;
      ASSERT_EQ(std::count(x, x + inputs, 0.0f), inputs) << "input past the end, step " << t;
    }
  }
}

// Expects sequences first .. first+count-1, read as a batch of their own, to equal those in `all`.
inline void expect_same_sequences(const SequenceTask& task, Split split, const Batch& all,
                                  int64_t first, int64_t count) {
  const Batch part = read(task, split, first, count);
  const auto row_of = [&](const auto& values, int64_t t, int64_t begin, int64_t width, int64_t n) {
    const auto from = values.begin() + (t * n + begin) * width;
    return std::vector(from, from + count * width);
  };
  for (int64_t t = 0; t < task.steps(); ++t) {
    SCOPED_TRACE(testing::Message()
                 << "step " << t << ", sequences " << first << " and " << count - 1 << " more");
    ASSERT_EQ(row_of(part.x, t, 0, task.input_size(), count),
              row_of(all.x, t, first, task.input_size(), task.size(split)));
    ASSERT_EQ(row_of(part.target, t, 0, 1, count),
              row_of(all.target, t, first, 1, task.size(split)));
  }
}

// Expects the task at other difficulties to be like this one, and to be a function of the seed.
inline void expect_difficulties(const SequenceTask& task, const SequenceTask& other) {
  const std::optional<Difficulty> difficulty = task.difficulty();
  if (!difficulty) {
    EXPECT_EQ(task.at_difficulty(1), nullptr);
    return;
  }
  const auto same = task.at_difficulty(difficulty->value);
  const auto harder = task.at_difficulty(difficulty->value + 1);
  ASSERT_NE(same, nullptr);
  ASSERT_NE(harder, nullptr);
  EXPECT_EQ(read_all(*same, Split::test), read_all(task, Split::test));
  EXPECT_NE(read_all(*harder, Split::test), read_all(task, Split::test));
  const auto again = other.at_difficulty(difficulty->value + 1);
  EXPECT_NE(read_all(*harder, Split::test), read_all(*again, Split::test)) << "seeds are lost";
  EXPECT_EQ(harder->difficulty()->name, difficulty->name);
  EXPECT_EQ(harder->difficulty()->value, difficulty->value + 1);
  EXPECT_EQ(harder->input_size(), task.input_size());
  EXPECT_EQ(harder->classes(), task.classes());
  for (const Split split : {Split::training, Split::validation, Split::test}) {
    EXPECT_EQ(harder->size(split), task.size(split));
  }
  EXPECT_EQ(harder->endless(), task.endless());
}

// `options` should make splits that are small, but have at least 8 sequences, of which no two are
// likely to be equal.
inline void expect_sequence_task_contract(const SequenceTaskOptions& options) {
  const std::unique_ptr<SequenceTask> task = options.make(1);
  const std::unique_ptr<SequenceTask> again = options.make(1);
  const std::unique_ptr<SequenceTask> other = options.make(2);
  ASSERT_GE(task->steps(), 1);
  ASSERT_GE(task->input_size(), 1);
  ASSERT_GE(task->classes(), 1);
  std::set<std::string> names;
  for (const auto& [name, value] : task->baselines()) {
    EXPECT_TRUE(name.ends_with("accuracy")) << name;
    EXPECT_TRUE(names.insert(name).second) << name << " comes twice";
    EXPECT_GT(value, 0) << name;
    EXPECT_LE(value, 1) << name;
  }

  for (const Split split : {Split::training, Split::validation, Split::test}) {
    SCOPED_TRACE(testing::Message() << "split " << static_cast<int>(split));
    const int64_t size = task->size(split);
    ASSERT_GE(size, 8);
    const Batch all = read_all(*task, split);
    expect_within_bounds(*task, split, all);
    EXPECT_EQ(all, read_all(*again, split)) << "the same seed gives other data";
    EXPECT_NE(all, read_all(*other, split)) << "another seed gives the same data";
    EXPECT_EQ(read(*task, split, size, 0), Batch{});
    for (const int64_t count : {int64_t{1}, int64_t{3}, size - 1}) {
      for (const int64_t first : {int64_t{0}, int64_t{1}, size - count}) {
        if (first + count <= size) expect_same_sequences(*task, split, all, first, count);
      }
    }
  }
  expect_difficulties(*task, *other);
  if (task->endless()) {
    const int64_t size = task->size(Split::training);
    const Batch past = read(*task, Split::training, size, 8);
    EXPECT_EQ(past, read(*again, Split::training, size, 8));
    EXPECT_NE(past, read(*task, Split::training, size - 8, 8)) << "the split begins again";
    EXPECT_NE(past, read(*task, Split::training, 0, 8)) << "the split begins again";
  }
  const Batch training = read(*task, Split::training, 0, 8);
  const Batch validation = read(*task, Split::validation, 0, 8);
  const Batch test = read(*task, Split::test, 0, 8);
  EXPECT_NE(training, validation);
  EXPECT_NE(training, test);
  EXPECT_NE(validation, test);
}

}  // namespace stpn::tasks::contract
