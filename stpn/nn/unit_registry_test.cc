#include "stpn/nn/unit_registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "stpn/base/error.h"

namespace stpn::nn::unit_registry_test {
namespace {

std::string error_of(const std::string& name) {
  try {
    find_unit(name, "a.toml:3");
  } catch (const base::UserError& error) {
    return error.what();
  }
  return "";
}

TEST(UnitRegistryTest, NamesAreUniqueAndFound) {
  std::set<std::string> names;
  for (const auto& entry : unit_registry()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_EQ(&find_unit(entry.name, "here"), &entry);
    EXPECT_FALSE(entry.summary.empty());
  }
  EXPECT_TRUE(names.count("stpn_recurrent"));
  EXPECT_TRUE(names.count("lstm"));
}

TEST(UnitRegistryTest, UnknownNameSaysWhereAndWhatIsNear) {
  EXPECT_THAT(error_of("stpn_recurent"),
              testing::AllOf(testing::HasSubstr("a.toml:3"), testing::HasSubstr("stpn_recurent"),
                             testing::HasSubstr("did you mean \"stpn_recurrent\"")));
  EXPECT_THAT(error_of("zzzzzzzzzzzzzzzzzzzz"),
              testing::AllOf(testing::HasSubstr("there are: "),
                             testing::HasSubstr("stpn_recurrent"), testing::HasSubstr("lstm")));
}

TEST(UnitRegistryTest, MakesUnitsOfTheAskedSize) {
  for (const auto& entry : unit_registry()) {
    const auto options = entry.options();
    for (auto& field : options->fields()) {
      if (field.key == "hidden_size") *std::get<int64_t*>(field.value) = 5;
    }
    const auto unit = options->make(3);
    EXPECT_EQ(unit->input_size(), 3) << entry.name;
    EXPECT_EQ(unit->hidden_size(), 5) << entry.name;
    EXPECT_GT(parameter_count(*unit), 0) << entry.name;
  }
}

TEST(UnitRegistryTest, EachCallGivesFreshOptions) {
  const auto& entry = find_unit("lstm", "here");
  const auto one = entry.options();
  *std::get<int64_t*>(one->fields().at(0).value) = 77;
  EXPECT_NE(*std::get<int64_t*>(entry.options()->fields().at(0).value), 77);
}

}  // namespace
}  // namespace stpn::nn::unit_registry_test
