// Any bytes as an .npy file: its header is read, or what is wrong is said.
#include "npy.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace edgead;
  may_refuse([&] {
    Npy found;
    const std::string file(reinterpret_cast<const char*>(data), size);
    if (!read_npy_header(file, found).empty()) return;
    expect(found.start <= size, "the values begin behind the file");
    size_t values = 1;
    for (const int64_t side : found.shape) {
      expect(side >= 0, "a side below 0");
      expect(side == 0 || values <= (size_t{1} << 40) / static_cast<size_t>(side), "too many");
      values *= static_cast<size_t>(side);
    }
  });
  return 0;
}
