// What the fuzzers would be told of, by the first byte: a read past a file, a leak, a defect, more
// memory than an input may take (which is refused, so that nothing is told).
#include <string>
#include <vector>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace edgead;
  static volatile char seen;
  static volatile size_t beyond = size_t{1} << 40;
  if (size == 0) return 0;
  const std::vector<uint8_t> file(data, data + size);
  if (data[0] == 'r') seen = static_cast<char>(*(file.data() + size));
  if (data[0] == 'l') seen = *(new char[100]);
  if (data[0] == 'd') may_refuse([] { throw std::string("not a Failure"); });
  if (data[0] == 'm') may_refuse([] { std::vector<char> much(beyond); });
  if (data[0] == 's') may_refuse([] { throw Failure(EDGEAD_ERROR_BUNDLE, ""); });
  return 0;
}
