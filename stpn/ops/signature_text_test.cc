#include "stpn/ops/signature_text.h"

#include <gtest/gtest.h>

#include "stpn/base/error.h"
#include "stpn/kernels/backpropamine/signature.h"
#include "stpn/kernels/fast_weights/signature.h"
#include "stpn/kernels/stpn/signature.h"

namespace stpn::ops::signature_text_test {
namespace {

const kernels::Signature* const kAll[] = {&kernels::kStpnRecurrent, &kernels::kStpnFeedforward,
                                          &kernels::kBackpropamine, &kernels::kFastWeights};

// The schema is an interface: whoever changes a signature sees here what callers will see.
TEST(SignatureTextTest, SchemasAreThoseThatCallersKnow) {
  EXPECT_EQ(schema_of(kernels::kStpnRecurrent),
            "stpn_recurrent(Tensor x, Tensor? h, Tensor? F, Tensor weight, Tensor? bias, "
            "Tensor weight_lambda, Tensor weight_gamma, *, Tensor? beta=None, "
            "Tensor? bias_lambda=None, Tensor? bias_gamma=None, Tensor? layer_norm_weight=None, "
            "Tensor? layer_norm_bias=None, Tensor? update_weight=None, Tensor? update_bias=None, "
            "Tensor? write_weight=None, Tensor? decay_weight=None, Tensor? measured=None, "
            "Tensor? reset=None, "
            "str norm='pre', float? clamp=None, str connections='all', str rule='hebb', "
            "str decay='before_update', str presynaptic='previous', str activation='tanh', "
            "bool energy=False) -> (Tensor output, Tensor F, Tensor beta, Tensor energy)");
  EXPECT_EQ(schema_of(kernels::kStpnFeedforward),
            "stpn_feedforward(Tensor x, Tensor? F, Tensor weight, Tensor? bias, "
            "Tensor weight_lambda, Tensor weight_gamma, *, Tensor? beta=None, "
            "Tensor? bias_lambda=None, Tensor? bias_gamma=None, Tensor? layer_norm_weight=None, "
            "Tensor? layer_norm_bias=None, Tensor? measured=None, Tensor? reset=None, "
            "str norm='pre', float? clamp=None, str rule='hebb', str decay='before_update', "
            "str activation='tanh', bool energy=False) "
            "-> (Tensor output, Tensor F, Tensor beta, Tensor energy)");
  EXPECT_EQ(schema_of(kernels::kBackpropamine),
            "backpropamine(Tensor x, Tensor? h, Tensor? P, Tensor weight_ih, Tensor bias, "
            "Tensor weight_hh, Tensor alpha, *, Tensor? E=None, Tensor? modulator_weight=None, "
            "Tensor? modulator_bias=None, Tensor? rate=None, Tensor? measured=None, "
            "Tensor? reset=None, str neuromodulation='modplast', str addition='clamp', "
            "str modulator='tanh', bool energy=False) "
            "-> (Tensor output, Tensor P, Tensor E, Tensor energy)");
  EXPECT_EQ(schema_of(kernels::kFastWeights),
            "fast_weights(Tensor x, Tensor? h, Tensor? A, Tensor weight, Tensor bias, *, "
            "Tensor? layer_norm_weight=None, Tensor? layer_norm_bias=None, "
            "Tensor? measured=None, Tensor? reset=None, int inner_steps=1, float decay=0.9, "
            "float rate=0.5, bool energy=False) -> (Tensor output, Tensor A, Tensor energy)");
}

TEST(SignatureTextTest, EveryDefaultIsAmongItsChoices) {
  for (const kernels::Signature* signature : kAll) {
    for (const kernels::OptionSpec& option : signature->options) {
      if (option.kind != kernels::OptionKind::choice) continue;
      EXPECT_EQ(parse_choice(option, option.value), option.default_value) << option.name;
      const auto choices = choices_of(option);
      for (size_t k = 0; k < choices.size(); ++k) {
        EXPECT_EQ(parse_choice(option, choices[k]), static_cast<double>(k)) << choices[k];
      }
    }
  }
}

TEST(SignatureTextTest, AWordThatIsNoChoiceIsRefused) {
  const kernels::OptionSpec& norm = kernels::kStpnOptions[0];
  for (const char* word : {"", "G", "pr", "pre ", "none, preactivation", "PRE"}) {
    try {
      parse_choice(norm, word);
      ADD_FAILURE() << '"' << word << "\" was taken";
    } catch (const base::UserError& error) {
      EXPECT_NE(std::string(error.what()).find("none, preactivation, pre, post"), std::string::npos)
          << error.what();
    }
  }
}

TEST(SignatureTextTest, ShapesReadAsPeopleWriteThem) {
  EXPECT_EQ(shape_text("T B I"), "(T, B, I)");
  EXPECT_EQ(shape_text("H | 1"), "(H) or (1)");
  EXPECT_EQ(shape_text("H P | P | 1"), "(H, P), (P) or (1)");
}

TEST(SignatureTextTest, DescriptionsNameWhatAnOpTakesAndNothingElse) {
  const std::string recurrent = description_of(kernels::kStpnRecurrent);
  const std::string feedforward = description_of(kernels::kStpnFeedforward);
  EXPECT_NE(recurrent.find("\n  h "), std::string::npos);
  EXPECT_EQ(feedforward.find("\n  h "), std::string::npos);
  EXPECT_EQ(feedforward.find("presynaptic  "), std::string::npos);
  for (const kernels::TensorSpec& tensor : kernels::kStpnTensors) {
    EXPECT_NE(recurrent.find(std::string("  ") + tensor.name + " "), std::string::npos)
        << tensor.name;
  }
}

}  // namespace
}  // namespace stpn::ops::signature_text_test
