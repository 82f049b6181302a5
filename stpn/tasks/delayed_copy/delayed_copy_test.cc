#include "stpn/tasks/delayed_copy/delayed_copy.h"

#include <gtest/gtest.h>

#include "stpn/tasks/sequence_task_contract.h"

namespace stpn::tasks::delayed_copy_test {
namespace {

DelayedCopyOptions small(int64_t longest, int64_t delay) {
  DelayedCopyOptions options;
  options.longest = longest;
  options.delay = delay;
  options.training = options.validation = options.test = 60;
  return options;
}

TEST(DelayedCopy, KeepsTheContract) {
  contract::expect_sequence_task_contract(small(4, 3));
  contract::expect_sequence_task_contract(small(20, 0));
}

// A sequence as text: letters for symbols, `.` for nothing and for no target, `?` for a question.
std::string text_of(const SequenceTask& task, int64_t sequence) {
  const contract::Batch batch = contract::read(task, Split::training, sequence, 1);
  std::string shown, wanted;
  for (int64_t t = 0; t < task.length(Split::training, sequence); ++t) {
    const float* x = batch.x.data() + t * task.input_size();
    const int64_t hot = std::find(x, x + task.input_size(), 1.0f) - x;
    shown += "abcdefgh?."[hot];
    wanted += batch.target[t] == kNoTarget ? '.' : "abcdefgh"[batch.target[t]];
  }
  return shown + " " + wanted;
}

// If this test fails, results on this task cannot be compared with earlier ones.
TEST(DelayedCopy, SequencesNeverChange) {
  const auto task = small(4, 3).make(1);
  EXPECT_EQ(text_of(*task, 0), "ebad...???? .......ebad");
  EXPECT_EQ(text_of(*task, 1), "gca...??? ......gca");
  EXPECT_EQ(text_of(*task, 2), "cfd...??? ......cfd");
}

TEST(DelayedCopy, AsksForTheSymbolsInOrder) {
  const auto task = small(4, 2).make(5);
  for (int64_t i = 0; i < 60; ++i) {
    const std::string text = text_of(*task, i);
    const int64_t length = task->length(Split::training, i), n = (length - 2) / 2;
    const std::string symbols = text.substr(0, n);
    EXPECT_EQ(text, symbols + ".." + std::string(n, '?') + " " + std::string(n + 2, '.') + symbols);
  }
}

}  // namespace
}  // namespace stpn::tasks::delayed_copy_test
