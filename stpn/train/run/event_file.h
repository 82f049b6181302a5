// The file of a run that TensorBoard reads: stpn train --tensorboard.
//
// It holds config.toml as a text and, for each line of metrics.jsonl, its numbers as scalars; those
// that are null are left out. The step of a point is what our figures have on their time axis:
// environment_steps, else episodes, else epoch. Each of them grows with every line.
//
// TensorBoard has several readers, and they show different curves where one folder has two files,
// or one file has the same step twice or a SessionLog. So a run has one file, whose bytes follow
// from config.toml, metrics.jsonl and the time at which the run was started. A resumed run derives
// them again and cuts the file to them. A file that begins with these bytes is cut in place, so
// that a TensorBoard that has it open goes on reading.
//
// The format: a sequence of records (TFRecord), each a protocol buffer `Event`, with the CRC32C of
// its length and of its content. tensorflow/core/util/event.proto, core/framework/summary.proto and
// core/lib/io/record_writer.h of TensorFlow define it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "stpn/base/files.h"
#include "stpn/train/run/run_folder.h"

namespace stpn::train {

// CRC32C (Castagnoli), as in RFC 3720.
uint32_t crc32c(std::string_view bytes);

class EventFile {
 public:
  // Writes the file of the run up to the last line of metrics.jsonl, which may be absent. Throws
  // base::Error if a file cannot be read or written, or if metrics.jsonl has a line that is not an
  // output of a run. REQUIRES: the folder has a config.toml.
  explicit EventFile(const RunFolder& folder);

  // Appends the scalars of a line of metrics.jsonl.
  void append(std::string_view line);

 private:
  double started_;  // seconds since 1970
  std::unique_ptr<base::AppendLog> log_;
};

// Writes the file of a run that has finished. Throws base::UserError if another process works on
// the run, else as EventFile does.
void write_events(const RunFolder& folder);

}  // namespace stpn::train
