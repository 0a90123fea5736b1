/* A folder of PNG files as a camera, for trials: in order of name, EDGEAD_HZ of them a second (30);
 * 0: each once the last one was scored. EDGEAD_REPEAT=1: again and again. */
#include <errno.h>
#include <glob.h>
#include <png.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "firmware.h"

static glob_t files;
static int64_t count, period_ns, due_ns;
static int repeat;
static atomic_int out; /* frames that were not given back yet */

int camera_open(const char* source) {
  char pattern[4096];
  const double hz = setting("EDGEAD_HZ", 30, 1e6);
  period_ns = hz > 0 ? (int64_t)(1e9 / hz) : 0;
  repeat = setting("EDGEAD_REPEAT", 0, 1) > 0;
  due_ns = now_ns();
  snprintf(pattern, sizeof pattern, "%s/*.png", source);
  if (glob(pattern, 0, NULL, &files) == 0) return 0;
  return say("%s: expected a folder of PNG files, found none", source), -1;
}

static void fail(png_structp png, png_const_charp why) {
  frame* to = png_get_error_ptr(png);
  snprintf(to->error, sizeof to->error, "cannot be read as PNG: %s", why);
  longjmp(png_jmpbuf(png), 1);
}

static void ignore(png_structp png, png_const_charp why) { (void)png, (void)why; }

/* The samples as they are stored, without alpha: no gamma, no other number of bits. */
static void read_picture(FILE* file, frame* to) {
  const int swap = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? PNG_TRANSFORM_SWAP_ENDIAN : 0;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, to, fail, ignore);
  png_infop info = png == NULL ? NULL : png_create_info_struct(png);
  if (info != NULL && setjmp(png_jmpbuf(png)) == 0) {
    png_init_io(png, file);
    png_read_png(png, info,
                 PNG_TRANSFORM_EXPAND | PNG_TRANSFORM_STRIP_ALPHA | PNG_TRANSFORM_BGR | swap, NULL);
    const int grey = png_get_channels(png, info) == 1, wide = png_get_bit_depth(png, info) == 16;
    edgead_frame* view = &to->view;
    view->height = (int32_t)png_get_image_height(png, info);
    view->width = (int32_t)png_get_image_width(png, info);
    view->stride = (int64_t)png_get_rowbytes(png, info);
    view->format = grey ? (wide ? EDGEAD_GRAY16 : EDGEAD_GRAY8) : wide ? EDGEAD_BGR16 : EDGEAD_BGR;
    to->owner = malloc((size_t)(view->height * view->stride));
    if (to->owner == NULL) png_error(png, "no memory left");
    for (int32_t y = 0; y < view->height; ++y)
      memcpy((char*)to->owner + y * view->stride, png_get_rows(png, info)[y], (size_t)view->stride);
    view->data = to->owner;
  }
  png_destroy_read_struct(&png, &info, NULL);
}

int camera_next(frame* to) {
  const int64_t wait_ns = period_ns > 0 ? due_ns - now_ns() : 1000000LL * out, most_ns = 200000000;
  if (count >= (int64_t)files.gl_pathc && !repeat) return ENDED;
  if (wait_ns > 0) nanosleep(&(struct timespec){0, wait_ns < most_ns ? wait_ns : most_ns}, NULL);
  if (wait_ns > most_ns || (period_ns == 0 && out > 0)) return NOT_YET;
  const char* path = files.gl_pathv[count % (int64_t)files.gl_pathc];
  *to = (frame){.view.struct_size = sizeof to->view, .file = strrchr(path, '/') + 1};
  FILE* file = fopen(path, "rb");
  if (file == NULL) snprintf(to->error, sizeof to->error, "cannot be opened: %s", strerror(errno));
  if (file != NULL) read_picture(file, to), fclose(file);
  to->number = count++;
  to->captured_ns = now_ns();
  due_ns += period_ns;
  ++out;
  return FRAME_CAME;
}

void camera_give_back(const frame* used) {
  free(used->owner);
  --out;
}
