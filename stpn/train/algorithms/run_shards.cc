#include "stpn/train/algorithms/run_shards.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "stpn/ops/runtime/threads.h"
#include "stpn/processes/group.h"
#include "stpn/processes/message.h"
#include "stpn/train/algorithms/shards.h"

namespace stpn::train {
namespace {

using processes::Reader;
using processes::Writer;

// It has to be contiguous, as the sums of add_gradients are.
void write_tensor(const torch::Tensor& tensor, Writer& message) {
  message.number(static_cast<int>(tensor.scalar_type()));
  message.numbers(tensor.sizes().vec());
  message.text({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
}

torch::Tensor read_tensor(Reader& message) {
  const auto type = static_cast<torch::ScalarType>(message.number<int>());
  const torch::Tensor tensor = torch::empty(message.numbers<int64_t>(), type);
  const std::string_view bytes = message.text();
  STPN_CHECK(bytes.size() == tensor.nbytes(), "a gradient of {} bytes has arrived as {}",
             tensor.nbytes(), bytes.size());
  std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

std::string to_message(const ShardResults& results) {
  Writer message;
  message.number(static_cast<int64_t>(results.numbers.size()));
  for (const auto& numbers : results.numbers) message.numbers(numbers);
  message.number(static_cast<int64_t>(results.gradients.size()));
  for (const torch::Tensor& gradient : results.gradients) write_tensor(gradient, message);
  return message.take();
}

ShardResults from_message(const std::string& bytes) {
  Reader message(bytes);
  ShardResults results;
  results.numbers.resize(message.number<int64_t>());
  for (auto& numbers : results.numbers) numbers = message.numbers<double>();
  results.gradients.resize(message.number<int64_t>());
  for (torch::Tensor& gradient : results.gradients) gradient = read_tensor(message);
  return results;
}

}  // namespace

double ShardResults::sum_of(size_t number) const {
  double sum = 0;
  for (const auto& of_shard : numbers) sum += of_shard[number];
  return sum;
}

ShardResults run_shards(int64_t count, const std::function<ShardResult(int64_t)>& run) {
  const processes::Share share = processes::group().share(count);
  std::vector<ShardResult> results(share.count());
  ops::run_concurrently(share.count(), [&](int64_t i) { results[i] = run(share.begin + i); });
  return add_up(count, std::move(results));
}

ShardResults add_up(int64_t count, std::vector<ShardResult> of_share) {
  processes::Group& group = processes::group();
  const auto last = static_cast<int>(std::min<int64_t>(group.size(), count)) - 1;  // with shards
  ShardResults results;
  if (group.rank() > 0 && group.rank() <= last) {
    results = from_message(group.receive(group.rank() - 1));
  }
  for (ShardResult& shard : of_share) {
    results.numbers.push_back(std::move(shard.numbers));
    add_gradients(results.gradients, shard.gradients);
  }
  if (group.alone() || count == 0) return results;
  if (group.rank() < last) group.send(group.rank() + 1, to_message(results));
  if (group.rank() == last) {
    group.broadcast(to_message(results), last);
    return results;
  }
  return from_message(group.broadcast({}, last));
}

std::vector<double> gather_numbers(const std::vector<double>& numbers) {
  Writer mine;
  mine.numbers(numbers);
  std::vector<double> all;
  for (const std::string& message : processes::group().gather(mine.take())) {
    const std::vector<double> part = Reader(message).numbers<double>();
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void gather_tensors(const base::Safetensors& of_share, base::Safetensors& content) {
  Writer mine;
  for (const base::NamedTensor& tensor : of_share.tensors) {
    mine.text(tensor.name);
    mine.number(static_cast<int>(tensor.type));
    mine.numbers(tensor.shape);
    mine.text(tensor.bytes);
  }
  for (const std::string& message : processes::group().gather(mine.take())) {
    for (Reader reader(message); !reader.at_end();) {
      base::NamedTensor tensor;
      tensor.name = reader.text();
      tensor.type = static_cast<base::TensorType>(reader.number<int>());
      tensor.shape = reader.numbers<int64_t>();
      tensor.bytes = reader.text();
      content.tensors.push_back(std::move(tensor));
    }
  }
}

}  // namespace stpn::train
