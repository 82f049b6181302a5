#include "stpn/tasks/atari/atari_task.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "stpn/base/error.h"
#include "stpn/base/profile.h"
#include "stpn/base/random.h"
#include "stpn/tasks/atari/atari_trace.h"
#include "stpn/tasks/atari/emulator.h"
#include "stpn/tasks/atari/screen.h"
#include "stpn/tasks/image_environment.h"

namespace stpn::tasks {
namespace {

// Of an episode: an actor numbers the draws of its steps below 2^24.
constexpr double kMostFrames = (1 << 24) - 1;

struct AtariMode {
  std::string name;
  int64_t frames_per_step = 1;
  int64_t no_ops = 0;  // 1 to this many
  bool presses_fire = false;
  int64_t max_frames = 0;
  ScreenStyle style = ScreenStyle::luma;
  float zero = 0, unit = 255;  // of an image's bytes
};

const std::vector<AtariMode>& atari_modes() {
  static const std::vector<AtariMode> modes = {
      {.name = "stpn",
       .max_frames = 400'000,
       .style = ScreenStyle::channels,
       .zero = 128,
       .unit = 128},
      {.name = "deepmind",
       .frames_per_step = 4,
       .no_ops = 30,
       .presses_fire = true,
       .max_frames = 108'000},
  };
  return modes;
}

const AtariMode& find_mode(const std::string& name) {
  for (const AtariMode& mode : atari_modes()) {
    if (mode.name == name) return mode;
  }
  throw base::UserError(fmt::format("mode = \"{}\": must be stpn or deepmind", name));
}

// The options, with what the mode decides filled in.
AtariOptions resolved(AtariOptions options) {
  const AtariMode& mode = find_mode(options.mode);
  if (options.no_ops < 0) options.no_ops = mode.no_ops;
  if (options.max_frames == 0) options.max_frames = mode.max_frames;
  STPN_CHECK(0 <= options.repeat_action_probability && options.repeat_action_probability <= 1,
             "repeat_action_probability = {}: must be from 0 to 1",
             options.repeat_action_probability);
  STPN_CHECK(1 <= options.max_frames && options.max_frames <= 1'000'000'000,
             "max_frames = {}: must be from 1 to 1000000000", options.max_frames);
  return options;
}

// A state of the game from which episodes start.
struct AtariStart {
  std::string emulator;         // as Emulator::save() gives it
  std::vector<uint8_t> before;  // the last screen but one
};

class AtariTask : public EnvironmentTask {
 public:
  AtariTask(const AtariOptions& options, uint64_t seed)
      : options_(resolved(options)),
        mode_(find_mode(options.mode)),
        image_{1, ScreenReader::kSize, ScreenReader::kSize, mode_.zero, mode_.unit},
        seed_(seed) {
    const auto emulator = load();
    names_ = emulator->actions();
    actions_ = ActionSpec::one_of(static_cast<int64_t>(names_.size()));
    // Refuses a screen that is too low.
    [[maybe_unused]] const ScreenReader reader(mode_.style, emulator->palette(),
                                               emulator->height());
    no_op_ = index_of("NOOP");
    fire_ = mode_.presses_fire ? index_of("FIRE") : -1;
    STPN_CHECK(no_op_ >= 0, "game = \"{}\": it has no action NOOP", options_.game);
    make_starts(*emulator);
  }

  int64_t observation_size() const override { return image_.bytes(); }
  const ImageSpec* image() const override { return &image_; }
  const ActionSpec& actions() const override { return actions_; }
  int64_t max_steps() const override {
    return (options_.max_frames - 1) / mode_.frames_per_step + 1;
  }
  int64_t test_episodes() const override { return options_.test; }
  std::unique_ptr<Environment> make_environment() const override;
  std::string trace(Split split, int64_t episode, const std::vector<float>& actions) const override;

  std::unique_ptr<Emulator> load() const { return load_emulator(options_.game, options_.rom); }
  const AtariOptions& options() const { return options_; }
  const AtariMode& mode() const { return mode_; }
  uint64_t seed() const { return seed_; }
  int64_t no_op() const { return no_op_; }
  const std::vector<std::string>& action_names() const { return names_; }

  // How many frames of NOOP an episode begins with.
  int64_t no_ops(Split split, int64_t episode) const {
    if (options_.no_ops == 0) return 0;
    base::Random random(seed_, stream_of(split), static_cast<uint64_t>(episode));
    return 1 + random.below(static_cast<uint32_t>(options_.no_ops));
  }
  const AtariStart& start_after(int64_t no_ops) const {
    return starts_[static_cast<size_t>(no_ops)];
  }

 private:
  int64_t index_of(const std::string& name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    return found == names_.end() ? -1 : found - names_.begin();
  }

  // To emulate a start again for each episode would take longer than many steps.
  void make_starts(Emulator& emulator) {
    const auto size = static_cast<size_t>(emulator.height() * Emulator::kWidth);
    std::vector<uint8_t> before(emulator.screen(), emulator.screen() + size);
    const auto act = [&](int64_t action) {
      before.assign(emulator.screen(), emulator.screen() + size);
      emulator.act(action);
    };
    for (int64_t k = 0; k <= options_.no_ops; ++k) {
      if (k > 0) act(no_op_);
      if (fire_ < 0) {
        starts_.push_back({emulator.save(), before});
        continue;
      }
      const std::string without_fire = emulator.save();
      for (int64_t frame = 0; frame < mode_.frames_per_step; ++frame) act(fire_);
      starts_.push_back({emulator.save(), before});
      emulator.restore(without_fire);
    }
  }

  const AtariOptions options_;  // resolved
  const AtariMode& mode_;
  const ImageSpec image_;
  const uint64_t seed_;
  std::vector<std::string> names_;
  ActionSpec actions_;
  int64_t no_op_ = 0;
  int64_t fire_ = -1;               // -1: not pressed
  std::vector<AtariStart> starts_;  // by the number of no-ops
};

// What is stored of an episode besides the emulator's state.
struct AtariProgress {
  int64_t episode = 0;
  int64_t frames = 0;   // done, without the start
  int64_t pressed = 0;  // the action of the last frame
  Split split = Split::training;
  uint32_t ended = 1;  // 0 while an episode is under way
};
static_assert(std::has_unique_object_representations_v<AtariProgress>);

// FNV-1a. A damaged state of the emulator could lead it outside its memory, so none is passed on.
uint64_t check_sum(std::string_view bytes) {
  uint64_t sum = 14695981039346656037U;
  for (const char byte : bytes) sum = (sum ^ static_cast<uint8_t>(byte)) * 1099511628211U;
  return sum;
}

class AtariEnvironment : public ImageEnvironment {
 public:
  explicit AtariEnvironment(const AtariTask& task)
      : ImageEnvironment(*task.image()),
        task_(task),
        emulator_(task.load()),
        reader_(task.mode().style, emulator_->palette(), emulator_->height()),
        before_(emulator_->screen(), emulator_->screen() + pixels()) {}

  void start_image(Split split, int64_t episode, uint8_t* image) override {
    const AtariStart& start = task_.start_after(task_.no_ops(split, episode));
    emulator_->restore(start.emulator);
    before_ = start.before;
    progress_ = {
        .episode = episode, .frames = 0, .pressed = task_.no_op(), .split = split, .ended = 0};
    pressed_.clear();
    reader_.read(emulator_->screen(), before_.data(), image);
  }

  Step step_image(const Action& action, uint8_t* image) override {
    assert(progress_.ended == 0);
    STPN_CHECK(0 <= action.choice && action.choice < task_.actions().choices,
               "action {}: must be from 0 to {}", action.choice, task_.actions().choices - 1);
    const AtariMode& mode = task_.mode();
    Step step;
    int64_t points = 0;
    pressed_.clear();
    const base::Working emulating(base::Work::emulator);
    for (int64_t frame = 0; frame < mode.frames_per_step && !step.ended(); ++frame) {
      if (mode.style == ScreenStyle::luma) {
        std::copy_n(emulator_->screen(), before_.size(), before_.begin());
      }
      progress_.pressed = pressed_now(action.choice);
      pressed_.push_back(progress_.pressed);
      points += emulator_->act(progress_.pressed);
      step.terminated = emulator_->ended();
      step.truncated = ++progress_.frames == task_.options().max_frames;
    }
    step.reward = static_cast<float>(points);
    if (task_.options().clip_rewards) step.reward = static_cast<float>((points > 0) - (points < 0));
    progress_.ended = step.ended() ? 1 : 0;
    const base::Working reading(base::Work::preprocessing);
    if (image != nullptr) reader_.read(emulator_->screen(), before_.data(), image);
    return step;
  }

  std::string save() const override {
    std::string bytes = label();
    bytes.append(reinterpret_cast<const char*>(&progress_), sizeof progress_);
    bytes += emulator_->save();
    const uint64_t sum = check_sum(bytes);
    bytes.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    return bytes;
  }

  void restore(std::string_view saved) override {
    const std::string label = this->label();
    STPN_CHECK(saved.starts_with(label), "the saved environment is not one of: {}",
               label.substr(0, label.size() - 1));
    AtariProgress progress;
    uint64_t sum = 0;
    const char* damaged = "the saved environment is damaged: use an older checkpoint";
    STPN_CHECK(saved.size() > label.size() + sizeof progress + sizeof sum, "{}", damaged);
    std::memcpy(&sum, saved.data() + saved.size() - sizeof sum, sizeof sum);
    saved.remove_suffix(sizeof sum);
    STPN_CHECK(check_sum(saved) == sum, "{}", damaged);
    saved.remove_prefix(label.size());
    std::memcpy(&progress, saved.data(), sizeof progress);
    saved.remove_prefix(sizeof progress);
    emulator_->restore(saved);
    progress_ = progress;
  }

  const Emulator& emulator() const { return *emulator_; }
  // The actions of the frames of the last step, which differ from its own where actions repeat.
  const std::vector<int64_t>& pressed() const { return pressed_; }

 private:
  size_t pixels() const { return static_cast<size_t>(emulator_->height() * Emulator::kWidth); }

  // Each frame has a draw of its own, so that no generator has to be saved. Draw 0 of an episode is
  // that of its start.
  int64_t pressed_now(int64_t choice) const {
    const double probability = task_.options().repeat_action_probability;
    if (probability == 0) return choice;
    const auto index = static_cast<uint64_t>((progress_.frames + 1) << 32 | progress_.episode);
    base::Random random(task_.seed(), stream_of(progress_.split), index);
    return random.uniform(0, 1) < probability ? progress_.pressed : choice;
  }

  // A line that says of which task a saved state is.
  std::string label() const {
    const AtariOptions& options = task_.options();
    return fmt::format(
        "atari game {} mode {} repeat_action_probability {} no_ops {} max_frames {} clip_rewards "
        "{} ale {} seed {}\n",
        options.game, options.mode, options.repeat_action_probability, options.no_ops,
        options.max_frames, options.clip_rewards, emulator_version(), task_.seed());
  }

  const AtariTask& task_;
  const std::unique_ptr<Emulator> emulator_;
  ScreenReader reader_;
  // The last screen but one. Needs no saving: after a step of several frames it is overwritten
  // before it is read.
  std::vector<uint8_t> before_;
  AtariProgress progress_;
  std::vector<int64_t> pressed_;
};

std::unique_ptr<Environment> AtariTask::make_environment() const {
  return std::make_unique<AtariEnvironment>(*this);
}

std::string AtariTask::trace(Split split, int64_t episode,
                             const std::vector<float>& actions) const {
  AtariEnvironment environment(*this);
  std::vector<uint8_t> image(static_cast<size_t>(image_.bytes()));
  environment.start_image(split, episode, image.data());
  AtariTrace trace(environment.emulator());
  trace.add_screen(image);
  Step step;
  for (const float action : actions) {
    STPN_CHECK(!step.ended(), "{} actions: the episode has ended after {}", actions.size(),
               trace.steps());
    const auto choice = static_cast<int64_t>(action);
    STPN_CHECK(static_cast<float>(choice) == action, "action {}: must be an integer", action);
    step = environment.step_image({.choice = choice}, image.data());
    trace.add_step(choice, environment.pressed(), step);
    trace.add_screen(image);
  }
  return trace.text({.game = options_.game,
                     .mode = options_.mode,
                     .episode = episode,
                     .no_ops = no_ops(split, episode),
                     .fire_frames = fire_ < 0 ? 0 : mode_.frames_per_step,
                     .frames_per_step = mode_.frames_per_step,
                     .repeat_action_probability = options_.repeat_action_probability,
                     .max_frames = options_.max_frames,
                     .clip_rewards = options_.clip_rewards,
                     .zero = image_.zero,
                     .unit = image_.unit});
}

}  // namespace

std::vector<base::Field> AtariOptions::fields() {
  return {base::field("mode", mode,
                      "deepmind: frames and images as most others use them; stpn: as the published "
                      "STPNs were trained",
                      {"stpn", "deepmind"}),
          base::field("game", game, "ALE's name of the game, such as space_invaders"),
          base::field("rom", rom,
                      "a ROM file of the game, from the current folder; empty: the one of ALE"),
          base::field("repeat_action_probability", repeat_action_probability,
                      "that a frame repeats the action of the frame before; 0.25 makes a game "
                      "unpredictable",
                      {.least = 0, .most = 1}),
          base::field("no_ops", no_ops,
                      "an episode begins with 1 to this many frames without an action; 0: none; "
                      "-1: as the mode has it, 30 or none",
                      {.least = -1, .most = 300}),
          base::field("max_frames", max_frames,
                      "the time limit, which truncates an episode; 0: as the mode has it",
                      {.least = 0, .most = kMostFrames}),
          base::field("clip_rewards", clip_rewards,
                      "only the sign of a reward counts: for games with large scores"),
          base::field("test", test, "episodes of the final test", {.least = 1, .most = 1e6})};
}

std::unique_ptr<EnvironmentTask> AtariOptions::make(uint64_t seed) const {
  return std::make_unique<AtariTask>(*this, seed);
}

std::vector<base::Field> PongOptions::fields() {
  std::vector<base::Field> fields = AtariOptions::fields();
  std::erase_if(fields, [](const base::Field& field) { return field.key == "game"; });
  return fields;
}

}  // namespace stpn::tasks
