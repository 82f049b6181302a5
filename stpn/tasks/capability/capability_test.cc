#include "stpn/tasks/capability/capability.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "stpn/base/testing.h"
#include "stpn/tasks/capability/automaton.h"
#include "stpn/tasks/sequence_task_contract.h"

namespace stpn::tasks::capability_test {
namespace {

using base::testing::error_of;

template <typename Options>
Options small() {
  Options options;
  options.training = options.validation = options.test = 40;
  return options;
}

RecallOptions recall(int64_t pairs, int64_t writes, int64_t symbols, int64_t length) {
  auto options = small<RecallOptions>();
  options.pairs = pairs;
  options.writes = writes;
  options.symbols = symbols;
  options.length = length;
  return options;
}

TrackingOptions tracking(const std::string& automaton, int64_t generators, int64_t length) {
  auto options = small<TrackingOptions>();
  options.automaton = automaton;
  options.generators = generators;
  options.length = length;
  return options;
}

JointOptions joint(const std::string& automaton, int64_t pairs, int64_t generators,
                   int64_t length) {
  auto options = small<JointOptions>();
  options.automaton = automaton;
  options.pairs = pairs;
  options.generators = generators;
  options.length = length;
  return options;
}

TEST(CapabilityTest, OneHotVectorsAreOnesUnlessScaled) {
  auto options = recall(2, 1, 10, 4);
  options.scaled = false;
  const contract::Batch batch = contract::read(*options.make(1), Split::test, 0, 3);
  for (const float value : batch.x) EXPECT_TRUE(value == 0 || value == 1) << value;
}

TEST(Capability, KeepsTheContract) {
  contract::expect_sequence_task_contract(small<RecallOptions>());
  contract::expect_sequence_task_contract(recall(5, 2, 7, 21));
  contract::expect_sequence_task_contract(small<JointOptions>());
  contract::expect_sequence_task_contract(joint("quadratic", 2, 30, 34));
  for (const std::string& name : automaton_names()) {
    contract::expect_sequence_task_contract(tracking(name, 25, 40));
  }
}

// What is shown and asked at each step of a test sequence; -1: nothing.
struct Seen {
  int64_t key = -1, value = -1, generator = -1, target = -1;
};

// `symbols` 0: without keys and values.
std::vector<Seen> read_sequence(const SequenceTask& task, int64_t symbols, int64_t sequence) {
  const contract::Batch batch = contract::read(task, Split::test, sequence, 1);
  std::vector<Seen> steps;
  for (int64_t t = 0; t < task.steps(); ++t) {
    const float* x = batch.x.data() + t * task.input_size();
    const auto hot = [&](int64_t first, int64_t end) {
      const float one = std::sqrt(static_cast<float>(end - first));
      const auto ones = std::count(x + first, x + end, one);
      const auto zeros = std::count(x + first, x + end, 0.0f);
      EXPECT_LE(ones, 1) << "step " << t;
      EXPECT_EQ(ones + zeros, end - first) << "step " << t;
      return ones == 0 ? -1 : std::find(x + first, x + end, one) - (x + first);
    };
    steps.push_back({hot(0, symbols), hot(symbols, 2 * symbols),
                     hot(2 * symbols, task.input_size()), batch.target[t]});
  }
  return steps;
}

// A step as text: "3=5" a pair, "3?5" a question with its answer, "g1>2" a generator and the state
// after it, "." nothing.
std::string text_of(const std::vector<Seen>& steps) {
  std::string text;
  for (const Seen& step : steps) {
    if (step.value >= 0) {
      text += fmt::format(" {}={}", step.key, step.value);
    } else if (step.key >= 0) {
      text += fmt::format(" {}?{}", step.key, step.target);
    } else if (step.generator >= 0) {
      text += fmt::format(" g{}>{}", step.generator, step.target);
    } else {
      text += " .";
    }
  }
  return text.substr(1);
}

// If this test fails, results on these tasks cannot be compared with earlier ones.
TEST(Capability, SequencesNeverChange) {
  EXPECT_EQ(text_of(read_sequence(*recall(2, 2, 10, 8).make(1), 10, 0)),
            "0=0 5=7 0=1 5=4 0?1 . . 5?4");
  EXPECT_EQ(text_of(read_sequence(*tracking("s5", 6, 8).make(1), 0, 1)),
            ". g3>1 . g1>7 g0>49 g2>52 g2>49 g0>7");
  EXPECT_EQ(text_of(read_sequence(*joint("s3", 2, 4, 9).make(1), 64, 2)),
            "14=33 19=38 19?38 g1>65 g1>64 g0>66 . 14?33 g0>64");
}

// Follows the rules over a sequence, and counts what there is of each kind.
void expect_rules(const std::vector<Seen>& steps, int64_t symbols, int64_t pairs, int64_t writes,
                  const std::string& automaton_name, int64_t generators) {
  const Automaton automaton = make_automaton(automaton_name);
  const int64_t first_state = symbols;
  std::map<int64_t, int64_t> value_of, written, asked;
  int64_t state = 0, seen_generators = 0;
  for (const Seen& step : steps) {
    if (step.value >= 0) {
      ASSERT_GE(step.key, 0);
      ASSERT_TRUE(asked.empty()) << "a pair after a question";
      ASSERT_EQ(seen_generators, 0) << "a pair after a generator";
      value_of[step.key] = step.value;
      ++written[step.key];
    }
    if (step.generator >= 0) {
      ASSERT_EQ(step.key, -1);
      ASSERT_EQ(step.value, -1);
      ++seen_generators;
      state = automaton.after(state, step.generator);
      ASSERT_EQ(step.target, first_state + state);
    } else if (step.key >= 0 && step.value < 0) {
      ASSERT_EQ(step.target, value_of.at(step.key));
      ++asked[step.key];
    } else {
      ASSERT_EQ(step.target, kNoTarget);
    }
  }
  EXPECT_EQ(static_cast<int64_t>(written.size()), pairs);
  for (const auto& [key, count] : written) EXPECT_EQ(count, writes);
  EXPECT_EQ(static_cast<int64_t>(asked.size()), pairs);
  for (const auto& [key, count] : asked) EXPECT_EQ(count, 1);
  EXPECT_EQ(seen_generators, generators);
}

TEST(Capability, FollowsTheRules) {
  for (int64_t i = 0; i < 40; ++i) {
    SCOPED_TRACE(testing::Message() << "sequence " << i);
    expect_rules(read_sequence(*recall(8, 1, 64, 32).make(3), 64, i), 64, 8, 1, "s3", 0);
    expect_rules(read_sequence(*recall(5, 3, 5, 20).make(3), 5, i), 5, 5, 3, "s3", 0);
    expect_rules(read_sequence(*joint("s5", 8, 16, 40).make(3), 64, i), 64, 8, 1, "s5", 16);
    for (const std::string& name : automaton_names()) {
      expect_rules(read_sequence(*tracking(name, 20, 23).make(3), 0, i), 0, 0, 1, name, 20);
    }
  }
}

TEST(Capability, WhatFollowsThePairsComesInEveryOrder) {
  JointOptions options = joint("s3", 2, 1, 6);
  options.test = 2400;
  const auto task = options.make(1);
  std::map<std::string, int64_t> orders;
  for (int64_t i = 0; i < options.test; ++i) {
    std::string order;
    std::vector<int64_t> keys;
    for (const Seen& step : read_sequence(*task, 64, i)) {
      if (step.value >= 0) {
        keys.push_back(step.key);
      } else if (step.generator >= 0) {
        order += 'g';
      } else {
        order += step.key < 0 ? '.' : step.key == keys[0] ? '1' : '2';
      }
    }
    ++orders[order];
  }
  EXPECT_EQ(orders.size(), 24u);
  // 100 are expected of each; five standard deviations are 49.
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 100, 49) << order;
}

TEST(Capability, GrowsWithItsLength) {
  const auto options = joint("s5", 8, 14, 32);
  const auto task = options.make(1);
  ASSERT_EQ(task->difficulty()->name, "length");
  EXPECT_EQ(task->difficulty()->value, 32);
  EXPECT_EQ(task->difficulty()->compared, (std::vector<int64_t>{64, 128, 256}));
  for (const auto& [length, pairs, generators] : {std::tuple(64, 16, 28), std::tuple(100, 25, 43),
                                                  std::tuple(256, 64, 112), std::tuple(4, 1, 1)}) {
    const auto longer = task->at_difficulty(length);
    ASSERT_NE(longer, nullptr) << length;
    EXPECT_EQ(longer->steps(), length);
    expect_rules(read_sequence(*longer, 64, 7), 64, pairs, 1, "s5", generators);
  }
  EXPECT_EQ(task->at_difficulty(260), nullptr) << "65 keys of 64 symbols";
  EXPECT_EQ(task->at_difficulty(3), nullptr) << "no pair";
  EXPECT_EQ(task->at_difficulty(0), nullptr);
  EXPECT_EQ(task->at_difficulty(-1), nullptr);
  EXPECT_EQ(task->at_difficulty(int64_t{1} << 62), nullptr);
  EXPECT_NE(tracking("s3", 1, 32).make(1)->at_difficulty(32), nullptr);
  EXPECT_EQ(tracking("s3", 1, 32).make(1)->at_difficulty(31), nullptr) << "no generator";
}

TEST(Capability, JointHasPartsThatCoverItsClasses) {
  EXPECT_TRUE(small<RecallOptions>().make(1)->parts().empty());
  EXPECT_TRUE(small<TrackingOptions>().make(1)->parts().empty());
  const auto task = small<JointOptions>().make(1);
  const std::vector<Part> parts = task->parts();
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "recall");
  EXPECT_EQ(parts[0].first, 0);
  EXPECT_EQ(parts[0].end, 64);
  EXPECT_EQ(parts[1].name, "tracking");
  EXPECT_EQ(parts[1].first, 64);
  EXPECT_EQ(parts[1].end, 70);
  EXPECT_EQ(task->classes(), 70);
  EXPECT_EQ(task->input_size(), 64 + 64 + 2);
}

