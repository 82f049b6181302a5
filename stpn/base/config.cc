#include "stpn/base/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "stpn/base/error.h"
#include "stpn/base/files.h"

namespace stpn::base {
namespace {

using Value = decltype(Setting::value);

// The limit on the bytes of a text that is parsed as TOML. Experiments are far shorter; the parser
// is recursive, and a longer text could exhaust the stack.
constexpr size_t kMaxTextBytes = 16 * 1024;

// For messages: `text` with line breaks and other control characters replaced by spaces.
std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

// `text` as a basic string of TOML, in quotes.
std::string toml_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string to_text(bool value) { return value ? "true" : "false"; }
std::string to_text(int64_t value) { return fmt::format("{}", value); }
std::string to_text(const std::string& value) { return toml_string(value); }
// fmt writes the fewest digits that read back as the same bits. TOML reads a number without point
// or exponent as an integer.
std::string to_text(double value) {
  std::string text = fmt::format("{}", value);
  if (std::isfinite(value) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}
std::string to_text(const Value& value) {
  return std::visit([](const auto& v) { return to_text(v); }, value);
}

std::string type_name(const Value& value) {
  static constexpr const char* kNames[] = {"true or false", "an integer", "a float", "a string"};
  return kNames[value.index()];
}

// The value of a TOML node, or nothing if it is not of one of the four types.
std::optional<Value> scalar(const toml::node& node) {
  if (const auto v = node.value_exact<bool>()) return *v;
  if (const auto v = node.value_exact<int64_t>()) return *v;
  if (const auto v = node.value_exact<double>()) return *v;
  if (auto v = node.value_exact<std::string>()) return std::move(*v);
  return std::nullopt;
}

// For messages: " (did you mean X?)", or the list of all names if none is close to `name`.
std::string hint(std::string_view name, const std::vector<std::string>& names) {
  const std::string near = nearest(name, names);
  if (!near.empty()) return fmt::format(" (did you mean {}?)", near);
  if (names.empty()) return " (there are none)";
  return fmt::format(" (known: {})", fmt::join(names, ", "));
}

std::vector<std::string> table_names(const Config& config) {
  std::vector<std::string> names;
  for (const auto& [name, settings] : config.tables) names.push_back(name);
  return names;
}

// For messages: the values that the field accepts.
std::string accepted_values(const Field& field) {
  if (std::holds_alternative<bool*>(field.value)) return "true or false";
  if (std::holds_alternative<std::string*>(field.value)) {
    return field.choices.empty() ? "a string"
                                 : fmt::format("one of {}", fmt::join(field.choices, ", "));
  }
  const auto [least, most] = field.range;
  const char* type = std::holds_alternative<int64_t*>(field.value) ? "an integer" : "a number";
  if (std::isfinite(least) && most == std::numeric_limits<double>::max()) {
    return fmt::format("a finite number of at least {}", least);
  }
  if (std::isfinite(least) && std::isfinite(most)) {
    return fmt::format("{} from {} to {}", type, least, most);
  }
  if (std::isfinite(least)) return fmt::format("{} of at least {}", type, least);
  if (std::isfinite(most)) return fmt::format("{} of at most {}", type, most);
  return type;
}

// Whether the value is in the field's range or choices.
bool allowed(const Field&, bool) { return true; }
bool allowed(const Field& field, const std::string& value) {
  return field.choices.empty() ||
         std::find(field.choices.begin(), field.choices.end(), value) != field.choices.end();
}
// NaN is not allowed: both comparisons are false.
bool allowed(const Field& field, double value) {
  return value >= field.range.least && value <= field.range.most;
}
bool allowed(const Field& field, int64_t value) {
  return allowed(field, static_cast<double>(value));
}

// For messages: the integers that an option of the command line accepts.
std::string accepted_integers(int64_t least, int64_t most) {
  return fmt::format("an integer from {} to {}, in decimal digits without leading zeros", least,
                     most);
}

// For messages: how to write a value of this field on the command line.
std::string accepted_words(const Field& field) {
  if (std::holds_alternative<int64_t*>(field.value)) {
    using Limits = std::numeric_limits<int64_t>;
    const auto [least, most] = field.range;
    return accepted_integers(std::isfinite(least) ? static_cast<int64_t>(least) : Limits::min(),
                             std::isfinite(most) ? static_cast<int64_t>(most) : Limits::max());
  }
  const bool number = std::holds_alternative<double*>(field.value);
  return accepted_values(field) + (number ? ", in decimal digits, such as 0.5 or 1e-3" : "");
}

// Assigns the setting to the field. Returns an empty string, or what is wrong with its value, in
// which case the field is unchanged.
std::string assign_value(const Field& field, const Setting& setting) {
  const Value& value = setting.value;
  return std::visit(
      [&](auto* target) -> std::string {
        using Type = std::remove_pointer_t<decltype(target)>;
        Value converted = value;
        if constexpr (std::is_same_v<Type, double>) {
          if (const auto* integer = std::get_if<int64_t>(&value)) {
            converted = static_cast<double>(*integer);
          }
        }
        const Type* typed = std::get_if<Type>(&converted);
        if (typed == nullptr) {
          if (setting.bare) return fmt::format("expected {}", accepted_words(field));
          return fmt::format("is {}, expected {}", type_name(value), accepted_values(field));
        }
        if (!allowed(field, *typed)) {
          std::string problem = fmt::format("expected {}", accepted_values(field));
          if constexpr (std::is_same_v<Type, std::string>) {
            const auto renamed = field.old_choices.find(*typed);
            if (renamed != field.old_choices.end()) {
              return fmt::format("this value is now called \"{}\"", renamed->second);
            }
            const std::string near = nearest(*typed, field.choices);
            if (!near.empty()) problem += fmt::format(" (did you mean {}?)", near);
          }
          return problem;
        }
        *target = *typed;
        return "";
      },
      field.value);
}

// For messages: what is wrong with a key that no field has.
std::string unknown_key(const std::string& key, const std::vector<Field>& fields) {
  std::vector<std::string> keys;
  for (const Field& field : fields) {
    if (std::find(field.old_keys.begin(), field.old_keys.end(), key) != field.old_keys.end()) {
      return fmt::format("this key is now called {}", field.key);
    }
    keys.push_back(field.key);
  }
  return "unknown key" + hint(key, keys);
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Whether a number is written in decimal digits, without the prefixes, underscores and plus signs
// that TOML allows too.
bool is_decimal(std::string_view number) {
  return !number.starts_with('+') &&
         number.find_first_not_of("0123456789.-+eE") == std::string_view::npos;
}

// Whether this is a number in a form that only a file may contain. Infinity and NaN are not.
bool is_for_files_only(const Value& value, std::string_view text) {
  if (std::holds_alternative<int64_t>(value)) return !is_decimal(text);
  const auto* number = std::get_if<double>(&value);
  return number != nullptr && std::isfinite(*number) && !is_decimal(text);
}

// Parses `text` as a TOML value, or takes it as a string if it is not one.
Setting parse_value(std::string_view text, const std::string& where) {
  if (text.size() > kMaxTextBytes) {
    throw UserError(fmt::format("--set: a value has more than {} bytes", kMaxTextBytes));
  }
  std::optional<toml::table> parsed;
  bool bare = false;
  try {
    parsed = toml::parse(fmt::format("value = {}", text));
  } catch (const toml::parse_error&) {
    bare = true;
    try {
      parsed = toml::parse(fmt::format("value = {}", toml_string(text)));
    } catch (const toml::parse_error&) {
      throw UserError(fmt::format("{}: the value is not valid UTF-8", where));
    }
  }
  const auto value = scalar(*parsed->get("value"));
  // More than one key: the text contained a line break and further assignments.
  if (!value || parsed->size() != 1) {
    throw UserError(fmt::format("{}: the value is not a boolean, integer, float or string", where));
  }
  if (is_for_files_only(*value, text)) return {std::string(text), where, /*bare=*/true};
  return {*value, where, bare};
}

}  // namespace

Field field(std::string key, bool& value, std::string help) {
  return {std::move(key), &value, std::move(help), {}, {}, {}, {}};
}
Field field(std::string key, int64_t& value, std::string help, Range range) {
  return {std::move(key), &value, std::move(help), range, {}, {}, {}};
}
Field field(std::string key, double& value, std::string help, Range range) {
  return {std::move(key), &value, std::move(help), range, {}, {}, {}};
}
Field field(std::string key, std::string& value, std::string help,
            std::vector<std::string> choices) {
  return {std::move(key), &value, std::move(help), {}, std::move(choices), {}, {}};
}

Field Field::formerly(std::string old_key) && {
  old_keys.push_back(std::move(old_key));
  return std::move(*this);
}
Field Field::choice_formerly(std::string old_choice, std::string choice) && {
  old_choices.emplace(std::move(old_choice), std::move(choice));
  return std::move(*this);
}

std::string Config::take(const std::string& table, const std::string& key) {
  auto& settings = tables[table];
  const auto found = settings.find(key);
  if (found == settings.end()) {
    throw UserError(fmt::format("{}: [{}] {} is missing: add {} = \"...\"", one_line(path.string()),
                                table, key, key));
  }
  const Setting setting = found->second;
  settings.erase(found);
  if (const auto* text = std::get_if<std::string>(&setting.value)) return *text;
  throw UserError(fmt::format("{}: [{}] {} = {}: is {}, expected a string", setting.where, table,
                              key, to_text(setting.value), type_name(setting.value)));
}

Config read_config(const std::filesystem::path& path, const std::vector<std::string>& tables) {
  const std::string name = one_line(path.string());
  std::error_code missing;  // read_file() reports a missing file
  if (std::filesystem::exists(path, missing) && !std::filesystem::is_regular_file(path, missing)) {
    throw UserError(fmt::format("{}: is not a file; pass the path of an experiment (TOML)", name));
  }
  const auto size = std::filesystem::file_size(path, missing);
  if (!missing && size > kMaxTextBytes) {
    throw UserError(
        fmt::format("{}: has more than {} bytes, so it is not an experiment", name, kMaxTextBytes));
  }
  return parse_config(read_file(path), path, tables);
}

Config parse_config(const std::string& text, const std::filesystem::path& path,
                    const std::vector<std::string>& tables) {
  const std::string name = one_line(path.string());
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw UserError(
        fmt::format("{}:{}: {}", name, error.source().begin.line, one_line(error.description())));
  }

  Config config;
  config.path = path;
  for (const std::string& table : tables) config.tables[table];
  for (const auto& [table_key, node] : root) {
    const std::string table(table_key.str());
    const std::string shown = one_line(table);
    const std::string place = fmt::format("{}:{}", name, table_key.source().begin.line);
    if (const auto value = scalar(node)) {
      throw UserError(fmt::format("{}: {} = {}: is outside the tables, expected in one of [{}]",
                                  place, shown, to_text(*value), fmt::join(tables, "], [")));
    }
    if (!config.tables.contains(table)) {
      throw UserError(fmt::format("{}: [{}]: unknown table{}", place, shown, hint(table, tables)));
    }
    if (!node.is_table()) {
      throw UserError(fmt::format("{}: {}: is not a table, expected [{}]", place, shown, shown));
    }
    for (const auto& [key, value_node] : *node.as_table()) {
      const std::string where = fmt::format("{}:{}", name, key.source().begin.line);
      auto value = scalar(value_node);
      if (!value) {
        throw UserError(
            fmt::format("{}: [{}] {}: its value is not a boolean, integer, float or string", where,
                        shown, one_line(key.str())));
      }
      config.tables[table].insert_or_assign(std::string(key.str()),
                                            Setting{std::move(*value), where});
    }
  }
  return config;
}

void apply_setting(Config& config, std::string_view assignment) {
  const std::string where = fmt::format("--set {}", one_line(assignment));
  const size_t equals = assignment.find('=');
  const std::string_view left = trimmed(assignment.substr(0, equals));
  const size_t dot = left.find('.');
  if (equals == std::string_view::npos || dot == std::string_view::npos || dot == 0 ||
      dot + 1 == left.size()) {
    throw UserError(
        fmt::format("{}: expected TABLE.KEY=VALUE, such as train.learning_rate=1e-3", where));
  }
  const std::string table(left.substr(0, dot));
  const auto found = config.tables.find(table);
  if (found == config.tables.end()) {
    throw UserError(fmt::format("{}: [{}]: unknown table{}", where, one_line(table),
                                hint(table, table_names(config))));
  }
  found->second.insert_or_assign(std::string(left.substr(dot + 1)),
                                 parse_value(trimmed(assignment.substr(equals + 1)), where));
}

void assign(const Config& config, const std::string& table, const std::vector<Field>& fields) {
  const auto settings = config.tables.find(table);
  if (settings == config.tables.end()) return;
  for (const auto& [key, setting] : settings->second) {
    const auto found = std::find_if(fields.begin(), fields.end(),
                                    [&key = key](const Field& f) { return f.key == key; });
    std::string problem;
    if (found == fields.end()) {
      problem = unknown_key(key, fields);
    } else {
      problem = assign_value(*found, setting);
    }
    if (!problem.empty()) {
      throw UserError(fmt::format("{}: [{}] {} = {}: {}", setting.where, table, one_line(key),
                                  to_text(setting.value), problem));
    }
  }
}

std::string to_toml(const std::string& table,
                    const std::vector<std::pair<std::string, std::string>>& head,
                    const std::vector<Field>& fields) {
  std::string out = fmt::format("[{}]\n", table);
  for (const auto& [key, value] : head) out += fmt::format("{} = {}\n", key, toml_string(value));
  for (const Field& f : fields) {
    const std::string value = std::visit([](const auto* v) { return to_text(*v); }, f.value);
    out += fmt::format("{} = {}\n", f.key, value);
  }
  return out;
}

int64_t parse_integer(const std::string& option, const std::string& word, int64_t least,
                      int64_t most) {
  const char* const end = word.data() + word.size();
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  const std::string_view digits = std::string_view(word).substr(word.starts_with('-') ? 1 : 0);
  const bool leading_zero = digits.size() > 1 && digits[0] == '0';
  if (error != std::errc() || stop != end || leading_zero || value < least || value > most) {
    throw UserError(fmt::format("{} \"{}\": expected {}", option, one_line(word),
                                accepted_integers(least, most)));
  }
  return value;
}

// An edit inserts, deletes or replaces a letter, or swaps two adjacent ones (optimal string
// alignment distance). A name is close if it takes fewer edits than half the length of the longer
// name.
std::string nearest(std::string_view name, const std::vector<std::string>& names) {
  std::string best;
  size_t fewest = std::string_view::npos;
  for (const std::string& candidate : names) {
    const size_t n = name.size(), m = candidate.size();
    // edits[i][j]: the distance from the first i letters of name to the first j of candidate.
    std::vector<std::vector<size_t>> edits(n + 1, std::vector<size_t>(m + 1));
    for (size_t i = 0; i <= n; ++i) {
      for (size_t j = 0; j <= m; ++j) {
        size_t& here = edits[i][j];
        here = i + j;  // right if i or j is 0
        if (i == 0 || j == 0) continue;
        const size_t replaced = name[i - 1] != candidate[j - 1];
        here = std::min({edits[i - 1][j] + 1, edits[i][j - 1] + 1, edits[i - 1][j - 1] + replaced});
        if (i > 1 && j > 1 && name[i - 1] == candidate[j - 2] && name[i - 2] == candidate[j - 1]) {
          here = std::min(here, edits[i - 2][j - 2] + 1);
        }
      }
    }
    if (2 * edits[n][m] < std::max(n, m) && edits[n][m] < fewest) {
      fewest = edits[n][m];
      best = candidate;
    }
  }
  return best;
}

}  // namespace stpn::base
