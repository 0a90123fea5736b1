/* Text and numbers as JSON in ASCII, as Python's json.dumps writes them. */
#ifndef EDGEAD_JSON_TEXT_H
#define EDGEAD_JSON_TEXT_H

#include <stdio.h>

/* A byte that is not UTF-8 becomes half of a character, \udc80 to \udcff, as in Python's names of
 * files. */
void json_text(FILE* to, const char* text);

/* The shortest decimal that reads back as the same double. */
void json_number(FILE* to, double value);

#endif
