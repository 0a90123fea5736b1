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

#define USAGE "expected edgead-score BUNDLE IMAGE... --json [--precision NAME] [--threads N]"

typedef struct arguments {
  const char* bundle;
  const char** images;
  int count;
  int json;
  int threads;
  const char* precision;
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

/* 0, or what is wrong. */
static const char* parse(int argc, char** argv, arguments* found) {
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--json") == 0) {
      found->json = 1;
    } else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) {
      char* end;
      const long threads = strtol(argv[++i], &end, 10);
      if (*end != 0 || threads < 1 || threads > 1024)
        return "--threads: expected a number from 1 to 1024";
      found->threads = (int)threads;
    } else if (strcmp(argv[i], "--precision") == 0 && i + 1 < argc) {
      found->precision = argv[++i];
    } else if (argv[i][0] == '-' && argv[i][1] != 0) {
      return "an option that is not known; " USAGE;
    } else if (found->bundle == NULL) {
      found->bundle = argv[i];
    } else {
      found->images[found->count++] = argv[i];
    }
  }
  if (found->bundle == NULL || found->count == 0) return "no bundle or no image; " USAGE;
  return found->json ? NULL : "it prints JSON only: add --json; " USAGE;
}

/* The content of a file, to be freed; NULL with errno. */
static void* read_file(const char* path, size_t* size) {
  struct stat about;
  FILE* file = NULL;
  char* data = NULL;
  if (stat(path, &about) != 0) return NULL;
  if (!S_ISREG(about.st_mode)) { /* a pipe is not waited for */
    errno = EINVAL;
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
  void* data = read_file(path, &size);
  if (data == NULL) {
    snprintf(text, capacity, "cannot read image %s: %s", path, strerror(errno));
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
  arguments given = {NULL, NULL, 0, 0, 0, NULL};
  edgead_detector_params params = edgead_detector_params_default();
  edgead_detector* detector = NULL;
  edgead_session* session = NULL;
  edgead_status status;
  const char* mistake;
  int code;
  given.images = calloc((size_t)argc, sizeof *given.images);
  if (given.images == NULL) return 2;
  mistake = parse(argc, argv, &given);
  if (mistake != NULL) {
    complain(mistake);
    free(given.images);
    return 1;
  }
  params.threads = given.threads;
  params.precision = given.precision;
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
