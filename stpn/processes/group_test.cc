#include "stpn/processes/group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "stpn/processes/memory_test_support.h"
#include "stpn/processes/message.h"

namespace stpn::processes::group_test {
namespace {

using Seconds = Group::Seconds;

constexpr Seconds kLong{60};
constexpr Seconds kShort{0.2};

// What `fail` says.
thread_local std::vector<std::string> said;
void say(const std::string& message) { said.push_back(message); }

TEST(MessageTest, ReadsWhatWasWritten) {
  Writer writer;
  writer.number(3);
  writer.text("a b");
  writer.numbers(std::vector<double>{1.5, -0.0});
  writer.text("");
  const std::string message = writer.take();
  Reader reader(message);
  EXPECT_EQ(reader.number<int>(), 3);
  EXPECT_EQ(reader.text(), "a b");
  const auto numbers = reader.numbers<double>();
  ASSERT_EQ(numbers.size(), 2);
  EXPECT_TRUE(std::signbit(numbers[1]));
  EXPECT_EQ(reader.text(), "");
  EXPECT_TRUE(reader.at_end());
  EXPECT_THROW(reader.number<char>(), base::Error);
}

TEST(MessageTest, ATruncatedMessageIsAnError) {
  Writer writer;
  writer.text("something");
  const std::string message = writer.take();
  for (size_t size = 0; size < message.size(); ++size) {
    EXPECT_THROW(Reader(std::string_view(message).substr(0, size)).text(), base::Error) << size;
  }
}

TEST(GroupTest, SharesAreInOrderAndOfNearlyEqualSize) {
  for (int size = 1; size <= 5; ++size) {
    run_processes(size, kLong, [&](Group& group) {
      for (int64_t count = 0; count <= 12; ++count) {
        int64_t end = 0;
        for (int rank = 0; rank < size; ++rank) {
          const Share share = group.share(count, rank);
          EXPECT_EQ(share.begin, end);
          EXPECT_GE(share.count(), count / size);
          EXPECT_LE(share.count(), count / size + 1);
          EXPECT_LE(share.count(), group.share(count, std::max(0, rank - 1)).count());
          end = share.end;
        }
        EXPECT_EQ(end, count);
      }
    });
  }
}

TEST(GroupTest, GathersTheMessagesOfAllInTheirOrder) {
  for (int size = 1; size <= 6; ++size) {
    std::atomic<int> done = 0;
    run_processes(size, kLong, [&](Group& group) {
      for (int round = 0; round < 20; ++round) {
        // Of different lengths, one of them empty.
        const auto all = group.gather(std::string(group.rank() * round, 'a'));
        ASSERT_EQ(all.size(), size);
        for (int rank = 0; rank < size; ++rank) EXPECT_EQ(all[rank].size(), rank * round);
      }
      ++done;
    });
    EXPECT_EQ(done, size);
  }
}

TEST(GroupTest, BroadcastsFromEveryRankWithOneMessageToEachOther) {
  for (int size = 1; size <= 7; ++size) {
    for (int from = 0; from < size; ++from) {
      std::atomic<int> right = 0;
      const auto memory = run_processes(size, kLong, [&](Group& group) {
        const std::string mine = group.rank() == from ? "the message" : "";
        if (group.broadcast(mine, from) == "the message") ++right;
      });
      EXPECT_EQ(right, size) << from;
      EXPECT_EQ(memory->count, size - 1);
    }
  }
}

TEST(GroupTest, OutsideAGuardAProcessIsAlone) {
  EXPECT_TRUE(group().alone());
  EXPECT_TRUE(group().is_first());
  EXPECT_EQ(group().gather("mine"), std::vector<std::string>{"mine"});
  EXPECT_EQ(group().broadcast("mine"), "mine");
  EXPECT_EQ(group().share(5).count(), 5);
  run_processes(2, kLong, [](Group& mine) { EXPECT_EQ(&group(), &mine); });
}

// Runs a step in which process `lost` takes no part. Returns what the processes said.
std::vector<std::string> say_without(int size, int lost, const std::function<void(Group&)>& step) {
  std::mutex mutex;
  std::vector<std::string> all;
  run_processes(size, kShort, [&](Group& group) {
    if (group.rank() == lost) return;
    said.clear();
    try {
      step(group);
    } catch (const LostProcess& error) {
      try {
        group.fail(1, error.what(), /*lost=*/true, say);
      } catch (const Aborted&) {
      }
    }
    const std::lock_guard lock(mutex);
    all.insert(all.end(), said.begin(), said.end());
  });
  return all;
}

TEST(GroupTest, AProcessThatDoesNotAnswerIsNamedOnce) {
  // Process 0 waits for the last one, which waits for the lost one.
  const auto chain = [](Group& group) {
    if (group.rank() > 0) group.receive(group.rank() - 1);
    if (group.rank() + 1 < group.size()) group.send(group.rank() + 1, "");
    group.broadcast("", group.size() - 1);
  };
  for (int lost = 1; lost < 4; ++lost) {
    EXPECT_THAT(say_without(4, lost, chain),
                testing::ElementsAre(testing::HasSubstr(
                    fmt::format("process {} of 4 has not answered for 0.2 s", lost))));
  }
}

TEST(GroupTest, WithoutProcess0AnotherEndsTheRun) {
  const auto said = say_without(2, 0, [](Group& group) { group.gather(""); });
  EXPECT_THAT(said, testing::ElementsAre(testing::HasSubstr("process 0 of 2 has not answered")));
}

TEST(GroupTest, AProcessThatIsSlowIsNotLost) {
  std::atomic<int> done = 0;
  run_processes(3, Seconds(1), [&](Group& group) {
    for (int slow = 0; slow < 3; ++slow) {
      if (group.rank() == slow) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      group.gather("");
    }
    ++done;
  });
  EXPECT_EQ(done, 3);
}

TEST(GroupTest, Process0PassesOnWhyAnotherFailed) {
  std::string reason;
  int exit_code = 0;
  const auto memory = run_processes(3, kLong, [&](Group& group) {
    if (group.rank() == 2) group.fail(2, "a bad file", /*lost=*/false, say);
    try {
      group.gather("");
    } catch (const OtherFailed& error) {
      reason = error.what();
      exit_code = error.exit_code();
      group.fail(exit_code, reason, /*lost=*/false, say);
    }
  });
  EXPECT_EQ(reason, "process 2 of 3: a bad file");
  EXPECT_EQ(exit_code, 2);
  EXPECT_EQ(memory->aborted_by, 0);
}

}  // namespace
}  // namespace stpn::processes::group_test
