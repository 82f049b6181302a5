#include "stpn/base/config.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <fstream>

#include "stpn/base/random.h"
#include "stpn/base/testing.h"

namespace stpn::base::config_test {
namespace {

using testing::error_of;
using testing::Folder;

const std::vector<std::string> kTables = {"task", "unit", "train"};
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Options {
  bool bias = true;
  int64_t hidden_size = 11;
  double clamp = kInfinity;
  double learning_rate = 1e-3;
  std::string norm = "pre";
  std::string note;

  std::vector<Field> fields() {
    return {field("bias", bias, "b"),
            field("hidden_size", hidden_size, "neurons", {.least = 1, .most = 4096}),
            field("clamp", clamp, "bound", {.least = 0}),
            field("learning_rate", learning_rate, "step size", {.least = 0, .most = 10})
                .formerly("rate")
                .formerly("step_size"),
            field("norm", norm, "where to normalise", {"none", "pre", "post"})
                .choice_formerly("before", "pre")
                .choice_formerly("after", "post"),
            field("note", note, "any text")};
  }
};

// An experiment file with this text, and the options that assign() reads from its [unit].
class Experiment {
 public:
  explicit Experiment(const std::string& text) {
    std::ofstream(folder_ / "x.toml", std::ios::binary) << text;
  }
  Config read() const { return read_config(folder_ / "x.toml", kTables); }
  Options options(const std::vector<std::string>& settings = {}) const {
    Config config = read();
    for (const std::string& setting : settings) apply_setting(config, setting);
    Options options;
    assign(config, "unit", options.fields());
    return options;
  }
  // The message of the error that options() throws, without the name of the folder.
  std::string error(const std::vector<std::string>& settings = {}) const {
    std::string message = error_of([&] { options(settings); });
    const std::string folder = folder_.path().string() + "/";
    const size_t at = message.find(folder);
    if (at != std::string::npos) message.erase(at, folder.size());
    return message;
  }