std::map<std::string, double> baselines_of(const SequenceTaskOptions& options) {
  std::map<std::string, double> values;
  for (const auto& [name, value] : options.make(1)->baselines()) values[name] = value;
  return values;
}

// The most frequent of the values; of several the smallest, so that their order does not help.
int64_t most_frequent(std::vector<int64_t> values) {
  std::sort(values.begin(), values.end());
  return *std::max_element(values.begin(), values.end(), [&](int64_t a, int64_t b) {
    return std::count(values.begin(), values.end(), a) <
           std::count(values.begin(), values.end(), b);
  });
}

TEST(Capability, BoundsOfRecallAreWhatSuchAModelReaches) {
  RecallOptions options = recall(6, 2, 8, 18);
  options.test = 20'000;
  options.scaled = false;
  const auto task = options.make(1);
  const contract::Batch all = contract::read_all(*task, Split::test);
  int64_t asked = 0, without_binding = 0, without_order = 0;
  for (int64_t b = 0; b < options.test; ++b) {
    std::map<int64_t, std::vector<int64_t>> values;  // by key, in order
    for (int64_t t = 0; t < 18; ++t) {
      const float* x = all.x.data() + (t * options.test + b) * 16;
      const int64_t key = std::find(x, x + 8, 1.0f) - x;
      const int64_t value = std::find(x + 8, x + 16, 1.0f) - (x + 8);
      if (value < 8) {
        values[key].push_back(value);
        continue;
      }
      ++asked;
      const int64_t target = all.target[t * options.test + b];
      std::vector<int64_t> last;
      for (const auto& [other, of_key] : values) last.push_back(of_key.back());
      without_binding += most_frequent(last) == target;
      without_order += most_frequent(values[key]) == target;
    }
  }
  ASSERT_EQ(asked, 120'000);
  const auto bounds = baselines_of(options);
  const auto share = [&](int64_t right) {
    return static_cast<double>(right) / static_cast<double>(asked);
  };
  // Three standard errors are below 0.005.
  EXPECT_NEAR(bounds.at("no_binding_accuracy"), share(without_binding), 0.005);
  EXPECT_NEAR(bounds.at("no_order_accuracy"), share(without_order), 0.005);
  EXPECT_DOUBLE_EQ(bounds.at("no_order_accuracy"), 0.5 + 0.5 / 8);
  EXPECT_DOUBLE_EQ(bounds.at("chance_accuracy"), 1.0 / 8);
  EXPECT_EQ(bounds.size(), 3u);
}

TEST(Capability, BoundsOfJointTakeTheRestToBePerfect) {
  const auto bounds = baselines_of(joint("s5", 8, 16, 32));
  const double recall_bound = baselines_of(recall(8, 1, 64, 32)).at("no_binding_accuracy");
  const double tracking_bound = baselines_of(tracking("s5", 16, 16)).at("no_state_accuracy");
  EXPECT_NEAR(bounds.at("no_binding_accuracy"), (8 * recall_bound + 16) / 24, 1e-12);
  EXPECT_NEAR(bounds.at("no_state_accuracy"), (8 + 16 * tracking_bound) / 24, 1e-12);
  EXPECT_NEAR(bounds.at("chance_accuracy"), (8 / 64.0 + 16 / 120.0) / 24, 1e-12);
  EXPECT_EQ(bounds.size(), 3u);
  EXPECT_EQ(baselines_of(recall(8, 1, 64, 32)).size(), 2u);
  EXPECT_EQ(baselines_of(tracking("s3", 8, 8)).size(), 2u);
  EXPECT_DOUBLE_EQ(baselines_of(tracking("s3", 8, 8)).at("chance_accuracy"), 1.0 / 6);
}

TEST(Capability, RefusesWhatDoesNotFit) {
  EXPECT_EQ(error_of([] { joint("s3", 8, 16, 31).make(1); }),
            "length = 31: 8 pairs, each shown once and asked for once, and 16 generators need 32 "
            "steps");
  EXPECT_EQ(error_of([] { recall(8, 2, 64, 23).make(1); }),
            "length = 23: 8 pairs, each shown 2 times and asked for once, and 0 generators need 24 "
            "steps");
  EXPECT_EQ(error_of([] { recall(9, 1, 8, 32).make(1); }),
            "pairs = 9, symbols = 8: the keys of a sequence are distinct, so pairs must be at most "
            "8");
}

TEST(Capability, TasksHaveTheFieldsOfWhatTheyAskFor) {
  const auto keys_of = [](auto options) {
    std::set<std::string> keys;
    for (const base::Field& field : options.fields()) keys.insert(field.key);
    return keys;
  };
  const std::set<std::string> shared = {"scaled", "length", "training", "validation", "test"};
  const auto with = [&](std::set<std::string> own) {
    own.insert(shared.begin(), shared.end());
    return own;
  };
  EXPECT_EQ(keys_of(RecallOptions()), with({"pairs", "writes", "symbols"}));
  EXPECT_EQ(keys_of(TrackingOptions()), with({"automaton", "generators"}));
  EXPECT_EQ(keys_of(JointOptions()),
            with({"pairs", "writes", "symbols", "automaton", "generators"}));
}

}  // namespace
}  // namespace stpn::tasks::capability_test
