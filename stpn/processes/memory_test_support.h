// Processes of a run that are threads of a test.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "stpn/processes/group.h"

namespace stpn::processes {

// What the processes have in common.
struct Memory {
  explicit Memory(int its_size) : size(its_size) {}

  const int size;
  std::mutex mutex;
  std::map<std::array<int, 3>, std::deque<std::string>> messages;  // by from, to and channel
  int64_t count = 0, bytes = 0;                                    // of data
  int aborted_by = -1, exit_code = 0;
};

struct Aborted {};

class MemoryTransport : public Transport {
 public:
  MemoryTransport(std::shared_ptr<Memory> memory, int rank)
      : memory_(std::move(memory)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return memory_->size; }

  void post(int to, Channel channel, std::string message) override {
    const std::lock_guard lock(memory_->mutex);
    if (channel == Channel::data) {
      ++memory_->count;
      memory_->bytes += static_cast<int64_t>(message.size());
    }
    memory_->messages[{rank_, to, static_cast<int>(channel)}].push_back(std::move(message));
  }
  bool all_left() override {
    check();
    return true;
  }
  std::optional<Received> take(int from, Channel channel) override {
    check();
    const std::lock_guard lock(memory_->mutex);
    for (int rank = 0; rank < size(); ++rank) {
      if (from != kAnyRank && from != rank) continue;
      auto& queue = memory_->messages[{rank, rank_, static_cast<int>(channel)}];
      if (queue.empty()) continue;
      Received received{rank, std::move(queue.front())};
      queue.pop_front();
      return received;
    }
    return {};
  }
  void finish() override {}
  void abort(int exit_code) override {
    {
      const std::lock_guard lock(memory_->mutex);
      memory_->aborted_by = rank_;
      memory_->exit_code = exit_code;
    }
    throw Aborted();
  }

 private:
  void check() const {
    const std::lock_guard lock(memory_->mutex);
    if (memory_->aborted_by >= 0) throw Aborted();
  }

  std::shared_ptr<Memory> memory_;
  int rank_;
};

// Runs body(group) in `size` processes. Returns what they had in common.
inline std::shared_ptr<Memory> run_processes(int size, Group::Seconds patience,
                                             const std::function<void(Group&)>& body) {
  auto memory = std::make_shared<Memory>(size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      Group group(std::make_unique<MemoryTransport>(memory, rank), patience);
      const GroupGuard guard(group);
      try {
        body(group);
      } catch (const Aborted&) {
      } catch (const base::Error& error) {
        ADD_FAILURE() << "process " << rank << ": " << error.what();
        const std::lock_guard lock(memory->mutex);  // ends the others, which would wait for it
        memory->aborted_by = rank;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return memory;
}

}  // namespace stpn::processes
