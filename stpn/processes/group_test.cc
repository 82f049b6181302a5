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
// In which a process answers that is there, even on a busy machine.
constexpr Seconds kShort{1};

// What `fail` says.
thread_local std::vector<std::string> said;
void say(const std::string& message) {
  said.push_back(message);
  // So that whoever does not leave it to this process says it too.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
}

TEST(MessageTest, ReadsWhatWasWritten) {
  Writer writer;
  writer.number(3);
  writer.text("a b");
  writer.numbers(std::vector<double>{1.5, -0.0});
  writer.numbers(std::vector<double>{});
  writer.text("");
  const std::string message = writer.take();
  Reader reader(message);
  EXPECT_EQ(reader.number<int>(), 3);
  EXPECT_EQ(reader.text(), "a b");
  const auto numbers = reader.numbers<double>();
  ASSERT_EQ(numbers.size(), 2);
  EXPECT_TRUE(std::signbit(numbers[1]));
  EXPECT_TRUE(reader.numbers<double>().empty());
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

TEST(MessageTest, NumbersOfAnotherSizeAreAnError) {
  Writer writer;
  writer.numbers(std::vector<char>(12));
  const std::string message = writer.take();
  EXPECT_THROW(Reader(message).numbers<double>(), base::Error);
  EXPECT_EQ(Reader(message).numbers<float>().size(), 3);
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
                    fmt::format("process {} of 4 has not answered for 1 s", lost))));
  }
}

TEST(GroupTest, WithoutProcess0AnotherEndsTheRun) {
  for (const int size : {2, 4}) {
    const auto said = say_without(size, 0, [](Group& group) { group.gather(""); });
    EXPECT_THAT(said, testing::ElementsAre(testing::HasSubstr(
                          fmt::format("process 0 of {} has not answered", size))));
  }
}

TEST(GroupTest, AProcessThatAnswersWithinTheGraceIsNotLost) {
  std::atomic<int> done = 0;
  run_processes(2, Group::kGrace, [&](Group& group) {
    // Process 0 asks it while it sleeps.
    if (group.rank() == 1) std::this_thread::sleep_for(Group::kGrace * 1.1);
    group.gather("");
    ++done;
  });
  EXPECT_EQ(done, 2);
}

TEST(GroupTest, ProcessesThatWaitForAMomentAreNotEnded) {
  std::atomic<int> done = 0;
  run_processes(3, Group::kGrace, [&](Group& group) {
    // When process 2 wakes and answers, all do; but what process 0 waits for takes a while longer.
    if (group.rank() == 2) {
      std::this_thread::sleep_for(Group::kGrace * 1.1);
      group.send(1, "");
      group.receive(0);
    } else if (group.rank() == 1) {
      group.receive(2);
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      group.send(0, "");
    } else {
      group.receive(1);
      group.send(2, "");
    }
    ++done;
  });
  EXPECT_EQ(done, 3);
}

TEST(GroupTest, ProcessesThatWaitForOneAnotherEnd) {
  std::string reason;
  run_processes(2, kShort, [&](Group& group) {
    try {
      group.receive(1 - group.rank());
    } catch (const LostProcess& error) {
      if (group.is_first()) reason = error.what();
      group.fail(1, error.what(), /*lost=*/true, say);
    }
  });
  EXPECT_EQ(reason, "the 2 processes wait for one another");
}

// Fails as soon as it is to send something.
class BrokenTransport : public MemoryTransport {
 public:
  using MemoryTransport::MemoryTransport;
  void post(int, Channel, std::string) override { throw base::Error("no route"); }
};

TEST(GroupTest, AMessageThatCannotBeSentIsABrokenConnection) {
  Group group(std::make_unique<BrokenTransport>(std::make_shared<Memory>(2), 1), kLong);
  for (const auto& call : std::vector<std::function<void()>>{[&] { group.send(0, ""); },
                                                             [&] { group.broadcast("", 1); }}) {
    try {
      call();
      ADD_FAILURE();
    } catch (const base::Error& error) {
      EXPECT_THAT(error.what(), testing::StartsWith("the connection to another process is broken"));
      EXPECT_THAT(error.what(), testing::HasSubstr("no route"));
    }
  }
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
  EXPECT_EQ(memory->exit_code, 2);
}

}  // namespace
}  // namespace stpn::processes::group_test
