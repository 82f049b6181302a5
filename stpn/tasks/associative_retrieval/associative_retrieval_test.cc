#include "stpn/tasks/associative_retrieval/associative_retrieval.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "stpn/base/testing.h"
#include "stpn/tasks/sequence_task_contract.h"

namespace stpn::tasks::associative_retrieval_test {
namespace {

using base::testing::error_of;
using contract::Batch;

constexpr Split kSplits[] = {Split::training, Split::validation, Split::test};

AssociativeRetrievalOptions small(int64_t pairs, int64_t keys, int64_t values,
                                  int64_t sequences = 50) {
  AssociativeRetrievalOptions options;
  options.pairs = pairs;
  options.keys = keys;
  options.values = values;
  options.training = options.validation = options.test = sequences;
  return options;
}

int64_t sequences_in(const SequenceTask& task, const Batch& batch) {
  return static_cast<int64_t>(batch.target.size()) / task.steps();
}

// The target of sequence b, which is at its last step.
int64_t target_of(const SequenceTask& task, const Batch& batch, int64_t b) {
  const int64_t count = sequences_in(task, batch);
  for (int64_t t = 0; t + 1 < task.steps(); ++t) EXPECT_EQ(batch.target[t * count + b], kNoTarget);
  return batch.target[(task.steps() - 1) * count + b];
}

// The symbols of sequence b of a batch that holds a whole split. Fails unless every input is
// one-hot.
std::vector<int64_t> decode(const SequenceTask& task, const Batch& batch, int64_t b) {
  const int64_t count = sequences_in(task, batch);
  std::vector<int64_t> symbols;
  for (int64_t t = 0; t < task.steps(); ++t) {
    const float* x = batch.x.data() + (t * count + b) * task.input_size();
    const auto hot = std::find(x, x + task.input_size(), 1.0f) - x;
    EXPECT_LT(hot, task.input_size());
    EXPECT_EQ(std::count(x, x + task.input_size(), 0.0f), task.input_size() - 1);
    symbols.push_back(hot);
  }
  return symbols;
}

double baseline(const SequenceTask& task, const std::string& wanted) {
  for (const auto& [name, value] : task.baselines()) {
    if (name == wanted) return value;
  }
  ADD_FAILURE() << "no " << wanted;
  return 0;
}

// A sequence and its target as text: letters, digits, `?`.
std::string text_of(const SequenceTask& task, Split split, int64_t i) {
  constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789?";
  const Batch batch = contract::read(task, split, i, 1);
  std::string text;
  for (const int64_t symbol : decode(task, batch, 0)) text += kAlphabet[symbol];
  return text + " " + kAlphabet[target_of(task, batch, 0)];
}

void expect_right_sequences(const AssociativeRetrievalOptions& options) {
  const auto task = options.make(9);
  const int64_t pairs = options.pairs, keys = options.keys;
  const int64_t query = keys + options.values;
  for (const Split split : kSplits) {
    const Batch batch = contract::read_all(*task, split);
    for (int64_t b = 0; b < task->size(split); ++b) {
      const std::vector<int64_t> symbols = decode(*task, batch, b);
      std::set<int64_t> seen;
      int64_t answer = -1;
      for (int64_t p = 0; p < pairs; ++p) {
        const int64_t key = symbols[2 * p], value = symbols[2 * p + 1];
        ASSERT_LT(key, keys);
        ASSERT_TRUE(seen.insert(key).second) << "a key occurs twice";
        ASSERT_GE(value, keys);
        ASSERT_LT(value, query);
        if (key == symbols.back()) answer = value;
      }
      ASSERT_EQ(symbols[2 * pairs], query);
      ASSERT_EQ(symbols[2 * pairs + 1], query);
      ASSERT_EQ(target_of(*task, batch, b), answer);
    }
  }
}

TEST(AssociativeRetrieval, KeepsTheContract) {
  for (const auto& options : {small(3, 26, 10), small(8, 26, 10), small(16, 16, 2),
                              small(1, 26, 10), small(5, 300, 700)}) {
    SCOPED_TRACE(options.pairs);
    contract::expect_sequence_task_contract(options);
  }
}

TEST(AssociativeRetrieval, HasThePublishedSizes) {
  const auto task = AssociativeRetrievalOptions().make(1);
  EXPECT_EQ(task->steps(), 9);
  EXPECT_EQ(task->input_size(), 37);
  EXPECT_EQ(task->classes(), 37);
  EXPECT_EQ(task->size(Split::training), 100'000);
  EXPECT_EQ(task->size(Split::validation), 10'000);
  EXPECT_EQ(task->size(Split::test), 20'000);
}

TEST(AssociativeRetrieval, AsksForAKeyThatWasShownAndWantsItsValue) {
  expect_right_sequences(small(3, 26, 10, 1000));
  expect_right_sequences(small(1, 1, 2));
  expect_right_sequences(small(26, 26, 10));
  expect_right_sequences(small(4, 300, 2));
  expect_right_sequences(small(2, 2, 60'000, 3));
}

// All published results were measured on these data: if this test fails, the code is wrong.
TEST(AssociativeRetrieval, SequencesNeverChange) {
  const auto task = small(3, 26, 10, 100).make(1);
  EXPECT_EQ(text_of(*task, Split::training, 0), "x5h0m5??x 5");
  EXPECT_EQ(text_of(*task, Split::training, 1), "s8h0x8??x 8");
  EXPECT_EQ(text_of(*task, Split::training, 2), "p3q4u9??q 4");
  EXPECT_EQ(text_of(*task, Split::validation, 0), "o8y0p3??o 8");
  EXPECT_EQ(text_of(*task, Split::validation, 1), "i7m5z1??i 7");
  EXPECT_EQ(text_of(*task, Split::test, 0), "t4k6u4??k 6");
  EXPECT_EQ(text_of(*task, Split::test, 1), "x2d5o1??o 1");

  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a over symbols and target of 100 sequences
  const auto mix = [&](int64_t symbol) {
    hash = (hash ^ static_cast<uint64_t>(symbol)) * 0x100000001b3;
  };
  const Batch batch = contract::read_all(*task, Split::training);
  for (int64_t b = 0; b < 100; ++b) {
    for (const int64_t symbol : decode(*task, batch, b)) mix(symbol);
    mix(target_of(*task, batch, b));
  }
  EXPECT_EQ(hash, 0x9ccf974f65428893);
}

TEST(AssociativeRetrieval, ASequenceDoesNotDependOnHowManyThereAre) {
  const auto few = small(3, 26, 10, 8).make(4);
  const auto many = small(3, 26, 10, 80).make(4);
  for (const Split split : kSplits) {
    for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(text_of(*few, split, i), text_of(*many, split, i));
  }
}

TEST(AssociativeRetrieval, KeysValuesAndQueriedPositionsAreUniform) {
  constexpr int64_t kSequences = 20'000;
  const auto task = small(3, 26, 10, kSequences).make(2);
  const Batch batch = contract::read_all(*task, Split::training);
  std::vector<int64_t> first(26), last(26), values(10), asked(3);
  for (int64_t b = 0; b < kSequences; ++b) {
    const std::vector<int64_t> symbols = decode(*task, batch, b);
    ++first[symbols[0]];
    ++last[symbols[4]];
    ++values[target_of(*task, batch, b) - 26];
    for (int64_t p = 0; p < 3; ++p) asked[p] += symbols[2 * p] == symbols.back();
  }
  // Five standard deviations; the data are fixed.
  for (const auto* counts : {&first, &last, &values, &asked}) {
    const double expected = static_cast<double>(kSequences) / static_cast<double>(counts->size());
    for (const int64_t count : *counts) {
      EXPECT_NEAR(static_cast<double>(count), expected, 5 * std::sqrt(expected));
    }
  }
}

TEST(AssociativeRetrieval, KnowsWhatGuessingReaches) {
  const auto chance = [](int64_t values) {
    return baseline(*small(1, 26, values, 1).make(1), "chance_accuracy");
  };
  EXPECT_EQ(chance(10), 0.1);
  EXPECT_EQ(chance(4), 0.25);

  const auto no_binding = [](int64_t pairs, int64_t values) {
    return baseline(*small(pairs, 1000, values, 1).make(1), "no_binding_accuracy");
  };
  EXPECT_NEAR(no_binding(1, 10), 1, 1e-12);
  EXPECT_NEAR(no_binding(3, 10), 0.43, 1e-12);  // (0.72 * 1 + 0.27 * 2 + 0.01 * 3) / 3
  EXPECT_NEAR(no_binding(2, 2), 0.75, 1e-12);   // (1/2 * 1 + 1/2 * 2) / 2
  EXPECT_NEAR(no_binding(3, 2), 0.75, 1e-12);   // (3/4 * 2 + 1/4 * 3) / 3
  // By enumeration, in exact fractions.
  EXPECT_NEAR(no_binding(4, 10), 0.3835, 1e-12);
  EXPECT_NEAR(no_binding(6, 10), 0.33661, 1e-12);
  EXPECT_NEAR(no_binding(8, 10), 0.29991475, 1e-12);
  EXPECT_NEAR(no_binding(16, 10), 0.2360248951004515, 1e-12);
  EXPECT_NEAR(no_binding(2, 40'000), 0.5, 1e-4);
  // For many pairs it approaches 1/2 + sqrt(1 / (2 pi pairs)).
  EXPECT_NEAR(no_binding(800, 2), 0.5 + std::sqrt(1 / (2 * 3.14159265 * 800)), 1e-4);
}

// The bound, measured: the accuracy of answering the value that was shown most often.
TEST(AssociativeRetrieval, GuessingTheMostFrequentValueReachesTheBoundWithoutBinding) {
  constexpr int64_t kSequences = 20'000;
  const auto task = small(4, 26, 3, kSequences).make(3);
  const Batch batch = contract::read_all(*task, Split::training);
  int64_t right = 0;
  for (int64_t b = 0; b < kSequences; ++b) {
    const std::vector<int64_t> symbols = decode(*task, batch, b);
    std::vector<int64_t> shown(3);
    for (int64_t p = 0; p < 4; ++p) ++shown[symbols[2 * p + 1] - 26];
    right += std::max_element(shown.begin(), shown.end()) - shown.begin() ==
             target_of(*task, batch, b) - 26;
  }
  EXPECT_NEAR(static_cast<double>(right) / kSequences, baseline(*task, "no_binding_accuracy"),
              0.015);
}

TEST(AssociativeRetrieval, RefusesImpossibleOptions) {
  const auto refused = [](const AssociativeRetrievalOptions& options) {
    return error_of([&] { options.make(1); });
  };
  const std::string message = refused(small(27, 26, 10));
  EXPECT_NE(message.find("pairs = 27, keys = 26"), std::string::npos) << message;
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  refused(small(0, 26, 10));
  refused(small(-1, 26, 10));
  refused(small(1, 26, 1));
  refused(small(1, 26, kHuge));
  refused(small(1, kHuge, 10));
  refused(small(kHuge, kHuge, kHuge));
  refused(small(1, 65'526, 10));
  refused(small(3, 26, 10, 0));
  refused(small(3, 26, 10, -5));
  refused(small(3, 26, 10, kHuge));
  refused(small(65'000, 65'000, 10, 1'000'000'000));
  small(1, 65'525, 10, 1).make(1);
}

TEST(AssociativeRetrieval, ReadsItsOptionsFromAnExperiment) {
  base::Config config;
  config.tables["task"]["pairs"] = {int64_t{8}, "x.toml:3"};
  AssociativeRetrievalOptions options;
  base::assign(config, "task", options.fields());
  EXPECT_EQ(options.pairs, 8);
  config.tables["task"]["pairs"] = {int64_t{0}, "x.toml:3"};
  error_of([&] { base::assign(config, "task", options.fields()); });
  config.tables["task"] = {{"training", {int64_t{0}, "x.toml:3"}}};
  error_of([&] { base::assign(config, "task", options.fields()); });
}

TEST(SequenceTaskRegistry, FindsTasksByNameAndMakesThem) {
  for (const SequenceTaskEntry& entry : sequence_task_registry()) {
    EXPECT_EQ(&find_sequence_task(entry.name, "here"), &entry);
    EXPECT_FALSE(entry.summary.empty());
    EXPECT_EQ(entry.summary.find('\n'), std::string::npos);
    const auto options = entry.options();
    for (const base::Field& field : options->fields()) EXPECT_FALSE(field.help.empty());
    EXPECT_GE(options->make(1)->size(Split::training), 1);
  }
}

TEST(SequenceTaskRegistry, NamesTheNearestTask) {
  EXPECT_EQ(error_of([] { find_sequence_task("asociative_retrieval", "x.toml:2"); }),
            "x.toml:2: [task] name = \"asociative_retrieval\": there is no such task (did you mean "
            "associative_retrieval?)");
  error_of([] { find_sequence_task("", "x.toml:2"); });
}

}  // namespace
}  // namespace stpn::tasks::associative_retrieval_test
