#include "stpn/verify/golden.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/nn/tolerances.h"

namespace stpn::verify::golden_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const fs::path kFolder = fs::path(STPN_SOURCE_DIR) / "tests" / "golden";

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

json load(const std::string& name) {
  return json::parse(std::ifstream(kFolder / (name + ".json")));
}

// A file that lives as long as this.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& text) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = fs::path(testing::TempDir()) / (fmt::format("stpn_{}.json", test->name()));
    std::ofstream(path_) << text;
  }
  ~ScratchFile() { fs::remove(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::vector<GoldenResult> verify(const json& content) {
  return verify_golden(ScratchFile(content.dump()).path());
}

// The message of the error that the file of this text gives; it must name the file.
std::string error_of_text(const std::string& text) {
  const ScratchFile file(text);
  try {
    verify_golden(file.path());
  } catch (const base::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr(file.path().string()));
    return error.what();
  }
  return "no error";
}

std::string error_of(const std::string& name, const std::function<void(json&)>& spoil) {
  json content = load(name);
  spoil(content);
  return error_of_text(content.dump());
}

class GoldenFilesTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenFilesTest, EveryBackendIsWithinTolerance) {
  const auto results = verify_golden(kFolder / (GetParam() + ".json"));
  ASSERT_GE(results.size(), 2u);
  for (const auto& result : results) {
    EXPECT_TRUE(result.ok) << result.backend << " " << result.dtype << ": " << result.largest_error
                           << " in " << result.array << ", tolerance " << result.tolerance;
    EXPECT_EQ(result.tolerance,
              result.dtype == "double" ? nn::kGoldenDoubleTolerance : nn::kGoldenFloatTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenFilesTest, testing::ValuesIn(golden_names()),
                         [](const auto& info) { return info.param; });

TEST(GoldenTest, RunsReferenceAndKernelInBothTypes) {
  std::vector<std::string> runs;
  for (const auto& result : verify_golden(kFolder / "stpnr_norm_pre_matrix.json")) {
    EXPECT_EQ(result.unit, "STPNr");
    runs.push_back(result.backend + " " + result.dtype);
  }
  EXPECT_THAT(
      runs, testing::ElementsAre("reference double", "reference float", "cpu double", "cpu float"));
}

// Each array that is compared, and some that go in: a change of one value must show.
TEST(GoldenTest, OneWrongValueOfAnyArrayIsOff) {
  for (const std::string name : {"stpnr_layer_norm", "stpnf_plain_clamp_0p1", "hebbff", "lstm",
                                 "rnn", "backpropamine_modplast_addpw2", "fast_weights_s3_ln"}) {
    const json good = load(name);
    std::vector<json::json_pointer> places = {
        json::json_pointer("/output"), json::json_pointer("/energy"), json::json_pointer("/x"),
        json::json_pointer("/cotangent_output")};
    for (const std::string group :
         {"params", "initial_state", "final_state", "cotangent_final_state", "grad"}) {
      for (const auto& [key, value] : good[group].items()) {
        places.push_back(json::json_pointer("/" + group) / key);
      }
    }
    for (const auto& place : places) {
      json content = good;
      json& value = content[place / "data"].back();
      value = value.get<double>() + 0.1;
      for (const auto& result : verify(content)) {
        EXPECT_FALSE(result.ok) << name << " " << place << " " << result.dtype;
      }
    }
    json content = good;
    content["loss"] = content["loss"].get<double>() * 1.01;
    const auto results = verify(content);
    EXPECT_FALSE(results[0].ok);
    EXPECT_EQ(results[0].array, "loss");
    EXPECT_NEAR(results[0].largest_error, 0.01 / 1.01, 1e-6);
  }
}

TEST(GoldenTest, NamesTheArrayThatIsOff) {
  json content = load("stpnr_plain");
  content["grad"]["param.weight_gamma"]["data"][3] = 1e6;
  const auto results = verify(content);
  EXPECT_EQ(results[0].array, "grad.param.weight_gamma");
  EXPECT_NEAR(results[0].largest_error, 1, 1e-3);
}

// A fault that whole arrays do not show: within the tolerance of the largest value of x's gradient,
// beyond that of the smallest row.
TEST(GoldenTest, NamesTheRowThatIsOff) {
  json content = load("stpnr_plain");
  json& array = content["grad"]["x"];
  auto values = array["data"].get<std::vector<double>>();
  const size_t row = array["shape"].back().get<size_t>();
  const auto largest = [&](size_t first, size_t count) {
    double most = 0;
    for (size_t k = first; k < first + count; ++k) most = std::max(most, std::abs(values[k]));
    return most;
  };
  size_t smallest = 0;
  for (size_t first = 0; first < values.size(); first += row) {
    if (largest(first, row) < largest(smallest, row)) smallest = first;
  }
  ASSERT_LT(largest(smallest, row), 0.5 * largest(0, values.size()));
  values[smallest] += 0.8 * nn::kGoldenDoubleTolerance * largest(0, values.size());
  array["data"] = values;
  const auto results = verify(content);
  EXPECT_EQ(results[0].dtype, "double");
  EXPECT_FALSE(results[0].ok);
  EXPECT_EQ(results[0].array, "a row of grad.x");
  EXPECT_GT(results[0].largest_error, nn::kGoldenDoubleTolerance);
}

TEST(GoldenTest, ValuesThatOverflowAreOffAndNotLost) {
  json content = load("stpnr_plain");
  for (auto& value : content["x"]["data"]) value = 1e300;
  for (const auto& result : verify(content)) {
    EXPECT_FALSE(result.ok) << result.backend << " " << result.dtype;
  }
}

TEST(GoldenTest, EnergyMayBeAbsent) {
  for (const std::string name : {"stpnr_plain", "lstm"}) {
    json content = load(name);
    content.erase("energy");
    for (const auto& result : verify(content)) EXPECT_TRUE(result.ok) << name;
  }
}

TEST(GoldenTest, TakesScalarsOfAnyRank) {
  for (const json& shape : {json::array(), json({1}), json({1, 1})}) {
    json content = load("stpnr_norm_pre_scalar");
    for (const std::string key : {"weight_lambda", "weight_gamma"}) {
      content["params"][key]["shape"] = shape;
      content["grad"]["param." + key]["shape"] = shape;
    }
    for (const auto& result : verify(content)) EXPECT_TRUE(result.ok) << shape;
  }
}

// A single rate means the same rate for every presynaptic input: forward results are the same, and
// the gradient of the single rate is the sum of the others.
TEST(GoldenTest, TakesRatesPerSourceUnderEachOfTheirNames) {
  for (const std::string word : {"per_input", "per input", "per_source"}) {
    for (const json& shape : {json({7}), json({1, 7})}) {
      json content = load("stpnr_norm_pre_scalar");
      content["config"]["plasticity_parameters"] = word;
      for (const std::string key : {"weight_lambda", "weight_gamma"}) {
        const double value = content["params"][key]["data"][0];
        content["params"][key] = {{"shape", shape}, {"data", std::vector<double>(7, value)}};
        const double grad = content["grad"]["param." + key]["data"][0];
        content["grad"]["param." + key] = {{"shape", shape},
                                           {"data", std::vector<double>(7, 2 * std::abs(grad))}};
      }
      const auto results = verify(content);
      ASSERT_EQ(results.size(), 4u);
      EXPECT_THAT(results[0].array, HasSubstr("grad.param.weight_"));
    }
  }
}

// With rates of zero and a fast bias of zero nothing changes, except that there are more arrays;
// gradients of the new ones are the bias's and the loss's own.
TEST(GoldenTest, TakesPlasticBiasUnderBothNames) {
  for (const std::string state : {"beta", "bias"}) {
    json content = load("stpnr_plain");
    content["config"]["plastic_bias"] = true;
    const json zeros_h = {{"shape", {3}}, {"data", {0.0, 0.0, 0.0}}};
    const json zeros_bh = {{"shape", {3, 3}}, {"data", std::vector<double>(9, 0.0)}};
    for (const std::string key : {"bias_lambda", "bias_gamma"}) {
      content["params"][key] = zeros_h;
      content["grad"]["param." + key] = zeros_h;
    }
    for (const std::string key : {"initial_state", "final_state", "cotangent_final_state"}) {
      content[key][state] = zeros_bh;
    }
    content["grad"]["initial." + state] = zeros_bh;
    const auto results = verify(content);
    ASSERT_EQ(results.size(), 4u);
    // Only the gradients that are not zero can be off, and the error is then absolute.
    EXPECT_THAT(results[0].array, testing::AnyOf("grad.initial." + state, "grad.param.bias_gamma"));
  }
}

TEST(GoldenTest, RefusesWhatIsNoGoldenFile) {
  EXPECT_THAT(error_of_text("{\"config\": "), HasSubstr("not JSON"));
  EXPECT_THAT(error_of_text(""), HasSubstr("not JSON"));
  EXPECT_THAT(error_of_text("[1, 2]"), HasSubstr("not an object"));
  EXPECT_THAT(error_of_text("{}"), HasSubstr("\"config\" is missing"));
  EXPECT_THAT(error_of_text("{\"config\": 3}"), HasSubstr("config is not an object"));
  EXPECT_THAT(error_of_text("{\"config\": {}}"), HasSubstr("config.unit is missing"));
  EXPECT_THROW(verify_golden("no/such/file.json"), base::UserError);
  EXPECT_THROW(verify_golden(kFolder), base::UserError);
}

TEST(GoldenTest, RefusesUnknownUnitNamingKnownOnes) {
  EXPECT_THAT(error_of("lstm", [](json& c) { c["config"]["unit"] = "GRU"; }),
              AllOf(HasSubstr("\"GRU\""), HasSubstr("STPNr, STPNf, HebbFF, LSTM")));
}

TEST(GoldenTest, RefusesEachMissingKey) {
  for (const std::string name :
       {"stpnr_layer_norm", "stpnf_norm", "hebbff", "lstm", "backpropamine_modul_addpw3"}) {
    const json good = load(name);
    for (const std::string group :
         {"config", "params", "initial_state", "final_state", "cotangent_final_state", "grad"}) {
      for (const auto& [key, ignored] : good[group].items()) {
        json content = good;
        content[group].erase(key);
        EXPECT_THAT(error_of_text(content.dump()), AllOf(HasSubstr(key), HasSubstr("missing")))
            << group;
      }
    }
    for (const std::string key : {"config", "params", "x", "initial_state", "output", "final_state",
                                  "cotangent_output", "cotangent_final_state", "loss", "grad"}) {
      json content = good;
      content.erase(key);
      EXPECT_THAT(error_of_text(content.dump()), AllOf(HasSubstr(key), HasSubstr("missing")));
    }
  }
}

TEST(GoldenTest, RefusesUnknownSwitchesAndValues) {
  for (const std::string name :
       {"stpnr_plain", "stpnf_norm", "hebbff", "lstm", "rnn", "backpropamine_modul_addpw3",
        "backpropamine_plastic_addpw0", "fast_weights_s3_ln"}) {
    EXPECT_THAT(error_of(name, [](json& c) { c["config"]["dropout"] = 0.5; }),
                AllOf(HasSubstr("config.dropout"), HasSubstr("0.5")));
    const json config = load(name)["config"];
    for (const auto& [key, value] : config.items()) {
      for (const json& wrong : {json("nonsense"), json(-3), json({1})}) {
        EXPECT_THAT(error_of(name, [&](json& c) { c["config"][key] = wrong; }),
                    HasSubstr("config." + key));
      }
    }
  }
}

// The bias of a file that normalises without one: it is there, of the right shape, and does
// nothing.
TEST(GoldenTest, TakesABiasThatIsNotUsed) {
  json content = load("stpnf_norm");
  for (json& value : content["params"]["bias"]["data"]) value = 7.5;
  for (const auto& result : verify(content)) EXPECT_TRUE(result.ok) << result.array;
  content["grad"]["param.bias"] = content["params"]["bias"];
  EXPECT_THAT(error_of_text(content.dump()), HasSubstr("grad.param.bias is not known"));
  EXPECT_THAT(error_of("stpnf_norm", [](json& c) { c["params"].erase("bias"); }),
              HasSubstr("params.bias is missing"));
  EXPECT_THAT(error_of("stpnf_norm", [](json& c) { c["config"]["bias_with_weight_norm"] = true; }),
              HasSubstr("grad.param.bias is missing"));
}

TEST(GoldenTest, RefusesNormsThatDoNotGoTogether) {
  EXPECT_THAT(
      error_of("stpnr_plain", [](json& c) { c["config"]["fast_weight_norm"] = "post"; }),
      HasSubstr("weight_norm null with fast_weight_norm \"post\" is not a variant of STPNr"));
}

TEST(GoldenTest, RefusesWrongShapes) {
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["x"]["shape"] = {3, 6, 4};
                       }),
              HasSubstr("output is (6, 3, 3), it must be (3, 6, 3)"));
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["x"]["shape"] = {18, 4};
                       }),
              HasSubstr("x is (18, 4)"));
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["x"]["shape"] = {6, 3, 5};
                       }),
              HasSubstr("x has 72 values, its shape (6, 3, 5) asks for 90"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["x"]["shape"] = {1e9, 1e9, 1e9}; }), HasSubstr("x"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["x"]["shape"] = {-6, -3, 4}; }), HasSubstr("-6"));
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["x"] = {{"shape", {0, 3, 4}}, {"data", {}}};
                       }),
              HasSubstr("x"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["config"]["hidden_size"] = 4; }),
              HasSubstr("output is (6, 3, 3), it must be (6, 3, 4)"));
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["params"]["weight"]["shape"] = {7, 12};
                       }),
              HasSubstr("params.weight is (7, 12), it must be (12, 7)"));
  EXPECT_THAT(error_of("rnn",
                       [](json& c) {
                         c["params"]["weight_transposed"]["shape"] = {3, 7};
                       }),
              HasSubstr("params.weight_transposed is (3, 7), it must be (7, 3)"));
  EXPECT_THAT(error_of("lstm",
                       [](json& c) {
                         c["energy"]["shape"] = {6, 12, 3};
                       }),
              HasSubstr("energy is (6, 12, 3), it must be (6, 3, 3)"));
  EXPECT_THAT(error_of("stpnr_plain",
                       [](json& c) {
                         c["grad"]["initial.F"]["shape"] = {9, 7};
                       }),
              HasSubstr("grad.initial.F is (9, 7), it must be (3, 3, 7)"));
}

