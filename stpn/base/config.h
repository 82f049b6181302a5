// Options of experiments. An options struct lists its fields once; that list serves to read a TOML
// table, to apply `--set table.key=value` of the command line, to write the resolved copy that is
// stored with a run, and to print help.
//
//   struct TrainOptions {
//     int64_t epochs = 200;
//     double learning_rate = 1e-3;
//     std::vector<base::Field> fields() {
//       return {base::field("epochs", epochs, "passes over the training set", {.least = 1}),
//               base::field("learning_rate", learning_rate, "step size of Adam", {.least = 0})};
//     }
//   };
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace stpn::base {

// The smallest and the largest allowed value of a number, both inclusive. NaN is never allowed, and
// an infinity only if the bound on its side is infinite.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};

// One option.
struct Field {
  std::string key;
  // Points to the member of the options struct, which must outlive the field. Its type is the type
  // of the option.
  std::variant<bool*, int64_t*, double*, std::string*> value;
  std::string help;                  // what the option means and when to change it
  Range range;                       // for numbers
  std::vector<std::string> choices;  // for strings: the allowed values; empty if all are allowed
  // Names that earlier versions used for the key and for choices. assign() refuses them with an
  // error that states the current name.
  std::vector<std::string> old_keys;
  std::map<std::string, std::string> old_choices;  // current name by old name

  // Return the field with one more old name, for use in a list of fields:
  //   base::field("max_grad_norm", ...).formerly("largest_gradient")
  //   base::field("norm", ...).choice_formerly("drive", "preactivation")
  Field formerly(std::string old_key) &&;
  Field choice_formerly(std::string old_choice, std::string choice) &&;
};

Field field(std::string key, bool& value, std::string help);
Field field(std::string key, int64_t& value, std::string help, Range range = {});
Field field(std::string key, double& value, std::string help, Range range = {});
Field field(std::string key, std::string& value, std::string help,
            std::vector<std::string> choices = {});

// A value as written in a file or on the command line, not yet checked against a field.
struct Setting {
  std::variant<bool, int64_t, double, std::string> value;
  // For messages: "experiments/retrieval/stpn.toml:7" or "--set unit.hidden_size=0".
  std::string where;
  bool bare = false;  // a word without quotes on the command line, taken as a string
};

// An experiment, such as one with the tables [task], [unit] and [train].
struct Config {
  std::filesystem::path path;  // for messages
  // Settings by the name of their table and their key.
  std::map<std::string, std::map<std::string, Setting>> tables;

  // Removes a required string from the table and returns it: `name` of [task] and [unit],
  // `algorithm` of [train]. Throws UserError if it is missing or not a string.
  std::string take(const std::string& table, const std::string& key);
};

// Reads the experiment in a TOML file. The result has all of `tables`; those that the file does not
// contain are empty. Throws UserError that names the file, and the line where there is one, if the
// file is missing, too large or not valid TOML, if it contains a table that is not one of `tables`
// or a value outside the tables, or if a value is not a bool, an integer, a float or a string.
Config read_config(const std::filesystem::path& path, const std::vector<std::string>& tables);

// The same for a text in place of a file; `path` is used in messages only.
Config parse_config(const std::string& text, const std::filesystem::path& path,
                    const std::vector<std::string>& tables);

// Applies one `TABLE.KEY=VALUE` of the command line, replacing a value from the file. VALUE is
// parsed as a TOML value, and taken as a string if it is not one. Numbers that TOML allows but that
// are not plainly decimal, such as 0x10, 1_000 and +5, are taken as strings too. Throws UserError
// that quotes the argument if it does not have this form, the table is unknown, or the value has
// none of the types above.
void apply_setting(Config& config, std::string_view assignment);

// Assigns the settings of `table` to the fields; a field without a setting keeps its value. An
// integer is accepted for a float. Throws UserError, one line with place, table, key and value, for
// a key that no field has (naming the nearest one), a key or choice that was renamed (naming the
// new one), a value of the wrong type, or a value outside the field's range or choices; the fields
// before it may have been assigned.
void assign(const Config& config, const std::string& table, const std::vector<Field>& fields);

// Returns the table as TOML: a line `[table]`, a line for each pair of `head`, such as {"name",
// "stpn_recurrent"}, and a line for each field with its current value. read_config() reads all
// values back with the same bits.
std::string to_toml(const std::string& table,
                    const std::vector<std::pair<std::string, std::string>>& head,
                    const std::vector<Field>& fields);

// The integer in a word of the command line. Throws UserError, which begins with `option`, such as
// "--seed", unless the word consists of decimal digits only, perhaps after a minus, and the integer
// is in the range, both ends inclusive. A leading zero is refused: for some programs it means
// octal.
int64_t parse_integer(const std::string& option, const std::string& word, int64_t least,
                      int64_t most);

// Returns the one of `names` with the smallest edit distance to `name`, for "did you mean"; empty
// if none is close.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

}  // namespace stpn::base
