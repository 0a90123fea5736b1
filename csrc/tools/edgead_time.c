/* edgead-time: score frames and say how long it took, for edgead-bench --native, which asks.
 *
 *   edgead-time BUNDLE [--threads N] [--precision NAME]
 *
 * opens the bundle and prints what serves. Then each line of stdin is a command, and gets a line of
 * JSON, or one with "error"; both end with stdin:
 *
 *   frame FORMAT HEIGHT WIDTH STRIDE BIT_DEPTH BYTES   and so many bytes: frame 0, 1, ..
 *   score N                       score frame N: its samples in milliseconds, its score
 *   loop HZ COUNT                 open loop, as edgead/bench/open_loop.py: a line, then in binary
 *                                 int64 numbers, double latencies and queue ages in milliseconds; a
 *                                 further line on stdin ends it early */
#define _GNU_SOURCE /* ppoll: waits for less than a millisecond */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edgead.h"
#include "edgead_json.h"

static edgead_detector* detector;
static edgead_session* session;
static edgead_frame* frames;
static int count;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int fail(edgead_status status, const char* sentence) {
  char why[4096];
  if (sentence == NULL) edgead_last_error(why, sizeof why);
  printf("{\"error\": ");
  edgead_json_text(stdout, sentence != NULL ? sentence : why);
  printf(", \"status\": \"%s\"}\n", edgead_status_text(status));
  fflush(stdout);
  return 1;
}

static void put(const char* key, double value) {
  printf("\"%s\": ", key);
  edgead_json_number(stdout, value);
}

static void put_text(const char* key, const char* value) {
  printf(", \"%s\": ", key);
  edgead_json_text(stdout, value);
}

static int introduce(void) {
  edgead_info info = {0};
  info.struct_size = sizeof info;
  if (edgead_detector_info(detector, &info) != EDGEAD_OK) return fail(EDGEAD_ERROR_INTERNAL, NULL);
  printf("{\"calibration_images\": %d", info.calibration_images);
  put_text("library", edgead_version());
  put_text("device", info.device);
  put_text("precision", info.precision);
  put_text("kernels", info.kernels);
  put_text("version", info.version);
  put_text("bundle_sha256", info.bundle_sha256);
  printf("}\n");
  return 0;
}

/* frame FORMAT HEIGHT WIDTH STRIDE BIT_DEPTH BYTES */
static int keep(const char* words) {
  edgead_frame frame = {0};
  long long stride;
  size_t bytes;
  void* data;
  frame.struct_size = sizeof frame;
  if (sscanf(words, "frame %d %d %d %lld %d %zu", &frame.format, &frame.height, &frame.width,
             &stride, &frame.bit_depth, &bytes) != 6 ||
      stride < 0 || frame.height < 1 || bytes / (size_t)frame.height < (size_t)stride)
    return fail(EDGEAD_ERROR_INPUT, "frame: expected format, size, stride, bit depth and bytes");
  frame.stride = stride;
  data = malloc(bytes);
  frames = realloc(frames, ((size_t)count + 1) * sizeof *frames);
  if (data == NULL || frames == NULL) return fail(EDGEAD_ERROR_MEMORY, "no memory for a frame");
  if (fread(data, 1, bytes, stdin) != bytes) return fail(EDGEAD_ERROR_INPUT, "the frame is cut");
  frame.data = data;
  frames[count++] = frame;
  printf("{\"frames\": %d}\n", count);
  return 0;
}

static int score(const char* words) {
  edgead_result found = {0};
  double began_s, spent_ms;
  int number;
  found.struct_size = sizeof found;
  if (sscanf(words, "score %d", &number) != 1 || number < 0 || number >= count)
    return fail(EDGEAD_ERROR_INPUT, "score: expected the number of a frame");
  began_s = now_s();
  if (edgead_session_score(session, &frames[number], &found) != EDGEAD_OK)
    return fail(EDGEAD_ERROR_DEVICE, NULL);
  spent_ms = 1e3 * (now_s() - began_s);
  printf("{\"score\": ");
  edgead_json_number(stdout, found.score);
  printf(", \"timings_ms\": {");
  put("end_to_end", spent_ms);
  printf(", "), put("preprocess", found.preprocess_ms);
  printf(", "), put("engine", found.engine_ms);
  printf(", "), put("anomaly_map", found.anomaly_map_ms);
  printf(", "), put("total", found.total_ms);
  printf("}}\n");
  return 0;
}

