#include "stpn/train/reproduction.h"

#include <gmock/gmock.h>

#include "stpn/train/test_support.h"

namespace stpn::train::reproduction_test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kTwoSets = R"([[set]]
name = "easy"
models = ["small", "wide"]
seeds = 2

[[set]]
name = "hard"
models = ["small"]
settings = ["task.pairs=5", "train.epochs=9"]

[budget.full]

[budget.smoke]
seeds = 1
settings = ["train.epochs=1"]

[budget.hard]
sets = ["hard"]
)";

class ReproductionTest : public TrainTest {
 protected:
  ReproductionTest() {
    write("small.toml", kSmall);
    write("wide.toml", kSmall);
  }
  std::vector<PlannedRun> plan(const std::string& text, const std::string& budget = "full",
                               std::optional<int64_t> seeds = {}) const {
    return plan_reproduction(write("reproduce.toml", text), budget, seeds);
  }
  std::vector<std::string> names(const std::string& budget,
                                 std::optional<int64_t> seeds = {}) const {
    std::vector<std::string> names;
    for (const PlannedRun& run : plan(kTwoSets, budget, seeds)) names.push_back(run.name);
    return names;
  }
  // The error message of a file with one set of these lines; line 1 is [[set]].
  std::string refused(const std::string& lines, const std::string& budget = "full") const {
    return error_of([&] { plan("[[set]]\n" + lines + "\n[budget.full]\n", budget); });
  }
};

TEST_F(ReproductionTest, RunsTheFirstSeedOfAllModelsFirst) {
  EXPECT_THAT(names("full"), ElementsAre("easy/small/seed1", "easy/wide/seed1", "hard/small/seed1",
                                         "easy/small/seed2", "easy/wide/seed2"));
}

TEST_F(ReproductionTest, SettingsOfABudgetAreForItsSetsOnly) {
  write("rl.toml",
        "[task]\nname = \"maze\"\n[unit]\nname = \"gru\"\n[train]\nalgorithm = \"actor_critic\"\n");
  const std::string text = std::string("[[set]]\nname = \"rl\"\nmodels = [\"rl\"]\n") + kTwoSets +
                           "settings = [\"train.epochs=3\"]\n";  // of budget hard
  const std::vector<PlannedRun> runs = plan(text, "hard");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].epochs, 3);
}

TEST_F(ReproductionTest, ABudgetLimitsSeedsAndTheCallerOverridesIt) {
  EXPECT_THAT(names("smoke"),
              ElementsAre("easy/small/seed1", "easy/wide/seed1", "hard/small/seed1"));
  EXPECT_EQ(names("smoke", 3).size(), 9u);
  EXPECT_EQ(names("full", 1).size(), 3u);
}

TEST_F(ReproductionTest, TheFullBudgetNeedsNoTable) {
  const std::string set = "[[set]]\nname = \"a\"\nmodels = [\"small\"]\nseeds = 2\n";
  EXPECT_EQ(plan(set).size(), 2u);
  EXPECT_EQ(plan(set + "[budget.full]\nseeds = 1").size(), 1u);
  EXPECT_THAT(error_of([&] { plan(set, "tiny"); }), HasSubstr("it has: full"));
}

TEST_F(ReproductionTest, ABudgetMayNameSomeSetsOnly) {
  EXPECT_THAT(names("hard"), ElementsAre("hard/small/seed1"));
}

TEST_F(ReproductionTest, SetsOfTheSameNameAreOne) {
  const auto runs = plan(
      "[[set]]\nname = \"a\"\nmodels = [\"small\"]\nseeds = 2\n"
      "[[set]]\nname = \"a\"\nmodels = [\"wide\"]\n[budget.full]");
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[1].name, "a/wide/seed1");
}

TEST_F(ReproductionTest, ModelsMayBeInAFolder) {
  std::filesystem::create_directory(folder_ / "more");
  write("more/other.toml", kSmall);
  const std::vector<PlannedRun> runs =
      plan("[[set]]\nname = \"a\"\nfolder = \"more\"\nmodels = [\"other\"]\n");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0].name, "a/other/seed1");
  EXPECT_EQ(runs[0].experiment, folder_ / "more" / "other.toml");
  EXPECT_THAT(refused("name = \"a\"\nfolder = \"..\"\nmodels = [\"small\"]"),
              testing::AllOf(HasSubstr("reproduce.toml:3"), HasSubstr("folder = \"..\"")));
  EXPECT_THAT(refused("name = \"a\"\nfolder = \"absent\"\nmodels = [\"small\"]"),
              HasSubstr("absent/small.toml"));
}

TEST_F(ReproductionTest, SettingsOfTheBudgetComeAfterThoseOfTheSet) {
  const auto runs = plan(kTwoSets, "smoke");
  EXPECT_THAT(runs[2].settings, ElementsAre("task.pairs=5", "train.epochs=9", "train.epochs=1"));
  EXPECT_EQ(runs[2].epochs, 1);
  const Experiment resolved =
      read_experiment(folder_ / "small.toml", {"task.pairs=5", "train.epochs=1"}, 1);
  EXPECT_EQ(runs[2].config, resolved.to_toml());
  EXPECT_EQ(plan(kTwoSets)[2].epochs, 9);
  EXPECT_EQ(plan(kTwoSets)[0].epochs, 4);
  EXPECT_EQ(plan(kTwoSets)[3].seed, 2);
}

TEST_F(ReproductionTest, ErrorsAreFoundBeforeAnythingRuns) {
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"absent\"]"), HasSubstr("absent.toml"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\"]\nsettings = [\"train.epoch=1\"]"),
              HasSubstr("epochs"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\"]\nseeds = 0"),
              HasSubstr("reproduce.toml:4: seeds"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\"]\nseed = 2"), HasSubstr("seeds"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\", \"small\"]"), HasSubstr("twice"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = \"small\""), HasSubstr(":3: models"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [1]"), HasSubstr(":3: models"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = []"), HasSubstr("no models"));
  EXPECT_THAT(refused("name = \"a\""), HasSubstr("no models"));
  EXPECT_THAT(refused("models = [\"small\"]"), HasSubstr("name is missing"));
  EXPECT_THAT(refused("name = \"../a\"\nmodels = [\"small\"]"), HasSubstr("../a"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\"]\n[[set]]\nname = \"a\"\nmodels = "
                      "[\"small\"]"),
              HasSubstr(":5: a/small/seed1 is in a set of that name"));
  EXPECT_THAT(refused("name = \"a\"\nmodels = [\"small\"]", "tiny"),
              testing::AllOf(HasSubstr("--budget tiny"), HasSubstr("full")));
  EXPECT_THAT(
      error_of([&] { plan(std::string(kTwoSets) + "[budget.typo]\nsets = [\"hrad\"]\n", "typo"); }),
      testing::AllOf(HasSubstr("hrad"), HasSubstr("easy, hard")));
  EXPECT_THAT(error_of([&] { plan("set = 3\n[budget.full]"); }), HasSubstr("[[set]]"));
  EXPECT_THAT(error_of([&] { plan("[budget.full]"); }), HasSubstr("[[set]]"));
  EXPECT_THAT(error_of([&] { plan("budget = 3"); }), HasSubstr("budget"));
  EXPECT_THAT(error_of([&] { plan("[[set"); }), HasSubstr("reproduce.toml:1"));
  EXPECT_THAT(error_of([&] { plan_reproduction(folder_ / "absent.toml", "full", {}); }),
              HasSubstr("absent.toml"));
}

}  // namespace
}  // namespace stpn::train::reproduction_test
