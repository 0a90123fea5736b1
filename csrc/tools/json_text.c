#include "json_text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The character that begins at `text`, and its bytes; 0 bytes where it is not UTF-8. */
static uint32_t character(const unsigned char* text, int* bytes) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const int count = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
  uint32_t code = count == 1 ? text[0] : text[0] & (0x7fu >> count);
  *bytes = 0;
  if (text[0] >= 0xf8 || (text[0] >= 0x80 && text[0] < 0xc0)) return 0;
  for (int i = 1; i < count; ++i) {
    if ((text[i] & 0xc0) != 0x80) return 0; /* also the final 0 */
    code = code << 6 | (text[i] & 0x3f);
  }
  if (code < smallest[count] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
  *bytes = count;
  return code;
}

void json_text(FILE* to, const char* given) {
  const unsigned char* text = (const unsigned char*)given;
  fputc('"', to);
  while (*text != 0) {
    int bytes;
    uint32_t code = character(text, &bytes);
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

void json_number(FILE* to, double value) {
  char text[40];
  for (int digits = 15; digits <= 17; ++digits) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  fputs(text, to);
  if (strpbrk(text, ".en") == NULL) fputs(".0", to);
}
