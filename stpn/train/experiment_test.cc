#include "stpn/train/experiment.h"

#include <gmock/gmock.h>

#include "stpn/train/test_support.h"

namespace stpn::train::experiment_test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ExperimentTest : public TrainTest {
 protected:
  std::string error_with(const std::vector<std::string>& settings) const {
    return error_of([&] { small(settings); });
  }
};

TEST_F(ExperimentTest, SettingsOverrideTheFileAndTheSeedOverridesBoth) {
  const auto path = write("model.toml", std::string(kSmall) + "seed = 5\n");
  EXPECT_EQ(read_experiment(path).train->seed, 5);
  EXPECT_EQ(read_experiment(path, {"train.seed=6"}).train->seed, 6);
  const Experiment experiment = read_experiment(path, {"train.seed=6", "train.epochs=9"}, 7);
  EXPECT_EQ(experiment.train->seed, 7);
  EXPECT_EQ(experiment.train->epochs(), 9);
  EXPECT_EQ(experiment.model, "model");
  EXPECT_EQ(experiment.name, folder_.filename().string() + "/model");
  EXPECT_EQ(task_of(experiment)->steps(), 7);
}

TEST_F(ExperimentTest, ResolvedCopyNamesEveryOptionAndReadsBackTheSame) {
  for (const char* unit : {"lstm", "stpn_recurrent"}) {
    Experiment experiment = small({std::string("unit.name=") + unit, "train.learning_rate=0.1",
                                   "train.target_accuracy=0.3333333333333333"});
    const std::string toml = experiment.to_toml();
    for (const auto& fields :
         {experiment.task->fields(), experiment.unit->fields(), experiment.train->fields()}) {
      for (const base::Field& field : fields) EXPECT_THAT(toml, HasSubstr(field.key + " = "));
    }
    const Experiment again = read_experiment(write("config.toml", toml));
    EXPECT_EQ(again.to_toml(), toml);
    EXPECT_EQ(dynamic_cast<SupervisedOptions&>(*again.train).learning_rate, 0.1);
    EXPECT_EQ(again.unit_name, unit);
  }
}

TEST_F(ExperimentTest, DefaultsNeverStopEarly) {
  const SupervisedOptions options;
  EXPECT_EQ(options.patience, 0);
  EXPECT_GT(options.target_accuracy, 1);
}

TEST_F(ExperimentTest, RejectsUnknownMissingAndImpossibleOptions) {
  EXPECT_THAT(error_with({"train.epoch=3"}), AllOf(HasSubstr("epoch"), HasSubstr("epochs")));
  EXPECT_THAT(error_with({"unit.hidden=3"}), HasSubstr("hidden_size"));
  EXPECT_THAT(error_with({"model.hidden=3"}), HasSubstr("model"));
  EXPECT_THAT(error_with({"unit.name=lstmm"}), HasSubstr("lstm"));
  EXPECT_THAT(error_with({"unit.name=3"}), HasSubstr("name"));
  EXPECT_THAT(error_with({"task.name=associative_retreival"}), HasSubstr("associative_retrieval"));
  EXPECT_THAT(error_with({"train.algorithm=dreaming"}), HasSubstr("supervised"));
  EXPECT_THAT(error_with({"unit.hidden_size=0"}), HasSubstr("hidden_size"));
  EXPECT_THAT(error_with({"unit.hidden_size=-3"}), HasSubstr("-3"));
  EXPECT_THAT(error_with({"unit.hidden_size=wide"}), HasSubstr("wide"));
  EXPECT_THAT(error_with({"task.pairs=0"}), HasSubstr("pairs"));
  EXPECT_THAT(error_with({"train.epochs=1.5"}), HasSubstr("epochs"));
  EXPECT_THAT(error_with({"train.learning_rate=nan"}), HasSubstr("learning_rate"));
  EXPECT_THAT(error_with({"nonsense"}), HasSubstr("nonsense"));
  EXPECT_THAT(error_of([&] { read_experiment(folder_ / "absent.toml"); }),
              HasSubstr("absent.toml"));
  EXPECT_THAT(error_of([&] { read_experiment(write("bad.toml", "{\"json\": 1}")); }),
              HasSubstr("bad.toml"));
  EXPECT_THAT(error_of([&] { read_experiment(write("empty.toml", "")); }), HasSubstr("name"));
  EXPECT_THAT(error_of([&] { read_experiment(folder_); }), HasSubstr(folder_.string()));
}

TEST_F(ExperimentTest, SeedDecidesDataAndParameters) {
  const auto first_values = [&](const char* seed) {
    const Experiment experiment = small({seed});
    const auto task = task_of(experiment);
    std::vector<float> x(static_cast<size_t>(task->steps() * 70 * task->input_size()));
    std::vector<int64_t> target(static_cast<size_t>(task->steps() * 70));
    task->batch(tasks::Split::training, 0, 70, x.data(), target.data());
    const auto weight = model_of(experiment)->parameters()[0].detach().flatten();
    return std::make_tuple(x, target, weight[0].item<float>());
  };
  EXPECT_EQ(first_values("train.seed=1"), first_values("train.seed=1"));
  EXPECT_NE(std::get<0>(first_values("train.seed=1")), std::get<0>(first_values("train.seed=2")));
  EXPECT_NE(std::get<2>(first_values("train.seed=1")), std::get<2>(first_values("train.seed=2")));
}

TEST_F(ExperimentTest, FirstDifferenceNamesKeyAndValuesAndIgnoresEpochs) {
  const std::string there = small().to_toml();
  EXPECT_EQ(first_difference(there, there), "");
  EXPECT_EQ(first_difference(there, small({"train.epochs=99"}).to_toml()), "");
  EXPECT_EQ(first_difference(there, small({"unit.hidden_size=12"}).to_toml()),
            "unit.hidden_size is 5 there and 12 here");
  EXPECT_THAT(first_difference(there, small({"unit.name=stpn_recurrent"}).to_toml()),
              HasSubstr("unit."));
  EXPECT_EQ(first_difference("[a]\n", "[a]\nb = 1\n"), "a.b is absent there and 1 here");
  EXPECT_EQ(first_difference("[a]\nb = 1\n", "[a]\n"), "a.b is 1 there and absent here");
}

}  // namespace
}  // namespace stpn::train::experiment_test
