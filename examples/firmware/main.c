/* edgead-camera BUNDLE SOURCE: score what a camera sees. One thread takes frames, of which the
 * latest wins; one scores them; main() waits for signals, and opens the bundle again at SIGHUP. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "edgead_json.h"
#include "firmware.h"

typedef struct serving { /* a bundle that was qualified */
  edgead_detector* detector;
  edgead_session* session;
  edgead_info info;
} serving;

static const char* bundle;
static char why[800];                                    /* it was refused */
static atomic_int stop, code;                            /* whether to end; the exit code */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all below */
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static frame latest;        /* is scored next, */
static int waiting;         /* where there is one */
static edgead_frame kind;   /* of the last frame; struct_size 0 before it */
static serving opened[2];   /* more than one during a reload only */
static int active, desired; /* which scores, and which shall from the next frame on */

int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

double setting(const char* name, double otherwise, double most) {
  const char* text = getenv(name);
  char* end = NULL;
  const double value = text == NULL ? otherwise : strtod(text, &end);
  if (text == NULL || (end != text && *end == 0 && value >= 0 && value <= most)) return value;
  say("%s=%s: expected a number from 0 to %g", name, text, most);
  exit(1);
}

static void close_bundle(const serving* old) {
  edgead_session_close(old->session);
  edgead_detector_close(old->detector);
}

/* 0 with the bundle qualified and ready for frames like the last one; else an exit code and why. */
static int open_bundle(serving* made) {
  edgead_detector_params params = {.struct_size = sizeof params};
  params.threads = (int32_t)setting("EDGEAD_THREADS", 0, 1024);
  *made = (serving){.info.struct_size = sizeof made->info};
  pthread_mutex_lock(&lock);
  const edgead_frame like = kind;
  pthread_mutex_unlock(&lock);
  edgead_status status = edgead_detector_open(EDGEAD_API_VERSION, bundle, &params, &made->detector);
  if (!status) status = edgead_detector_info(made->detector, &made->info);
  if (!status) status = edgead_session_open(made->detector, &made->session);
  if (!status && like.struct_size) status = edgead_session_prepare(made->session, &like);
  if (!status) return 0;
  edgead_last_error(why, sizeof why);
  close_bundle(made);
  return status == EDGEAD_ERROR_DEVICE || status == EDGEAD_ERROR_QUALIFICATION ? 2 : 1;
}

/* Frames are scored meanwhile, and by the old bundle for good where the new one is broken. */
static void reload(void) {
  const int next = !desired; /* this thread alone writes it; the scoring one writes active */
  notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(now_ns() / 1000));
  if (open_bundle(&opened[next]) != 0) {
    say("keeps the bundle it has: %s", why);
    notify("READY=1\nSTATUS=keeps the bundle it has: %s", why);
    return;
  }
  say("serves %s from the next frame on", opened[next].info.bundle_sha256);
  pthread_mutex_lock(&lock);
  desired = next;
  pthread_cond_broadcast(&changed);
  while (active != next) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  close_bundle(&opened[!next]);
  notify("READY=1\nSTATUS=serves %s", bundle);
}

static void* watch(void* unused) {
  frame came;
  int what = NOT_YET;
  while (!stop && what <= NOT_YET) {
    what = camera_next(&came);
    pthread_mutex_lock(&lock);
    if (what == FRAME_CAME && waiting) camera_give_back(&latest);
    if (what == FRAME_CAME) latest = came, waiting = 1;
    pthread_cond_broadcast(&changed);
    while (what == ENDED && waiting) pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
  }
  if (what == FAILED) code = 2;
  kill(getpid(), SIGTERM); /* for main() */
  return unused;
}

/* Whether there is a next frame. Before it, the bundle that shall score becomes the one that does.
 */
static int take(frame* to) {
  pthread_mutex_lock(&lock);
  for (;; pthread_cond_wait(&changed, &lock)) {
    active = desired;
    pthread_cond_broadcast(&changed);
    if (waiting || stop) break;
  }
  const int came = waiting;
  if (came) *to = latest;
  if (came && to->error[0] == 0) kind = to->view;
  waiting = 0;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return came;
}

