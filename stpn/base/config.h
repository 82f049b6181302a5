// Options from one field list: the same list reads a TOML table, takes `--set table.key=value`,
// writes the resolved copy kept with a run, and documents itself.
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

// Smallest and largest value a number may take, both allowed. A NaN is never allowed; infinity only
// up to a bound that is infinite.
struct Range {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};

// One option: its key, where its value lives (bound by reference: the options struct must outlive
// the field), what it means and when to change it, and the values it may take.
struct Field {
  std::string key;
  std::variant<bool*, int64_t*, double*, std::string*> value;
  std::string help;
  Range range;
  std::vector<std::string> choices;  // for strings; empty: any
  // Names from older versions: `assign` throws an error that says the present name.
  std::vector<std::string> old_keys;
  std::map<std::string, std::string> old_choices;  // old to present

  // For a list of fields: base::field("max_grad_norm", ...).formerly("largest_gradient").
  Field formerly(std::string old_key) &&;
  // For a list of fields: base::field("norm", ...).choice_formerly("drive", "preactivation").
  Field choice_formerly(std::string old_choice, std::string choice) &&;
};

Field field(std::string key, bool& value, std::string help);
Field field(std::string key, int64_t& value, std::string help, Range range = {});
Field field(std::string key, double& value, std::string help, Range range = {});
Field field(std::string key, std::string& value, std::string help,
            std::vector<std::string> choices = {});

// A value as written, before it is known which field it belongs to, and where it was written.
struct Setting {
  std::variant<bool, int64_t, double, std::string> value;
  std::string where;  // "experiments/retrieval/stpn.toml:7" or "--set unit.hidden_size=0"
};

// The three tables of an experiment: [task], [unit], [train]; each has its settings by key.
struct Config {
  std::filesystem::path path;
  std::map<std::string, std::map<std::string, Setting>> tables;

  // A required string, removed from the table: `name` of [task] and [unit], `algorithm` of [train].
  // Throws UserError if it is missing or no string.
  std::string take(const std::string& table, const std::string& key);
};

// Reads an experiment. Throws UserError naming file and line for what is no TOML, a missing file, a
// table that is not one of `tables`, a value outside a table, or a value that is no bool, integer,
// float or string.
Config read_config(const std::filesystem::path& path, const std::vector<std::string>& tables);

// The same of a text; `path` is for messages.
Config parse_config(const std::string& text, const std::filesystem::path& path,
                    const std::vector<std::string>& tables);

// Applies one `TABLE.KEY=VALUE` of the command line; VALUE is read as TOML, and as a string if it
// is none.
void apply_setting(Config& config, std::string_view assignment);

// Puts the settings of `table` into the fields. Throws UserError, in one line with place, table,
// key and value, for a key no field has (naming the nearest), a value of the wrong type (an integer
// is taken where a float is wanted), one outside range or choices, or a key or choice that has been
// renamed (naming the new one).
void assign(const Config& config, const std::string& table, const std::vector<Field>& fields);

// `[table]` and a line a field with its present value, as TOML that read_config takes back to the
// same bits; `head` are lines such as {"name", "stpn_recurrent"} that come first.
std::string to_toml(const std::string& table,
                    const std::vector<std::pair<std::string, std::string>>& head,
                    const std::vector<Field>& fields);

// Of `names`, the one with the smallest edit distance to `name`; empty if none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& names);

}  // namespace stpn::base