TEST(GoldenTest, RefusesValuesThatAreNoFiniteNumbers) {
  EXPECT_THAT(error_of("lstm", [](json& c) { c["x"]["data"][5] = nullptr; }),
              HasSubstr("x value 5 is null"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["grad"]["x"]["data"][0] = "1.0"; }),
              HasSubstr("grad.x value 0"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["loss"] = "small"; }), HasSubstr("loss"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["x"]["data"] = 3; }), HasSubstr("x is not"));
  EXPECT_THAT(error_of("lstm", [](json& c) { c["params"] = 3; }), HasSubstr("params"));
  std::string text = load("lstm").dump();
  text.replace(text.find("\"loss\":") + 7, 0, "NaN, \"loss\":");
  EXPECT_THAT(error_of_text(text), HasSubstr("not JSON"));
  text = load("lstm").dump();
  text.replace(text.find("\"loss\":") + 7, 0, "1e999, \"loss\":");
  EXPECT_THAT(error_of_text(text), HasSubstr("not JSON"));
}

TEST(GoldenTest, RefusesArraysItDoesNotKnow) {
  const json array = {{"shape", {1}}, {"data", {0.5}}};
  for (const std::string group :
       {"params", "initial_state", "final_state", "cotangent_final_state", "grad"}) {
    EXPECT_THAT(error_of("stpnr_plain", [&](json& c) { c[group]["extra"] = array; }),
                HasSubstr(group + ".extra is not known"));
  }
}

}  // namespace
}  // namespace stpn::verify::golden_test
