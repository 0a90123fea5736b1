// Any text: JSON, or a Failure. What was read is read again from what it is written as.
#include "json.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace edgead;
  may_refuse([&] {
    const Json value = parse_json({reinterpret_cast<const char*>(data), size});
    expect(parse_json(value.dump()) == value, "written and read again, JSON is another");
    Object object(value, "value");
    object.finish();
  });
  return 0;
}
