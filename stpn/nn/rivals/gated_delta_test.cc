#include "stpn/nn/rivals/gated_delta.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "stpn/base/error.h"
#include "stpn/nn/contract/unit_contract.h"

namespace stpn::nn::gated_delta_test {
namespace {

std::shared_ptr<Unit> make_unit_of(int64_t inputs, int64_t hidden, int64_t heads, int64_t key_size,
                                   bool negative = true) {
  GatedDeltaOptions options;
  options.hidden_size = hidden;
  options.heads = heads;
  options.key_size = key_size;
  options.negative_eigenvalues = negative;
  return options.make(inputs);
}

UnitCase case_of(const std::string& name, int64_t heads, int64_t key_size, bool negative) {
  UnitCase result;
  result.name = "gated_delta_" + name;
  result.make = [=](int64_t inputs, int64_t hidden) {
    return make_unit_of(inputs, hidden, hidden % heads == 0 ? heads : 1, key_size, negative);
  };
  result.same_bits = false;
  return result;
}

INSTANTIATE_TEST_SUITE_P(GatedDelta, UnitContract,
                         testing::Values(case_of("one_head", 1, 3, true),
                                         case_of("two_heads", 2, 2, true),
                                         case_of("positive", 1, 2, false)),
                         unit_case_name);

using Vector = std::vector<double>;

Vector row(const torch::Tensor& tensor) {
  const auto flat = tensor.detach().contiguous().view(-1);
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

double sigmoid(double u) { return 1 / (1 + std::exp(-u)); }
double silu(double u) { return u * sigmoid(u); }

// The equations of the header for one sample and one head, number by number, from the parameters of
// that head. Returns h of all steps, and leaves the state in S.
struct Head {
  std::vector<Vector> query, key, value, gate;  // rows of weights
  Vector decay, write, norm;
  double decay_log = 0, decay_bias = 0;
  std::vector<Vector> S;

  static Vector times(const std::vector<Vector>& weight, const Vector& x) {
    Vector product;
    for (const Vector& w : weight) {
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += w[i] * x[i];
      product.push_back(sum);
    }
    return product;
  }

  static Vector key_of(const std::vector<Vector>& weight, const Vector& x) {
    Vector u = times(weight, x);
    double squares = 1e-6;
    for (double& value : u) {
      value = silu(value);
      squares += value * value;
    }
    for (double& value : u) value /= std::sqrt(squares);
    return u;
  }

  Vector step(const Vector& x, double most_write) {
    const Vector q = key_of(query, x), k = key_of(key, x), v = times(value, x), g = times(gate, x);
    const double pace = std::log1p(std::exp(times({decay}, x)[0] + decay_bias));
    const double a = std::exp(-std::exp(decay_log) * pace);
    const double b = most_write * sigmoid(times({write}, x)[0]);
    Vector h;
    double squares = 0;
    for (size_t i = 0; i < S.size(); ++i) {
      double found = 0, read = 0;
      for (size_t j = 0; j < k.size(); ++j) found += a * S[i][j] * k[j];
      for (size_t j = 0; j < k.size(); ++j) {
        S[i][j] = a * S[i][j] + b * (silu(v[i]) - found) * k[j];
        read += S[i][j] * q[j] / std::sqrt(static_cast<double>(k.size()));
      }
      h.push_back(read);
      squares += read * read;
    }
    for (size_t i = 0; i < h.size(); ++i) {
      h[i] *= norm[i] / std::sqrt(squares / static_cast<double>(h.size()) + 1e-5) * silu(g[i]);
    }
    return h;
  }
};

TEST(GatedDeltaTest, MatchesTheEquationsNumberByNumber) {
  torch::manual_seed(3);
  constexpr int64_t T = 7, I = 5, H = 6, kHeads = 2, kKey = 4, kValue = H / kHeads;
  for (const bool negative : {true, false}) {
    const auto unit = make_unit_of(I, H, kHeads, kKey, negative);
    unit->to(torch::kDouble);
    unit->reset_parameters(5);
    const auto named = unit->named_parameters();
    const auto x = 3 * torch::randn({T, 1, I}, torch::kDouble);
    const auto S = torch::randn({1, H, kKey}, torch::kDouble);
    const auto output = unit->forward({x, {{"S", S}}, {}});
    for (int64_t head = 0; head < kHeads; ++head) {
      const auto rows = [&](const std::string& name, int64_t size) {
        std::vector<Vector> weight;
        for (int64_t i = 0; i < size; ++i) weight.push_back(row(named[name][head * size + i]));
        return weight;
      };
      Head expected{.query = rows("query_weight", kKey),
                    .key = rows("key_weight", kKey),
                    .value = rows("value_weight", kValue),
                    .gate = rows("gate_weight", kValue),
                    .decay = row(named["decay_weight"][head]),
                    .write = row(named["write_weight"][head]),
                    .norm = row(named["norm_weight"]),
                    .decay_log = named["decay_log"][head].item<double>(),
                    .decay_bias = named["decay_bias"][head].item<double>(),
                    .S = {}};
      for (int64_t i = 0; i < kValue; ++i) expected.S.push_back(row(S[0][head * kValue + i]));
      for (int64_t t = 0; t < T; ++t) {
        const Vector h = expected.step(row(x[t][0]), negative ? 2 : 1);
        for (int64_t i = 0; i < kValue; ++i) {
          ASSERT_NEAR(output.y[t][0][head * kValue + i].item<double>(), h[i], 1e-12)
              << "head " << head << ", step " << t << ", value " << i;
        }
      }
      for (int64_t i = 0; i < kValue; ++i) {
        const Vector found = row(output.state[0].second[0][head * kValue + i]);
        for (int64_t j = 0; j < kKey; ++j) EXPECT_NEAR(found[j], expected.S[i][j], 1e-12);
      }
    }
  }
}

// Without decay and with the largest write, showing the same input turns what is stored under its
// key around: S k - v becomes its opposite.
TEST(GatedDeltaTest, TheLargestWriteReflects) {
  const auto unit = make_unit_of(1, 1, 1, 1);
  unit->to(torch::kDouble);
  const torch::NoGradGuard no_grad;
  auto named = unit->named_parameters();
  for (auto& item : named) item.value().fill_(1);
  named["decay_log"].fill_(-1000);
  named["write_weight"].fill_(1000);
  const auto x = torch::ones({1, 1, 1}, torch::kDouble);
  State state = {{"S", torch::full({1, 1, 1}, 0.25, torch::kDouble)}};
  const double v = silu(1);
  for (const double expected : {2 * v - 0.25, 0.25, 2 * v - 0.25}) {
    state = unit->forward({x, state, {}}).state;
    EXPECT_NEAR(state[0].second.item<double>(), expected, 1e-5);  // |k| is 1 but for the epsilon
  }
}

TEST(GatedDeltaTest, StartsFromTheRangesOfItsHeader) {
  const auto unit = make_unit_of(16, 24, 8, 5);
  unit->reset_parameters(3);
  EXPECT_EQ(parameter_count(*unit), 2 * 40 * 16 + 2 * 24 * 16 + 2 * 8 * 16 + 2 * 8 + 3);
  for (const auto& item : unit->named_parameters()) {
    if (item.value().dim() < 2) continue;
    const double largest = item.value().abs().max().item<double>();
    EXPECT_LE(largest, 0.25) << item.key();
    EXPECT_GT(largest, 0.2) << item.key();
  }
  const auto named = unit->named_parameters();
  const auto rate = named["decay_log"].exp();
  EXPECT_TRUE(((rate >= 1) & (rate <= 16)).all().item<bool>());
  const auto pace = torch::softplus(named["decay_bias"]);
  EXPECT_TRUE(((pace > 0.00099) & (pace < 0.101)).all().item<bool>());
  EXPECT_GT(pace.max().item<double>(), 3 * pace.min().item<double>());
  EXPECT_TRUE(named["norm_weight"].eq(1).all().item<bool>());
}

TEST(GatedDeltaTest, RefusesHeadsThatDoNotDivideItsNeurons) {
  EXPECT_THROW(make_unit_of(3, 5, 2, 4), base::UserError);
  EXPECT_THROW(make_unit_of(3, 4, 2, 0), base::UserError);
  EXPECT_THROW(make_unit_of(0, 4, 2, 1), base::UserError);
  EXPECT_THROW(make_unit_of(3, 0, 1, 1), base::UserError);
}

}  // namespace
}  // namespace stpn::nn::gated_delta_test
