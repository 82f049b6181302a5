#include "stpn/train/run/checkpoint.h"

#include <gmock/gmock.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "stpn/base/files.h"
#include "stpn/base/safetensors.h"
#include "stpn/train/test_support.h"

namespace stpn::train::checkpoint_test {
namespace {

using testing::HasSubstr;

const Progress kProgress = {.epoch = 3,
                            .step = 27,
                            .best_epoch = 2,
                            .best_score = 1.0 / 3,
                            .metrics_bytes = 1234,
                            .wall_seconds = 0.1};

// A model of the small experiment after one step of Adam.
struct Trained {
  explicit Trained(const Experiment& experiment)
      : config(experiment.to_toml()),
        model(model_of(experiment)),
        adam(model->parameters(), 1e-2) {}
  void step() {
    const auto x = torch::ones({7, 4, 37});
    model->forward({.x = x}).logits.square().sum().backward();
    adam.step();
  }

  std::string config;
  std::shared_ptr<nn::Classifier> model;
  Adam adam;
};

class CheckpointTest : public TrainTest {
 protected:
  void expect_rejected(const std::filesystem::path& path, const std::string& part) const {
    Trained other(small());
    const auto before = other.model->parameters()[0].detach().clone();
    EXPECT_THAT(error_of([&] { load_checkpoint(path, *other.model, &other.adam, other.config); }),
                testing::AllOf(HasSubstr(part), HasSubstr(path.filename().string())));
    EXPECT_TRUE(before.equal(other.model->parameters()[0]));
    EXPECT_EQ(other.adam.steps(), 0);
  }
};

TEST_F(CheckpointTest, BringsBackEveryBitOfModelAndOptimiser) {
  Trained one(small());
  one.step();
  one.step();
  save_checkpoint(folder_ / "a.safetensors", *one.model, one.adam,
                  {.epoch = 1, .step = one.adam.steps()}, one.config);
  Trained two(small({"train.epochs=77"}));
  load_checkpoint(folder_ / "a.safetensors", *two.model, &two.adam, two.config);
  EXPECT_EQ(two.adam.steps(), 2);
  one.step();
  two.step();
  for (size_t i = 0; i < one.model->parameters().size(); ++i) {
    EXPECT_TRUE(one.model->parameters()[i].equal(two.model->parameters()[i])) << i;
    EXPECT_TRUE(one.adam.mean()[i].equal(two.adam.mean()[i])) << i;
    EXPECT_TRUE(one.adam.square()[i].equal(two.adam.square()[i])) << i;
  }
}

TEST_F(CheckpointTest, BringsBackProgress) {
  Trained one(small());
  const auto path = folder_ / "a.safetensors";
  save_checkpoint(path, *one.model, one.adam, kProgress, one.config);
  const Progress read = load_checkpoint(path, *one.model, nullptr, one.config);
  EXPECT_EQ(read.epoch, kProgress.epoch);
  EXPECT_EQ(read.step, kProgress.step);
  EXPECT_EQ(read.best_epoch, kProgress.best_epoch);
  EXPECT_EQ(read.best_score, kProgress.best_score);
  EXPECT_EQ(read.metrics_bytes, kProgress.metrics_bytes);
  EXPECT_EQ(read.wall_seconds, kProgress.wall_seconds);
}

TEST_F(CheckpointTest, RejectsATruncatedFileAtAnyLength) {
  Trained one(small());
  const auto path = folder_ / "a.safetensors";
  save_checkpoint(path, *one.model, one.adam, kProgress, one.config);
  const std::string whole = base::read_file(path);
  for (const size_t length :
       {size_t{0}, size_t{7}, size_t{8}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    expect_rejected(write("cut.safetensors", whole.substr(0, length)), "");
  }
}

TEST_F(CheckpointTest, RejectsForeignFiles) {
  expect_rejected(folder_ / "absent.safetensors", "");
  expect_rejected(write("text.safetensors", "not a checkpoint, but long enough for a header"), "");
  base::write_safetensors(folder_ / "plain.safetensors", {});
  expect_rejected(folder_ / "plain.safetensors", "checkpoint of stpn");
  for (const char* json : {"", "7", "{}", "{\"format\": \"one\"}", "{\"format\": 2}"}) {
    base::write_safetensors(folder_ / "odd.safetensors",
                            {.metadata = {{"stpn", json}}, .tensors = {}});
    expect_rejected(folder_ / "odd.safetensors", "checkpoint of stpn");
  }
  base::write_safetensors(folder_ / "new.safetensors",
                          {.metadata = {{"stpn", "{\"format\": 3}"}}, .tensors = {}});
  expect_rejected(folder_ / "new.safetensors", "format 3");
}

TEST_F(CheckpointTest, RejectsAnotherExperimentsOrModelsCheckpoint) {
  Trained wider(small({"unit.hidden_size=6"}));
  const auto path = folder_ / "a.safetensors";
  save_checkpoint(path, *wider.model, wider.adam, kProgress, wider.config);
  expect_rejected(path, "unit.hidden_size is 6 there and 5 here");
  // The same with the configuration of this experiment in its metadata.
  save_checkpoint(path, *wider.model, wider.adam, kProgress, small().to_toml());
  expect_rejected(path, "another model");
}

// Some tools add tensors of other dtypes, such as averaged weights in half precision.
TEST_F(CheckpointTest, IgnoresATensorThatItDoesNotNeedWhateverItsDtype) {
  Trained one(small());
  const auto path = folder_ / "a.safetensors";
  save_checkpoint(path, *one.model, one.adam, kProgress, one.config);
  // The bytes of the file at `path` with one tensor more, in half precision.
  const auto with_half = [&](const std::string& name) {
    const std::string file = base::read_file(path);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    auto header = nlohmann::json::parse(file.substr(8, length));
    const size_t data = file.size() - 8 - length;
    header[name] = {{"dtype", "F16"}, {"shape", {3}}, {"data_offsets", {data, data + 6}}};
    const std::string text = header.dump();
    length = text.size();
    std::string bytes(sizeof(length), '\0');
    std::memcpy(bytes.data(), &length, sizeof(length));
    return bytes + text + file.substr(file.size() - data) + "sixbyt";
  };
  write("extra.safetensors", with_half("average.head.bias"));
  EXPECT_EQ(load_checkpoint(folder_ / "extra.safetensors", *one.model, &one.adam, one.config).epoch,
            kProgress.epoch);

  auto content = base::read_safetensors(path);
  std::erase_if(content.tensors, [](const auto& tensor) { return tensor.name == "head.bias"; });
  base::write_safetensors(path, content);
  expect_rejected(write("half.safetensors", with_half("head.bias")),
                  "no float32 tensor head.bias of 37 values");
}

TEST_F(CheckpointTest, AnOptionThatDidNotExistThenHasItsDefault) {
  Trained one(small());
  const auto path = folder_ / "a.safetensors";
  std::string older = one.config;
  const size_t line = older.find("patience = 0\n");
  ASSERT_NE(line, std::string::npos);
  older.erase(line, std::string("patience = 0\n").size());
  save_checkpoint(path, *one.model, one.adam, kProgress, older);
  EXPECT_EQ(load_checkpoint(path, *one.model, nullptr, one.config).epoch, kProgress.epoch);
  older.replace(older.find("hidden_size = 5"), 15, "hidden_size = 9");
  save_checkpoint(path, *one.model, one.adam, kProgress, older);
  expect_rejected(path, "unit.hidden_size is 9 there and 5 here");
}

TEST_F(CheckpointTest, FollowsThePublishedUpdate) {
  // Adam's first step is learning_rate * g / (|g| + eps) for every magnitude of g.
  const auto parameter = torch::zeros({3}, torch::requires_grad());
  Adam adam({parameter}, 0.5);
  (parameter * torch::tensor({2.0f, -1e-3f, 0.0f})).sum().backward();
  adam.step();
  EXPECT_TRUE(torch::allclose(parameter, torch::tensor({-0.5f, 0.5f, 0.0f}), 1e-4));
  // The second, by hand: g = (1, 0, 1) after (2, -1e-3, 0).
  (parameter * torch::tensor({1.0f, 0.0f, 1.0f})).sum().backward();
  adam.step();
  const auto mean = [](double a, double b) { return (0.09 * a + 0.1 * b) / (1 - 0.81); };
  const auto square = [](double a, double b) {
    return (0.999e-3 * a * a + 1e-3 * b * b) / (1 - 0.999 * 0.999);
  };
  const double first = -0.5 - 0.5 * mean(2, 1) / std::sqrt(square(2, 1));
  const double third = -0.5 * mean(0, 1) / std::sqrt(square(0, 1));
  EXPECT_NEAR(parameter[0].item<double>(), first, 1e-4);
  EXPECT_NEAR(parameter[2].item<double>(), third, 1e-4);
}

}  // namespace
}  // namespace stpn::train::checkpoint_test