 private:
  Folder folder_;
};

std::string error_in(const std::string& unit) { return Experiment("[unit]\n" + unit).error(); }
std::string error_set(const std::string& setting) { return Experiment("").error({setting}); }

TEST(Config, ReadsEachTypeAndKeepsDefaults) {
  const Options options =
      Experiment("# a comment\n[unit]\nbias = false\nlearning_rate = 2e-4\nnorm = \"post\"\n")
          .options();
  EXPECT_FALSE(options.bias);
  EXPECT_EQ(options.learning_rate, 2e-4);
  EXPECT_EQ(options.norm, "post");
  EXPECT_EQ(options.hidden_size, 11);
  EXPECT_EQ(options.clamp, kInfinity);
}

TEST(Config, TakesAnIntegerForAFloatAndInfinityUpToAnInfiniteBound) {
  const Options options = Experiment("unit = {clamp = inf, learning_rate = 1}").options();
  EXPECT_EQ(options.clamp, kInfinity);
  EXPECT_EQ(options.learning_rate, 1.0);
}

TEST(Config, KnowsTheLineOfEverySetting) {
  const Config config = Experiment(
                            "[task]\nname = \"maze\"\n\n[unit]\n"
                            "# gap\n  hidden_size = 3\n")
                            .read();
  EXPECT_TRUE(config.tables.at("task").at("name").where.ends_with("x.toml:2"));
  EXPECT_TRUE(config.tables.at("unit").at("hidden_size").where.ends_with("x.toml:6"));
  EXPECT_TRUE(config.tables.contains("train"));
}

TEST(Config, ErrorsNamePlaceTableKeyValueAndWhatIsExpected) {
  EXPECT_EQ(error_in("hiden_size = 3"),
            "x.toml:2: [unit] hiden_size = 3: unknown key (did you mean hidden_size?)");
  EXPECT_EQ(error_in("\n\nfoo = true"),
            "x.toml:4: [unit] foo = true: unknown key (known: bias, hidden_size, clamp, "
            "learning_rate, norm, note)");
  EXPECT_EQ(
      error_in("hidden_size = \"abc\""),
      "x.toml:2: [unit] hidden_size = \"abc\": is a string, expected an integer from 1 to 4096");
  EXPECT_EQ(error_in("hidden_size = 3.0"),
            "x.toml:2: [unit] hidden_size = 3.0: is a float, expected an integer from 1 to 4096");
  EXPECT_EQ(error_in("hidden_size = 0"),
            "x.toml:2: [unit] hidden_size = 0: expected an integer from 1 to 4096");
  EXPECT_EQ(error_in("hidden_size = 4097"),
            "x.toml:2: [unit] hidden_size = 4097: expected an integer from 1 to 4096");
  EXPECT_EQ(error_in("clamp = -1e-300"),
            "x.toml:2: [unit] clamp = -1e-300: expected a number of at least 0");
  EXPECT_EQ(error_in("clamp = nan"),
            "x.toml:2: [unit] clamp = nan: expected a number of at least 0");
  EXPECT_EQ(error_in("learning_rate = inf"),
            "x.toml:2: [unit] learning_rate = inf: expected a number from 0 to 10");
  EXPECT_EQ(error_in("bias = 1"),
            "x.toml:2: [unit] bias = 1: is an integer, expected true or false");
  EXPECT_EQ(
      error_in("norm = \"pots\""),
      "x.toml:2: [unit] norm = \"pots\": expected one of none, pre, post (did you mean post?)");
  EXPECT_EQ(
      error_in("norm = \"none \""),
      "x.toml:2: [unit] norm = \"none \": expected one of none, pre, post (did you mean none?)");
  EXPECT_EQ(error_in("norm = true"),
            "x.toml:2: [unit] norm = true: is true or false, expected one of none, pre, post");
}

TEST(Config, NamesTheNewNameOfARenamedKeyOrChoice) {
  EXPECT_EQ(error_in("rate = 1e-3"),
            "x.toml:2: [unit] rate = 0.001: this key is now called learning_rate");
  EXPECT_EQ(error_in("step_size = \"large\""),
            "x.toml:2: [unit] step_size = \"large\": this key is now called learning_rate");
  EXPECT_EQ(error_in("norm = \"after\""),
            "x.toml:2: [unit] norm = \"after\": this value is now called \"post\"");
  EXPECT_EQ(error_set("unit.norm=before"),
            "--set unit.norm=before: [unit] norm = \"before\": this value is now called \"pre\"");
  // The old name is refused even if the new one is set too.
  EXPECT_EQ(error_in("learning_rate = 0.5\nrate = 0.5"),
            "x.toml:3: [unit] rate = 0.5: this key is now called learning_rate");
}

TEST(Config, AFailedFieldKeepsItsValue) {
  Experiment experiment("[unit]\nhidden_size = 0");
  Options options;
  error_of([&] { assign(experiment.read(), "unit", options.fields()); });
  EXPECT_EQ(options.hidden_size, 11);
}

TEST(Config, RefusesWhatIsNotInAKnownTable) {
  EXPECT_EQ(Experiment("\nseed = 3").error(),
            "x.toml:2: seed = 3: is outside the tables, expected in one of [task], [unit], "
            "[train]");
  EXPECT_EQ(Experiment("[unti]\n").error(), "x.toml:1: [unti]: unknown table (did you mean unit?)");
  EXPECT_EQ(Experiment("[[unit]]\nbias = true").error(),
            "x.toml:1: unit: is not a table, expected [unit]");
  EXPECT_EQ(Experiment("[unit.inner]\nbias = true").error(),
            "x.toml:1: [unit] inner: its value is not a boolean, integer, float or string");
  EXPECT_EQ(error_in("bias = [true]"),
            "x.toml:2: [unit] bias: its value is not a boolean, integer, float or string");
  EXPECT_EQ(error_in("bias = 2020-01-01"),
            "x.toml:2: [unit] bias: its value is not a boolean, integer, float or string");
  EXPECT_EQ(Experiment("unit = []").error(), "x.toml:1: unit: is not a table, expected [unit]");
}

TEST(Config, ReportsInvalidTomlInOneLine) {
  const auto starts = [](const std::string& text, const std::string& place) {
    const std::string message = Experiment(text).error();
    EXPECT_TRUE(message.starts_with(place)) << message;
    return message;
  };
  const std::string twice = starts("[unit]\nbias = true\nbias = false", "x.toml:3: ");
  EXPECT_NE(twice.find("'bias'"), std::string::npos) << twice;
  starts("[unit]\n[unit]\n", "x.toml:2: ");
  starts("[unit]\nbias = maybe", "x.toml:2: ");
  starts("[unit\nbias = true", "x.toml:1: ");
  starts("[unit]\nbias =\n", "x.toml:2: ");
  starts("[unit]\nnote = \"a\nb\"", "x.toml:2: ");
  starts("[unit]\nhidden_size = 99999999999999999999", "x.toml:2: ");
  starts("[unit]\nclamp = 1e999", "x.toml:2: ");
  starts(std::string("\0\0\0\x7f"
                     "ELF\xff\xfe\x80",
                     10),
         "x.toml:1: ");
  starts("\xff\xff\xff\xff", "x.toml:1: ");
  starts("a = " + std::string(16'000, '['), "x.toml:1: ");
  starts("\"a\\nb\" = 1", "x.toml:1: a b = 1: ");
}

TEST(Config, RefusesFilesThatAreNotExperiments) {
  const Folder folder;
  for (const std::filesystem::path& path : {folder.path(), std::filesystem::path("/dev/zero")}) {
    EXPECT_NE(error_of([&] { read_config(path, kTables); }).find("is not a file"),
              std::string::npos);
  }
  EXPECT_NE(error_of([&] { read_config(folder / "none.toml", kTables); }).find("none.toml"),
            std::string::npos);
  std::ofstream(folder / "huge.toml") << "";
  std::filesystem::resize_file(folder / "huge.toml", uintmax_t{1} << 40);
  EXPECT_NE(error_of([&] { read_config(folder / "huge.toml", kTables); }).find("16384 bytes"),
            std::string::npos);
  // The deepest nesting that the limit on the size allows, because the parser is recursive.
  std::string deep = "a";
  while (deep.size() < 16'300) deep += ".a";
  EXPECT_EQ(Experiment(deep + "=1").error(),
            "x.toml:1: [a]: unknown table (known: task, unit, train)");
}

TEST(Setting, OverridesTheFileAndReadsBareWordsAsStrings) {
  const Experiment experiment("[unit]\nhidden_size = 3\nnorm = \"none\"");
  const Options options =
      experiment.options({"unit.learning_rate=1e-3", "unit.norm=post", " unit.hidden_size = 7 ",
                          "unit.clamp=inf", "unit.bias=false", "unit.note=a=b.c"});
  EXPECT_EQ(options.learning_rate, 1e-3);
  EXPECT_EQ(options.norm, "post");
  EXPECT_EQ(options.hidden_size, 7);
  EXPECT_EQ(options.clamp, kInfinity);
  EXPECT_FALSE(options.bias);
  EXPECT_EQ(options.note, "a=b.c");
  EXPECT_EQ(experiment.options({"unit.note=\"true\""}).note, "true");
  EXPECT_EQ(experiment.options({"unit.note="}).note, "");
  EXPECT_EQ(experiment.options({"unit.note=\"open"}).note, "\"open");
  EXPECT_EQ(experiment.options({"unit.hidden_size=5", "unit.hidden_size=6"}).hidden_size, 6);
}

TEST(Setting, ErrorsNameTheArgument) {
  EXPECT_EQ(error_set("unit.hidden_size=abc"),
            "--set unit.hidden_size=abc: [unit] hidden_size = \"abc\": expected an integer from 1 "
            "to 4096, in decimal digits without leading zeros");
  EXPECT_EQ(error_set("unit.nrm=post"),
            "--set unit.nrm=post: [unit] nrm = \"post\": unknown key (did you mean norm?)");
  EXPECT_EQ(error_set("unti.norm=post"),
            "--set unti.norm=post: [unti]: unknown table (did you mean unit?)");
  EXPECT_EQ(error_set("unit.bias=[1]"),
            "--set unit.bias=[1]: the value is not a boolean, integer, float or string");
  EXPECT_EQ(error_set("unit.note=\xff"), "--set unit.note=\xff: the value is not valid UTF-8");
  // An argument cannot contain several settings.
  error_set("unit.hidden_size=1\nhidden_size=2");
  error_set("unit.hidden_size=1\n[train]");
  std::string deep = "unit.note={a";
  while (deep.size() < 100'000) deep += ".a";
  error_set(deep + "=1}");
}

TEST(Setting, NumbersAreDecimal) {
  const auto hidden_size = [](const std::string& word) {
    return Experiment("").options({"unit.hidden_size=" + word}).hidden_size;
  };
  EXPECT_EQ(hidden_size("7"), 7);
  EXPECT_EQ(hidden_size(" 7 "), 7);
  for (const std::string word : {"", "007", "010", "0x10", "0o10", "0b11", "1_000", "+5", "5x",
                                 "99999999999999999999", "1 0"}) {
    EXPECT_EQ(error_set("unit.hidden_size=" + word),
              fmt::format("--set unit.hidden_size={}: [unit] hidden_size = \"{}\": expected an "
                          "integer from 1 to 4096, in decimal digits without leading zeros",
                          word, word));
  }
  EXPECT_EQ(error_set("unit.hidden_size=1e3"),
            "--set unit.hidden_size=1e3: [unit] hidden_size = 1000.0: is a float, expected an "
            "integer from 1 to 4096");
  EXPECT_EQ(error_set("unit.hidden_size=\"5\""),
            "--set unit.hidden_size=\"5\": [unit] hidden_size = \"5\": is a string, expected an "
            "integer from 1 to 4096");

  EXPECT_EQ(Experiment("").options({"unit.learning_rate=1e-3"}).learning_rate, 1e-3);
  EXPECT_EQ(Experiment("").options({"unit.learning_rate=1.5E+0"}).learning_rate, 1.5);
  EXPECT_EQ(Experiment("").options({"unit.clamp=inf"}).clamp, kInfinity);
  for (const std::string word : {"", "01", "0x1", "1_0.5", "+1.5", ".5", "5.", "1e400", "1,5"}) {
    EXPECT_EQ(error_set("unit.learning_rate=" + word),
              fmt::format("--set unit.learning_rate={}: [unit] learning_rate = \"{}\": expected a "
                          "number from 0 to 10, in decimal digits, such as 0.5 or 1e-3",
                          word, word));
  }
  // Where text is expected, these are words like any other; in a file they are TOML.
  EXPECT_EQ(Experiment("").options({"unit.note=0x10"}).note, "0x10");
  EXPECT_EQ(Experiment("[unit]\nhidden_size = 0x10").options().hidden_size, 16);
}

TEST(ParseInteger, TakesDecimalDigitsInTheRange) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const auto parse = [](const std::string& word) { return parse_integer("--n", word, -5, kMost); };
  EXPECT_EQ(parse("0"), 0);
  EXPECT_EQ(parse("-5"), -5);
  EXPECT_EQ(parse("1024"), 1024);
  EXPECT_EQ(parse("9223372036854775807"), kMost);
  for (const std::string word : {"",
                                 " ",
                                 "-",
                                 "010",
                                 "00",
                                 "-01",
                                 "0x10",
                                 "0b1",
                                 "1e3",
                                 "1.0",
                                 "+5",
                                 " 5",
                                 "5 ",
                                 "5x",
                                 "1_000",
                                 "1'000",
                                 "-6",
                                 "9223372036854775808",
                                 "99999999999999999999",
                                 "-99999999999999999999",
                                 "inf",
                                 "nan"}) {
    EXPECT_EQ(error_of([&] { parse(word); }),
              fmt::format("--n \"{}\": expected an integer from -5 to 9223372036854775807, in "
                          "decimal digits without leading zeros",
                          word));
  }
}

TEST(Setting, RefusesWhatIsNotAnAssignment) {
  for (const char* wrong : {"", "=", "unit", "unit.norm", "norm=post", "unit.=post", ".norm=post",
                            "unit=a.b", ".=", "\n"}) {
    const std::string message = error_set(wrong);
    EXPECT_NE(message.find("expected TABLE.KEY=VALUE"), std::string::npos) << message;
  }
}

TEST(Take, ReturnsTheStringOnceAndReportsWhatIsMissing) {
  Config config = Experiment("[unit]\nname = \"lstm\"\n[task]\nname = 3\n").read();
  EXPECT_EQ(config.take("unit", "name"), "lstm");
  EXPECT_TRUE(config.tables.at("unit").empty());
  const std::string missing = error_of([&] { config.take("unit", "name"); });
  EXPECT_TRUE(missing.ends_with("x.toml: [unit] name is missing: add name = \"...\"")) << missing;
  const std::string wrong = error_of([&] { config.take("task", "name"); });
  EXPECT_TRUE(wrong.ends_with("x.toml:4: [task] name = 3: is an integer, expected a string"))
      << wrong;
  error_of([&] { config.take("train", "algorithm"); });
}

// Writes `value` with to_toml() and reads it again.
double round_trip(double value) {
  const auto fields = [](double& x) { return std::vector<Field>{field("x", x, "")}; };
  const Experiment experiment(to_toml("unit", {}, fields(value)));
  double read = 0;
  assign(experiment.read(), "unit", fields(read));
  return read;
}

TEST(ToToml, KeepsEveryBitOfADouble) {
  using Limits = std::numeric_limits<double>;
  std::vector<double> values = {
      0.0,       -0.0,      1.0,  -1.0, 0.1,  1e-3,   1.0 / 3,
      1e15,      1e16,      1e17, 1e22, 1e23, 5e-324, 123456789012345678.0,
      kInfinity, -kInfinity};
  values.insert(values.end(), {Limits::max(), Limits::lowest(), Limits::min(), Limits::epsilon()});
  Random random(5, Stream::test_data, 0);
  while (values.size() < 300) {
    const uint64_t high = random.next();
    const auto value = std::bit_cast<double>(high << 32 | random.next());
    if (std::isfinite(value)) values.push_back(value);
  }
  for (const double value : values) {
    EXPECT_EQ(std::bit_cast<uint64_t>(round_trip(value)), std::bit_cast<uint64_t>(value)) << value;
  }
}

TEST(ToToml, KeepsEveryTypeAndEveryString) {
  Options written;
  written.bias = false;
  written.hidden_size = 4096;
  written.norm = "none";
  written.note = "\"quotes\" \\ back\nline\ttab\x01\x7f \xc3\xa9 # [unit] = ''' \"\"\"";
  const std::string text = to_toml("unit", {{"name", "lst\"m"}}, written.fields());
  EXPECT_TRUE(text.starts_with("[unit]\nname = \"lst\\\"m\"\nbias = false\nhidden_size = 4096\n"))
      << text;
  Config config = Experiment(to_toml("task", {{"name", "t"}}, {}) + "\n" + text).read();
  EXPECT_EQ(config.take("unit", "name"), "lst\"m");
  EXPECT_EQ(config.take("task", "name"), "t");
  Options read;
  assign(config, "unit", read.fields());
  EXPECT_EQ(read.bias, written.bias);
  EXPECT_EQ(read.hidden_size, written.hidden_size);
  EXPECT_EQ(read.clamp, written.clamp);
  EXPECT_EQ(read.norm, written.norm);
  EXPECT_EQ(read.note, written.note);
}

TEST(ToToml, KeepsTheLargestIntegers) {
  for (const int64_t value :
       {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    int64_t number = value;
    const std::vector<Field> fields = {field("n", number, "")};
    const Experiment experiment(to_toml("unit", {}, fields));
    number = 0;
    assign(experiment.read(), "unit", fields);
    EXPECT_EQ(number, value);
  }
}

TEST(Nearest, FindsTheFewestEditsAndNothingDistant) {
  const std::vector<std::string> names = {"hidden_size", "batch_size", "seed", "pairs"};
  EXPECT_EQ(nearest("hiden_size", names), "hidden_size");
  EXPECT_EQ(nearest("batchsize", names), "batch_size");
  EXPECT_EQ(nearest("sede", names), "seed");
  EXPECT_EQ(nearest("Seed", names), "seed");
  EXPECT_EQ(nearest("pair", names), "pairs");
  EXPECT_EQ(nearest("learning_rate", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest("x", {"y", ""}), "");
}

}  // namespace
}  // namespace stpn::base::config_test
