// Any text: a manifest, or a Failure.
#include "manifest.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace edgead;
  may_refuse([&] {
    const Manifest m = read_manifest({reinterpret_cast<const char*>(data), size});
    expect(!m.golden.empty() && !m.calibration.scores.empty(), "a manifest without its parts");
    expect(m.models.count("float32") == 1, "a manifest without a graph");
    expect(!m.weights().empty(), "a manifest without weights");
  });
  return 0;
}
