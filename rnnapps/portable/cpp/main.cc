// Writes text: ./write PROMPT [NUM_CHARS [TEMPERATURE [SEED]]]
//
// The loop over tokens, from the embedding to the draw, is in model.o; here are text, and the calls.

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "model.h"
#include "vocabulary.h"

namespace {

// Bytes of the symbol at the start of `text`: of one UTF-8 character, or 1 for what is none.
size_t SymbolLength(const char* text, size_t left) {
  if (kBytes) return 1;
  const unsigned char first = text[0];
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
  if (length > left) return 1;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 1;
  }
  return length;
}

// Ids of a text; 0 for what the vocabulary does not hold.
std::vector<int> Encode(const std::string& text) {
  std::unordered_map<std::string, int> ids;
  for (int i = 0; i < kNumSymbols; ++i) ids.emplace(std::string(kSymbols[i], kLengths[i]), i + 1);
  std::vector<int> found;
  for (size_t at = 0; at < text.size();) {
    const size_t length = SymbolLength(text.data() + at, text.size() - at);
    const auto known = ids.find(text.substr(at, length));
    found.push_back(known == ids.end() ? 0 : known->second);
    at += length;
  }
  return found;
}

// A whole number from `low` to `high` that is all of `text`.
bool Whole(const char* text, long low, long high, long* found) {
  char* end = nullptr;
  errno = 0;
  *found = std::strtol(text, &end, 10);
  return end != text && *end == '\0' && errno == 0 && *found >= low && *found <= high;
}

bool Temperature(const char* text, float* found) {
  char* end = nullptr;
  *found = std::strtof(text, &end);
  return end != text && *end == '\0' && std::isfinite(*found) && *found >= 0;
}

int Refused(const char* name, const char* got, const char* wanted) {
  std::fprintf(stderr, "error: %s is '%s': wanted %s\n", name, got, wanted);
  return 2;
}

void Print(int id) {
  if (id >= 1 && id <= kNumSymbols) std::fwrite(kSymbols[id - 1], 1, kLengths[id - 1], stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 5) {
    std::fprintf(stderr, "usage: %s PROMPT [NUM_CHARS [TEMPERATURE [SEED]]]\n", argv[0]);
    return 2;
  }
  const std::vector<int> prompt = Encode(argv[1]);
  constexpr long kLargest = std::numeric_limits<int>::max();
  long wanted = 300, seed = 0;
  float temperature = 1.0f;
  if (argc > 2 && !Whole(argv[2], 0, kLargest, &wanted)) return Refused("NUM_CHARS", argv[2], "a whole number from 0");
  if (argc > 3 && !Temperature(argv[3], &temperature)) return Refused("TEMPERATURE", argv[3], "a number from 0");
  if (argc > 4 && !Whole(argv[4], std::numeric_limits<int>::min(), kLargest, &seed)) {
    return Refused("SEED", argv[4], "a whole number of 32 bits");
  }

  // Too large for a stack. All arguments are zero, which is a cold start.
  auto model = std::make_unique<rnnapps::Model>();
  for (int i = 0; i < rnnapps::Model::kNumArgs; ++i) std::memset(model->arg_data(i), 0, model->arg_size(i));
  model->arg_feed_temperature_data()[0] = temperature;
  model->arg_feed_seed_data()[0] = static_cast<int>(seed);

  long read = 0, written = 0;
  while (written < wanted) {
    const long forced = std::min<long>(kChunk, static_cast<long>(prompt.size()) - read);
    std::copy_n(prompt.begin() + read, forced, model->arg_feed_forced_data());
    model->arg_feed_num_forced_data()[0] = static_cast<int>(forced);
    if (!model->Run()) {
      std::fprintf(stderr, "error: %s\n", model->error_msg().c_str());
      return 1;
    }
    read += forced;
    const int* tokens = model->result_fetch_tokens_data();
    for (long i = forced; i < kChunk && written < wanted; ++i, ++written) Print(tokens[i]);
    std::fflush(stdout);
#define CARRY(name) std::memcpy(model->arg_feed_##name##_data(), model->result_fetch_next_##name##_data(), model->arg_feed_##name##_size());
    CARRIED(CARRY)
#undef CARRY
  }
  return 0;
}