/* Whether something comes on stdin within so many seconds. */
static int told(double wait_s) {
  struct pollfd input = {0, POLLIN, 0};
  struct timespec wait = {0, 0};
  if (wait_s > 0) {
    wait.tv_sec = (time_t)wait_s;
    wait.tv_nsec = (long)(1e9 * (wait_s - (double)wait.tv_sec));
  }
  return ppoll(&input, 1, &wait, NULL) > 0;
}

/* The latest frame wins; a latency counts from the arrival, which is fixed beforehand. */
static int loop(const char* words) {
  edgead_result found = {0};
  double hz, first_s, *latency_ms, *queue_age_ms;
  long long planned, following = 0, served = 0, *numbers;
  found.struct_size = sizeof found;
  if (sscanf(words, "loop %lf %lld", &hz, &planned) != 2 || !(hz > 0) || planned < 1 || count < 1)
    return fail(EDGEAD_ERROR_INPUT, "loop: expected frames, a cadence and a number of them");
  numbers = malloc((size_t)planned * sizeof *numbers);
  latency_ms = malloc((size_t)planned * sizeof *latency_ms);
  queue_age_ms = malloc((size_t)planned * sizeof *queue_age_ms);
  if (numbers == NULL || latency_ms == NULL || queue_age_ms == NULL)
    return fail(EDGEAD_ERROR_MEMORY, "no memory for the samples of the loop");
  memset(numbers, 1, (size_t)planned * sizeof *numbers); /* now, not while it is measured */
  memset(latency_ms, 1, (size_t)planned * sizeof *latency_ms);
  memset(queue_age_ms, 1, (size_t)planned * sizeof *queue_age_ms);
  first_s = now_s();
  while (following < planned && !told((double)following / hz - (now_s() - first_s))) {
    const double started_s = now_s() - first_s;
    long long number = following;
    double finished_s;
    if (started_s < (double)following / hz) continue; /* woken early */
    while (number + 1 < planned && (double)(number + 1) / hz <= started_s) ++number;
    if (edgead_session_score(session, &frames[number % count], &found) != EDGEAD_OK)
      return fail(EDGEAD_ERROR_DEVICE, NULL);
    finished_s = now_s() - first_s;
    numbers[served] = number;
    latency_ms[served] = 1e3 * (finished_s - (double)number / hz);
    queue_age_ms[served++] = 1e3 * (started_s - (double)number / hz);
    following = number + 1;
  }
  printf("{\"count\": %lld, \"served\": %lld}\n", following, served);
  fwrite(numbers, sizeof *numbers, (size_t)served, stdout);
  fwrite(latency_ms, sizeof *latency_ms, (size_t)served, stdout);
  fwrite(queue_age_ms, sizeof *queue_age_ms, (size_t)served, stdout);
  free(numbers);
  free(latency_ms);
  free(queue_age_ms);
  return 0;
}

static int answer(void) {
  char words[200];
  setvbuf(stdin, NULL, _IONBF, 0); /* what is waiting is seen by ppoll, and is not in a buffer */
  if (introduce() != 0) return 1;
  while (fflush(stdout) == 0 && fgets(words, sizeof words, stdin) != NULL) {
    if (strncmp(words, "frame ", 6) == 0) {
      if (keep(words) != 0) return 1; /* what follows would be no commands */
    } else if (strncmp(words, "score ", 6) == 0) {
      score(words);
    } else if (strncmp(words, "loop ", 5) == 0) {
      loop(words);
    }
  }
  return 0;
}

int main(int argc, char** argv) {
  edgead_detector_params params = {0};
  int code;
  params.struct_size = sizeof params;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--threads") == 0) params.threads = atoi(argv[i + 1]);
    if (strcmp(argv[i], "--precision") == 0) params.precision = argv[i + 1];
  }
  if (argc < 2 || argc % 2 != 0) {
    fputs("edgead-time: for edgead-bench --native, see tools/edgead_time.c\n", stderr);
    return 1;
  }
  edgead_status status = edgead_detector_open(EDGEAD_API_VERSION, argv[1], &params, &detector);
  if (status == EDGEAD_OK) status = edgead_session_open(detector, &session);
  code = status != EDGEAD_OK ? fail(status, NULL) : answer();
  for (int i = 0; i < count; ++i) free((void*)frames[i].data);
  free(frames);
  edgead_session_close(session);
  edgead_detector_close(detector);
  return code;
}