static void put_frame(FILE* line, const frame* of, int64_t dropped) {
  struct timespec wall;
  struct tm utc;
  char text[40];
  clock_gettime(CLOCK_REALTIME, &wall);
  const int64_t ms = wall.tv_sec * 1000 + (wall.tv_nsec - now_ns() + of->captured_ns) / 1000000;
  strftime(text, sizeof text, "%FT%T", gmtime_r(&(time_t){ms / 1000}, &utc));
  fprintf(line, "{\"frame\": %lld, \"captured\": \"%s.%03dZ\"", (long long)of->number, text,
          (int)(ms % 1000));
  if (of->file != NULL) fputs(", \"file\": ", line), edgead_json_text(line, of->file);
  if (dropped > 0)
    fprintf(line, ", \"dropped\": {\"count\": %lld, \"first\": %lld, \"last\": %lld}",
            (long long)dropped, (long long)(of->number - dropped), (long long)of->number - 1);
}

static void put_verdict(FILE* line, const edgead_result* found, edgead_session* session) {
  edgead_region regions[16];
  size_t all = 0;
  if (edgead_session_regions(session, regions, 16, &all) != EDGEAD_OK) all = 0;
  edgead_json_verdict(line, found);
  fprintf(line, ", \"region_count\": %zu", all);
  edgead_json_regions(line, regions, all < 16 ? all : 16);
}

static void* score(void* unused) {
  const double deadline_ms = setting("EDGEAD_DEADLINE_MS", 1e9, 1e9);
  const int64_t often_ns = (int64_t)(250 * setting("WATCHDOG_USEC", 4e6, 1e15)); /* a quarter */
  long long verdicts = 0, anomalous = 0, late = 0, dropped = 0, last = -1, told_ns = 0;
  char* text = NULL;
  size_t size = 0;
  FILE* line = open_memstream(&text, &size);
  if (line == NULL) say("no memory left for a line"), _exit(2);
  for (frame f; take(&f); last = f.number) {
    const serving* by = &opened[active];
    edgead_result found = {.struct_size = sizeof found};
    const int64_t began_ns = now_ns();
    if (f.error[0] == 0 && edgead_session_score(by->session, &f.view, &found) != EDGEAD_OK)
      edgead_last_error(f.error, sizeof f.error);
    rewind(line);
    put_frame(line, &f, f.number - last - 1);
    if (f.error[0] == 0) put_verdict(line, &found, by->session);
    if (f.error[0] != 0) fputs(", \"error\": ", line), edgead_json_text(line, f.error);
    camera_give_back(&f);
    const double latency_ms = (double)(now_ns() - f.captured_ns) / 1e6;
    const int is_late = latency_ms > deadline_ms;
    fprintf(line, ", \"latency_ms\": %.3f, \"queue_age_ms\": %.3f, \"is_late\": %s", latency_ms,
            (double)(began_ns - f.captured_ns) / 1e6, is_late ? "true" : "false");
    fprintf(line, ", \"bundle_sha256\": \"%s\"}\n", by->info.bundle_sha256);
    fflush(line);
    clients_send(text, size);
    dropped += f.number - last - 1;
    late += is_late;
    if (f.error[0] != 0) continue; /* a frame without a verdict is no sign of life */
    ++verdicts;
    anomalous += found.is_anomalous;
    if (now_ns() - told_ns < often_ns) continue;
    told_ns = now_ns();
    notify("WATCHDOG=1\nSTATUS=%lld verdicts, %lld anomalous, %lld dropped, %lld late", verdicts,
           anomalous, dropped, late);
  }
  say("%lld verdicts, %lld anomalous, %lld dropped, %lld late", verdicts, anomalous, dropped, late);
  fclose(line);
  free(text);
  return unused;
}

int main(int argc, char** argv) {
  const char* path = getenv("EDGEAD_SOCKET");
  pthread_t watching, scoring;
  sigset_t signals;
  int came;
  if (argc != 3) return say("expected edgead-camera BUNDLE SOURCE"), 1;
  bundle = argv[1];
  sigemptyset(&signals); /* held back in all threads: main() waits for them */
  sigaddset(&signals, SIGHUP);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
  signal(SIGPIPE, SIG_IGN);
  const int refused = open_bundle(&opened[active]);
  if (refused) return say("%s", why), refused;
  if (clients_listen(path) != 0 || camera_open(argv[2]) != 0) return 2;
  say("serves %s on %s", opened[active].info.bundle_sha256, opened[active].info.device);
  notify("READY=1\nSTATUS=serves %s", bundle);
  pthread_create(&watching, NULL, watch, NULL);
  pthread_create(&scoring, NULL, score, NULL);
  while (sigwait(&signals, &came) == 0 && came == SIGHUP) reload();
  notify("STOPPING=1");
  pthread_mutex_lock(&lock);
  stop = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  pthread_join(watching, NULL);
  pthread_join(scoring, NULL);
  close_bundle(&opened[active]);
  if (path != NULL) unlink(path);
  return code;
}
