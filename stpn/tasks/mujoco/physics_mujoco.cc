// physics.h with MuJoCo 2.2.2 (Debian 12) or later. The only file that sees MuJoCo's headers.
#include <fmt/format.h>
#include <mujoco/mujoco.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "stpn/base/error.h"
#include "stpn/tasks/mujoco/physics.h"
#include "stpn/tasks/mujoco/standard_arithmetic.h"

namespace stpn::tasks {
namespace {

// MuJoCo's own way to report is to write MUJOCO_LOG.TXT into the working directory, to print, and
// after an error to end the process. Its handlers are global. Those below throw an error, and
// ignore a warning, which is counted in mjData too, where the thread is within a call of ours;
// elsewhere the program has MuJoCo for itself, and its own handlers are called.
thread_local bool within_a_call = false;
void (*errors_of_others)(const char*) = nullptr;
void (*warnings_of_others)(const char*) = nullptr;

std::string one_line(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  return text;
}

void on_error(const char* text) {
  if (within_a_call) throw base::Error("MuJoCo: " + one_line(text));
  if (errors_of_others != nullptr) return errors_of_others(text);
  std::fprintf(stderr, "MuJoCo: %s\n", text);
  std::exit(EXIT_FAILURE);
}

void on_warning(const char* text) {
  if (within_a_call) return;
  if (warnings_of_others != nullptr) return warnings_of_others(text);
  std::fprintf(stderr, "MuJoCo: %s\n", text);
}

class Call {
 public:
  Call() : before_(within_a_call) {
    static std::once_flag once;
    std::call_once(once, [] {
      errors_of_others = mju_user_error;
      warnings_of_others = mju_user_warning;
      mju_user_error = on_error;
      mju_user_warning = on_warning;
    });
    within_a_call = true;
  }
  ~Call() { within_a_call = before_; }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  const bool before_;
  const StandardArithmetic arithmetic_;
};

struct Delete {
  void operator()(mjModel* model) const { mj_deleteModel(model); }
  void operator()(mjData* data) const { mj_deleteData(data); }
};
using ModelPointer = std::unique_ptr<mjModel, Delete>;
using DataPointer = std::unique_ptr<mjData, Delete>;

bool is_bad(double value) { return !(std::abs(value) <= mjMAXVAL); }  // as MuJoCo does it

class MujocoPhysics : public Physics {
 public:
  MujocoPhysics(const std::string& name, ModelPointer model) : model_(std::move(model)) {
    const mjModel& m = *model_;
    STPN_CHECK(m.nq == m.njnt && m.nv == m.njnt,
               "{}: a joint is neither a slide nor a hinge, which alone are supported", name);
#if mjVERSION_HEADER < 300
    const bool has_more = m.na != 0;
#else
    const int stored = mj_stateSize(model_.get(), mjSTATE_TIME | mjSTATE_QPOS | mjSTATE_QVEL);
    const bool has_more = mj_stateSize(model_.get(), mjSTATE_FULLPHYSICS) != stored;
#endif
    STPN_CHECK(!has_more, "{}: an actuator or plugin has a state of its own: not supported", name);
    give_back(make_data());
  }

  int64_t joints() const override { return model_->njnt; }
  int64_t controls() const override { return model_->nu; }
  double time_step() const override { return model_->opt.timestep; }

  PhysicsState initial_state() const override {
    const std::vector<double> zero(static_cast<size_t>(model_->njnt));
    return {0, {model_->qpos0, model_->qpos0 + model_->nq}, zero, zero};
  }

  void advance(PhysicsState& state, const double* control, int64_t steps) const override {
    const Call call;
    DataPointer data = borrow();
    // After an error the data may be half done: they are deleted, not given back.
    mjData* d = data.get();
    d->time = state.time;
    std::copy(state.positions.begin(), state.positions.end(), d->qpos);
    std::copy(state.velocities.begin(), state.velocities.end(), d->qvel);
    std::copy(state.warmstart.begin(), state.warmstart.end(), d->qacc_warmstart);
    std::copy(control, control + model_->nu, d->ctrl);
    for (int64_t step = 0; step < steps; ++step) {
      mj_step(model_.get(), d);
      check(*d);
    }
    state.time = d->time;
    std::copy(d->qpos, d->qpos + model_->nq, state.positions.begin());
    std::copy(d->qvel, d->qvel + model_->nv, state.velocities.begin());
    std::copy(d->qacc_warmstart, d->qacc_warmstart + model_->nv, state.warmstart.begin());
    give_back(std::move(data));
  }

  int64_t bytes() const override {
    const Call call;
    DataPointer data = borrow();
    int64_t bytes = static_cast<int64_t>(sizeof(mjData)) + static_cast<int64_t>(data->nbuffer);
#if mjVERSION_HEADER < 300
    bytes += static_cast<int64_t>(data->nstack * sizeof(mjtNum));
#else
    bytes += static_cast<int64_t>(data->narena);
#endif
    give_back(std::move(data));
    return bytes;
  }

