/* edgead-score: score PNG files with a bundle, in C; prints what `edgead score --json` prints.
 *
 * An example of edgead.h that is used: a file becomes a frame (bundle/png_file.h), everything else
 * goes through the library. Exit codes as edgead's: 1 the caller's mistake or an image that cannot
 * be read, 2 the device's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "edgead.h"
#include "edgead_json.h"
#include "png_file.h"

#define USAGE                                                                        \
  "edgead-score BUNDLE IMAGE... --json [--device auto|cpu|cuda] [--precision NAME] " \
  "[--threads N] [--trust KEYS]"

typedef struct arguments {
  const char* bundle;
  const char** images;
  int count;
  int json;
  int threads;
  const char* precision;
  const char* device; /* in edgead.h's words */
  const char* trusted_keys;
} arguments;

/* For people, on one line: what a terminal could obey is shown as its code. */
static void complain(const char* sentence) {
  fputs("edgead: ", stderr);
  for (const unsigned char* c = (const unsigned char*)sentence; *c != 0; ++c) {
    if (*c < 32 || *c == 127) {
      fprintf(stderr, "\\x%02x", *c);
    } else {
      fputc(*c, stderr);
    }
  }
  fputc('\n', stderr);
}

static int code_of(edgead_status status) {
  return status == EDGEAD_ERROR_DEVICE || status == EDGEAD_ERROR_QUALIFICATION ? 2 : 1;
}

/* In edgead.h's words, of those of `edgead score`; 0 where it is none of them. */
static const char* device_of(const char* word) {
  if (strcmp(word, "cuda") == 0 || strcmp(word, "cuda:0") == 0) return "gpu";
  return strcmp(word, "auto") == 0 || strcmp(word, "cpu") == 0 ? word : NULL;
}

/* An option that takes a word. 0, or what is expected of the word. */
static const char* take(const char* option, const char* word, arguments* found) {
  char* end;
  if (strcmp(option, "--threads") == 0) {
    const long threads = strtol(word, &end, 10);
    if (*word == 0 || *end != 0 || threads < 1 || threads > 1024)
      return "a whole number from 1 to 1024";
    found->threads = (int)threads;
  } else if (strcmp(option, "--device") == 0) {
    found->device = device_of(word);
    if (found->device == NULL) return "auto, cpu or cuda, which is the first GPU";
  } else if (strcmp(option, "--trust") == 0) {
    found->trusted_keys = word;
  } else {
    found->precision = word;
  }
  return NULL;
}

static int takes_word(const char* option) {
  return strcmp(option, "--threads") == 0 || strcmp(option, "--device") == 0 ||
         strcmp(option, "--precision") == 0 || strcmp(option, "--trust") == 0;
}

/* 0, or -1 with what is wrong in `text`. */
static int parse(int argc, char** argv, arguments* found, char* text, size_t capacity) {
  for (int i = 1; i < argc; ++i) {
    const char* option = argv[i];
    const char* expected;
    if (strcmp(option, "--json") == 0) {
      found->json = 1;
    } else if (takes_word(option)) {
      const char* word = i + 1 < argc ? argv[++i] : "";
      expected = take(option, word, found);
      if (*word == 0 && expected == NULL) expected = "a word after it";
      if (expected == NULL) continue;
      snprintf(text, capacity, "%s is '%.200s', expected %s", option, word, expected);
      return -1;
    } else if (option[0] == '-' && option[1] != 0) {
      snprintf(text, capacity, "'%.200s' is not an option here; expected %s", option, USAGE);
      return -1;
    } else if (found->bundle == NULL) {
      found->bundle = option;
    } else {
      found->images[found->count++] = option;
    }
  }
  if (found->bundle != NULL && found->count > 0 && found->json) return 0;
  snprintf(text, capacity, "%s; expected %s",
           found->bundle == NULL ? "no bundle was given"
           : found->count == 0   ? "no image was given"
                                 : "it prints JSON only: add --json",
           USAGE);
  return -1;
}

/* The content of a file, to be freed; NULL with the reason. */
static void* read_file(const char* path, size_t* size, const char** why) {
  struct stat about;
  FILE* file = NULL;
  char* data = NULL;
  *why = NULL;
  if (stat(path, &about) != 0) return NULL;
  if (!S_ISREG(about.st_mode)) { /* a pipe is not waited for */
    *why = "it is a folder, pipe or device; expected a PNG file";
    return NULL;
  }
  file = fopen(path, "rb");
  if (file == NULL) return NULL;
  data = malloc((size_t)about.st_size + 1);
  if (data != NULL) {
    *size = fread(data, 1, (size_t)about.st_size, file);
    if (ferror(file)) {
      free(data);
      data = NULL;
    }
  }
  fclose(file);
  return data;
}

