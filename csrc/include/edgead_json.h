/* What edgead gives as JSON, for programs that write it: in ASCII, as Python's json.dumps has it.
 * Nothing here is in the library: the functions are compiled into the program. */
#ifndef EDGEAD_JSON_H
#define EDGEAD_JSON_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgead.h"

/* The character that begins at `text`, and its bytes; 0 bytes where it is not UTF-8. */
static inline uint32_t edgead_json_character(const unsigned char* text, int* bytes) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const int count = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  uint32_t code = count == 1 ? text[0] : text[0] & (0x7fu >> count);
  int i;
  *bytes = 0;
  if (text[0] >= 0xf8 || (text[0] >= 0x80 && text[0] < 0xc0)) return 0;
  for (i = 1; i < count; ++i) {
    if ((text[i] & 0xc0) != 0x80) return 0; /* also the final 0 */
    code = code << 6 | (text[i] & 0x3f);
  }
  if (code < smallest[count] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
  *bytes = count;
  return code;
}

/* A text in quotes. A byte that is not UTF-8 becomes half of a character, \udc80 to \udcff, as in
 * Python's names of files. */
static inline void edgead_json_text(FILE* to, const char* given) {
  const unsigned char* text = (const unsigned char*)given;
  fputc('"', to);
  while (*text != 0) {
    int bytes;
    uint32_t code = edgead_json_character(text, &bytes);
    if (bytes == 0) {
      code = 0xdc00u + *text;
      bytes = 1;
    }
    text += bytes;
    if (code == '"' || code == '\\') {
      fprintf(to, "\\%c", (int)code);
    } else if (code >= 32 && code < 127) {
      fputc((int)code, to);
    } else if (code < 0x10000) {
      fprintf(to, "\\u%04x", (unsigned)code);
    } else {
      fprintf(to, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
              (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
    }
  }
  fputc('"', to);
}

/* The shortest decimal that reads back as the same double. */
static inline void edgead_json_number(FILE* to, double value) {
  char text[40];
  int digits;
  for (digits = 15; digits <= 17; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  fputs(text, to);
  if (strpbrk(text, ".en") == NULL) fputs(".0", to);
}

/* A key that is not the first of its object, and its number. */
static inline void edgead_json_member(FILE* to, const char* key, double value) {
  fprintf(to, ", \"%s\": ", key);
  edgead_json_number(to, value);
}

/* The members of a verdict, after others of its object. */
static inline void edgead_json_verdict(FILE* to, const edgead_result* result) {
  edgead_json_member(to, "score", result->score);
  edgead_json_member(to, "p_value", result->p_value);
  fprintf(to, ", \"is_anomalous\": %s", result->is_anomalous ? "true" : "false");
  edgead_json_member(to, "threshold", result->threshold);
}

/* "regions", after other members of its object. */
static inline void edgead_json_regions(FILE* to, const edgead_region* regions, size_t count) {
  size_t i;
  fputs(", \"regions\": [", to);
  for (i = 0; i < count; ++i) {
    const edgead_region* r = &regions[i];
    fprintf(to, "%s{\"x\": %d, \"y\": %d, \"width\": %d, \"height\": %d, \"area\": %lld",
            i == 0 ? "" : ", ", r->x, r->y, r->width, r->height, (long long)r->area);
    edgead_json_member(to, "peak", r->peak);
    fputc('}', to);
  }
  fputc(']', to);
}

#endif
