/* A PNG file as a frame, through libpng. C, because libpng leaves a function by longjmp. */
#ifndef EDGEAD_PNG_H
#define EDGEAD_PNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct edgead_png {
  uint8_t* samples; /* [height, width, channels], no gaps, native byte order; free() it */
  int32_t height, width;
  int32_t channels;     /* 1: grey, 3: B G R */
  int32_t sample_bytes; /* 1 or 2 */
} edgead_png;

/* 0, or -1 with a reason in `why` (of at least 200 bytes) that continues "image NAME ". Alpha is
 * dropped, a palette resolved. What Python would turn or rescale (EXIF orientation, significant
 * bits of 16-bit samples) is refused: scores would differ. */
int edgead_png_read(const void* data, size_t size, edgead_png* image, char* why);

#ifdef __cplusplus
}
#endif
#endif