static void print_regions(edgead_session* session) {
  edgead_region* regions = NULL;
  size_t count = 0;
  if (edgead_session_regions(session, NULL, 0, &count) != EDGEAD_OK) count = 0;
  if (count > 0) regions = calloc(count, sizeof *regions);
  if (regions == NULL || edgead_session_regions(session, regions, count, &count) != EDGEAD_OK)
    count = 0;
  edgead_json_regions(stdout, regions, count);
  free(regions);
}

static void print_result(edgead_session* session, const edgead_result* result) {
  edgead_json_verdict(stdout, result);
  print_regions(session);
  printf(", \"timings_ms\": {\"preprocess\": ");
  edgead_json_number(stdout, result->preprocess_ms);
  edgead_json_member(stdout, "engine", result->engine_ms);
  edgead_json_member(stdout, "anomaly_map", result->anomaly_map_ms);
  edgead_json_member(stdout, "total", result->total_ms);
  printf("}");
}

/* 0, or -1 with the reason printed as the frame's "error". */
static int fail(const char* sentence) {
  complain(sentence);
  printf(", \"error\": ");
  edgead_json_text(stdout, sentence);
  return -1;
}

static int score_image(edgead_session* session, const char* path, char* text, size_t capacity) {
  char why[1000];
  edgead_png image;
  edgead_frame frame = edgead_frame_default();
  edgead_result result = edgead_result_default();
  edgead_status status;
  size_t size = 0;
  const char* reason = NULL;
  void* data = read_file(path, &size, &reason);
  if (data == NULL) {
    snprintf(text, capacity, "cannot read image %s: %s", path, reason ? reason : strerror(errno));
    return fail(text);
  }
  if (edgead_png_read(data, size, &image, why) != 0) {
    free(data);
    snprintf(text, capacity, "image %s %s", path, why);
    return fail(text);
  }
  free(data);
  frame.data = image.samples;
  frame.height = image.height;
  frame.width = image.width;
  frame.stride = (int64_t)image.width * image.channels * image.sample_bytes;
  frame.format = image.channels == 1 ? EDGEAD_GRAY8 : EDGEAD_BGR;
  if (image.sample_bytes == 2) frame.format = image.channels == 1 ? EDGEAD_GRAY16 : EDGEAD_BGR16;
  status = edgead_session_score(session, &frame, &result);
  free(image.samples);
  if (status != EDGEAD_OK) {
    edgead_last_error(why, sizeof why);
    snprintf(text, capacity, "%s: %s", path, why);
    return fail(text);
  }
  print_result(session, &result);
  return 0;
}

static int score_all(edgead_detector* detector, edgead_session* session, const arguments* given) {
  char text[6000];
  int failed = 0;
  edgead_info info = edgead_info_default();
  if (edgead_detector_info(detector, &info) != EDGEAD_OK) return 1;
  printf("{\n  \"frames\": [");
  for (int i = 0; i < given->count; ++i) {
    printf("%s\n    {\"path\": ", i == 0 ? "" : ",");
    edgead_json_text(stdout, given->images[i]);
    failed |= score_image(session, given->images[i], text, sizeof text);
    printf("}");
  }
  printf("\n  ],\n  \"engine\": {\"device\": ");
  edgead_json_text(stdout, info.device);
  printf(", \"precision\": ");
  edgead_json_text(stdout, info.precision);
  printf(", \"bundle_sha256\": ");
  edgead_json_text(stdout, info.bundle_sha256);
  printf("},\n  \"left_out\": {}\n}\n");
  return failed != 0;
}

int main(int argc, char** argv) {
  arguments given = {NULL, NULL, 0, 0, 0, NULL, "auto", NULL};
  edgead_detector_params params = edgead_detector_params_default();
  edgead_detector* detector = NULL;
  edgead_session* session = NULL;
  edgead_status status;
  char mistake[600];
  int code;
  given.images = calloc((size_t)argc, sizeof *given.images);
  if (given.images == NULL) return 2;
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
    free(given.images);
    return puts("usage: " USAGE "\nPrints what `edgead score --json` prints, of PNG files.") < 0;
  }
  if (parse(argc, argv, &given, mistake, sizeof mistake) != 0) {
    complain(mistake);
    free(given.images);
    return 1;
  }
  params.threads = given.threads;
  params.precision = given.precision;
  params.device = given.device;
  params.trusted_keys = given.trusted_keys;
  status = edgead_detector_open(EDGEAD_API_VERSION, given.bundle, &params, &detector);
  if (status == EDGEAD_OK) status = edgead_session_open(detector, &session);
  if (status == EDGEAD_OK) {
    code = score_all(detector, session, &given);
  } else {
    char why[4096];
    edgead_last_error(why, sizeof why);
    complain(why);
    code = code_of(status);
  }
  edgead_session_close(session);
  edgead_detector_close(detector);
  free(given.images);
  if (fflush(stdout) != 0 || ferror(stdout)) {
    complain("what was found cannot be written");
    return 1;
  }
  return code;
}
