#include "png_file.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_BYTES 200
#define MOST_SIDE 32767
#define COPY_AGAIN "copy it again or leave it out"

typedef struct reader {
  const uint8_t* data;
  size_t size, used;
  char* why;
} reader;

static void read_bytes(png_structp png, png_bytep to, size_t count) {
  reader* from = (reader*)png_get_io_ptr(png);
  if (count > from->size - from->used) png_error(png, "its end is missing");
  memcpy(to, from->data + from->used, count);
  from->used += count;
}

static void fail(png_structp png, png_const_charp reason) {
  reader* from = (reader*)png_get_error_ptr(png);
  if (from->why[0] == 0)
    snprintf(from->why, WHY_BYTES, "is truncated or damaged: %s; " COPY_AGAIN, reason);
  longjmp(png_jmpbuf(png), 1);
}

static void ignore(png_structp png, png_const_charp reason) { (void)png, (void)reason; }

/* The orientation in a block of EXIF; 1 where there is none. */
static unsigned orientation(const uint8_t* block, size_t size) {
  const int big = size >= 8 && block[0] == 'M';
  size_t at, count, i;
  if (size < 8 || (memcmp(block, "II*\0", 4) != 0 && memcmp(block, "MM\0*", 4) != 0)) return 1;
#define U16(p) ((unsigned)(big ? block[p] << 8 | block[(p) + 1] : block[(p) + 1] << 8 | block[p]))
#define U32(p) (big ? (size_t)U16(p) << 16 | U16((p) + 2) : (size_t)U16((p) + 2) << 16 | U16(p))
  at = U32(4);
  if (at + 2 > size) return 1;
  count = U16(at);
  for (i = 0; i < count && at + 2 + 12 * (i + 1) <= size; ++i)
    if (U16(at + 2 + 12 * i) == 0x0112) return U16(at + 2 + 12 * i + 8);
  return 1;
#undef U16
#undef U32
}

/* Refuse what Python turns or rescales. */
static void check_marks(png_structp png, png_infop info, reader* from) {
  png_color_8p bits = NULL;
#ifdef PNG_eXIf_SUPPORTED
  png_uint_32 length = 0;
  png_bytep block = NULL;
  if (png_get_eXIf_1(png, info, &length, &block)) {
    const unsigned turned = orientation(block, length);
    if (turned >= 2 && turned <= 8) {
      snprintf(from->why, WHY_BYTES, "is to be turned (EXIF orientation %u): save it upright",
               turned);
      png_error(png, "orientation");
    }
  }
#endif
  if (png_get_bit_depth(png, info) == 16 && png_get_sBIT(png, info, &bits)) {
    const int grey = !(png_get_color_type(png, info) & PNG_COLOR_MASK_COLOR);
    const unsigned most = grey ? bits->gray
                          : (bits->red > bits->green ? bits->red : bits->green) > bits->blue
                              ? (bits->red > bits->green ? bits->red : bits->green)
                              : bits->blue;
    if (most > 0 && most < 16) {
      snprintf(from->why, WHY_BYTES,
               "declares %u significant bits: save its samples with white at 65535", most);
      png_error(png, "significant bits");
    }
  }
}

static void read_all(png_structp png, png_infop info, reader* from, edgead_png* image,
                     png_bytep** rows) {
  png_byte colours;
  size_t stride;
  png_set_read_fn(png, from, read_bytes);
  png_set_user_limits(png, MOST_SIDE, MOST_SIDE);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_read_info(png, info);
  check_marks(png, info, from);
  colours = png_get_color_type(png, info);
  if (colours == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
  if (colours == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) < 8)
    png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_alpha(png); /* also what a palette has of it */
  if (colours & PNG_COLOR_MASK_COLOR) png_set_bgr(png);
#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (png_get_bit_depth(png, info) == 16) png_set_swap(png);
#endif
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  image->height = (int32_t)png_get_image_height(png, info);
  image->width = (int32_t)png_get_image_width(png, info);
  image->channels = png_get_channels(png, info);
  image->sample_bytes = png_get_bit_depth(png, info) / 8;
  stride = (size_t)image->width * (size_t)image->channels * (size_t)image->sample_bytes;
  if ((image->channels != 1 && image->channels != 3) || stride != png_get_rowbytes(png, info))
    png_error(png, "its pixels have another size");
  /* A byte of deflate becomes at most 1032: so much memory, and no more, can be asked for. */
  if (stride * (size_t)image->height / 1032 > from->size) png_error(png, "its end is missing");
  image->samples = (uint8_t*)malloc(stride * (size_t)image->height);
  *rows = (png_bytep*)malloc((size_t)image->height * sizeof(png_bytep));
  if (image->samples == NULL || *rows == NULL) {
    snprintf(from->why, WHY_BYTES, "declares more pixels than fit into the memory");
    png_error(png, "memory");
  }
  for (int32_t y = 0; y < image->height; ++y) (*rows)[y] = image->samples + stride * (size_t)y;
  png_read_image(png, *rows);
  png_read_end(png, info);
  check_marks(png, info, from); /* which may stand after the samples */
}

/* A function of its own, because longjmp loses what its caller keeps in registers. */
static int attempt(png_structp png, png_infop info, reader* from, edgead_png* image,
                   png_bytep** rows) {
  if (setjmp(png_jmpbuf(png)) != 0) return -1;
  read_all(png, info, from, image, rows);
  return 0;
}

int edgead_png_read(const void* data, size_t size, edgead_png* image, char* why) {
  reader from = {(const uint8_t*)data, size, 0, why};
  png_bytep* rows = NULL;
  png_infop info = NULL;
  png_structp png;
  int failed;
  memset(image, 0, sizeof *image);
  why[0] = 0;
  if (size < 8 || png_sig_cmp((png_const_bytep)data, 0, 8) != 0) {
    snprintf(why, WHY_BYTES,
             "cannot be decoded (%zu bytes): it is truncated, damaged or not an image; expected "
             "PNG: " COPY_AGAIN,
             size);
    return -1;
  }
  png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &from, fail, ignore);
  if (png != NULL) info = png_create_info_struct(png);
  if (info == NULL) {
    png_destroy_read_struct(&png, NULL, NULL);
    snprintf(why, WHY_BYTES, "cannot be decoded: libpng has no memory");
    return -1;
  }
  failed = attempt(png, info, &from, image, &rows);
  png_destroy_read_struct(&png, &info, NULL);
  free(rows);
  if (failed) {
    free(image->samples);
    memset(image, 0, sizeof *image);
  }
  return failed;
}
