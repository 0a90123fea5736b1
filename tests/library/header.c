/* edgead.h in C99: each struct's _default() sets its size and nothing else. */
#include <edgead.h>
#include <stdio.h>
#include <string.h>

#define CHECK(type)                                                    \
  do {                                                                 \
    type made = type##_default(), zero;                                \
    memset(&zero, 0, sizeof zero);                                     \
    zero.struct_size = sizeof zero;                                    \
    if (memcmp(&made, &zero, sizeof made) != 0) return puts(#type), 1; \
  } while (0)

int main(void) {
  static const unsigned char pixels[6];
  const edgead_frame frame = edgead_frame_of(pixels, 1, 2, 6, EDGEAD_RGB);
  CHECK(edgead_detector_params);
  CHECK(edgead_frame);
  CHECK(edgead_result);
  CHECK(edgead_info);
  CHECK(edgead_stats);
  return frame.struct_size != sizeof frame || frame.data != pixels || frame.format != EDGEAD_RGB;
}