 private:
  DataPointer make_data() const {
    const Call call;
    DataPointer data(mj_makeData(model_.get()));
    if (data == nullptr) throw base::Error("MuJoCo: out of memory");
    return data;
  }
  DataPointer borrow() const {
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        DataPointer data = std::move(free_.back());
        free_.pop_back();
        return data;
      }
    }
    return make_data();
  }
  void give_back(DataPointer data) const {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(data));
  }

  // MuJoCo sets a simulation with bad numbers back to its start and only counts a warning; and it
  // looks for them at the beginning of a step.
  void check(const mjData& d) const {
    for (int kind = 0; kind < mjNWARNING; ++kind) {
      const mjWarningStat& warning = d.warning[kind];
      if (warning.number == 0) continue;
      const auto joint = static_cast<int>(warning.lastinfo);
      if (kind == mjWARN_BADQPOS) fail("position", joint);
      if (kind == mjWARN_BADQVEL) fail("velocity", joint);
      if (kind == mjWARN_BADQACC) fail("acceleration", joint);
      throw base::Error("MuJoCo: " + one_line(mju_warningText(kind, warning.lastinfo)));
    }
    for (int joint = 0; joint < model_->njnt; ++joint) {
      if (is_bad(d.qpos[joint])) fail("position", joint);
      if (is_bad(d.qvel[joint])) fail("velocity", joint);
      if (is_bad(d.qacc_warmstart[joint])) fail("acceleration", joint);
    }
  }
  [[noreturn]] void fail(const char* what, int joint) const {
    const char* name = mj_id2name(model_.get(), mjOBJ_JOINT, joint);
    throw base::Error(fmt::format("the {} of joint {} is no longer finite, or above 1e10", what,
                                  name == nullptr ? std::to_string(joint) : name));
  }

  const ModelPointer model_;
  mutable std::mutex mutex_;
  mutable std::vector<DataPointer> free_;
};

std::string room_element(const PhysicsRoom& room) {
  if (room.kilobytes == 0) return "";
#if mjVERSION_HEADER < 300
  return fmt::format(R"(<size njmax="{}" nconmax="{}" nstack="{}"/>)", room.constraints,
                     room.contacts, room.kilobytes * 1024 / sizeof(mjtNum));
#else
  return fmt::format(R"(<size memory="{}K"/>)", room.kilobytes);
#endif
}

// MuJoCo reads files by way of this list; a text is a file that is only there.
class FileList {
 public:
  FileList() : vfs_(std::make_unique<mjVFS>()) { mj_defaultVFS(vfs_.get()); }
  ~FileList() { mj_deleteVFS(vfs_.get()); }
  FileList(const FileList&) = delete;
  FileList& operator=(const FileList&) = delete;

  void add(const char* name, const std::string& text) {
#if mjVERSION_HEADER < 300
    if (mj_makeEmptyFileVFS(vfs_.get(), name, static_cast<int>(text.size())) == 0) {
      std::memcpy(vfs_->filedata[mj_findFileVFS(vfs_.get(), name)], text.data(), text.size());
    }
#else
    mj_addBufferVFS(vfs_.get(), name, text.data(), static_cast<int>(text.size()));
#endif
  }
  const mjVFS* get() const { return vfs_.get(); }

 private:
  const std::unique_ptr<mjVFS> vfs_;
};

// Within a Call.
std::unique_ptr<const Physics> load(const std::string& name, const std::string& file,
                                    const FileList& files) {
  static std::mutex one_at_a_time;  // the reader of 2.2.2 has global state
  const std::lock_guard lock(one_at_a_time);
  std::array<char, 1000> error{};
  ModelPointer model(mj_loadXML(file.c_str(), files.get(), error.data(), error.size()));
  STPN_CHECK(model != nullptr, "{}: MuJoCo cannot load it: {}", name, one_line(error.data()));
  return std::make_unique<MujocoPhysics>(name, std::move(model));
}

}  // namespace

std::unique_ptr<const Physics> load_physics_text(const std::string& name, const std::string& text,
                                                 const PhysicsRoom& room) {
  STPN_CHECK(!text.empty(), "{}: the model is empty", name);
  constexpr std::string_view kEnd = "</mujoco>";
  std::string with_room = text;
  const size_t end = with_room.rfind(kEnd);
  if (end != std::string::npos) with_room.insert(end, room_element(room));
  const Call call;
  FileList files;
  files.add("model.xml", with_room);
  return load(name, "model.xml", files);
}

std::unique_ptr<const Physics> load_physics_file(const std::string& path) {
  std::error_code ignored;
  STPN_CHECK(std::filesystem::is_regular_file(path, ignored), "{}: there is no such file", path);
  const Call call;
  try {
    std::unique_ptr<const Physics> physics = load(path, path, FileList());
    // A model that has too little memory fails only now.
    PhysicsState state = physics->initial_state();
    physics->advance(state, std::vector<double>(physics->controls()).data(), 1);
    return physics;
  } catch (const base::UserError&) {
    throw;
  } catch (const base::Error& error) {
    throw base::UserError(fmt::format("{}: MuJoCo cannot simulate it: {}", path, error.what()));
  }
}

std::string physics_version() {
  const int version = mj_version();  // 222, then 3014000, 4000000
  return version < 1000
             ? fmt::format("{}.{}.{}", version / 100, version / 10 % 10, version % 10)
             : fmt::format("{}.{}.{}", version / 1'000'000, version / 1000 % 1000, version % 1000);
}

}  // namespace stpn::tasks
