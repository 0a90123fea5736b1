/* What is said: to people on stderr, to systemd, and as lines of JSON to the clients of a socket.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "firmware.h"

#define MOST_CLIENTS 16
#define MOST_REGIONS 16
static int listener = -1, clients[MOST_CLIENTS], count;

void say(const char* format, ...) {
  char line[2000];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  for (char* c = line; *c != 0; ++c) *c = *c == 127 || (unsigned char)*c < 32 ? '?' : *c;
  fprintf(stderr, "edgead-camera: %s\n", line);
}

void notify(const char* format, ...) {
  const char* path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  char text[1000];
  va_list values;
  if (path == NULL || strlen(path) >= sizeof to.sun_path) return;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  memcpy(to.sun_path, path, strlen(path));
  if (path[0] == '@') to.sun_path[0] = 0; /* the abstract namespace */
  const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
  const int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sendto(out, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr*)&to, size);
  close(out);
}

int clients_listen(const char* path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  struct stat left;
  if (path == NULL) return 0;
  if (strlen(path) >= sizeof at.sun_path) return say("%s: too long for a socket", path), -1;
  memcpy(at.sun_path, path, strlen(path));
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (lstat(path, &left) == 0 && S_ISSOCK(left.st_mode) &&
      connect(listener, (struct sockaddr*)&at, sizeof at) < 0 && errno == ECONNREFUSED)
    unlink(path); /* of a process that was killed */
  if (bind(listener, (struct sockaddr*)&at, sizeof at) == 0 && listen(listener, 16) == 0) return 0;
  return say("cannot listen at %s: %s", path, strerror(errno)), -1;
}

void clients_send(const char* line, size_t size) {
  if (listener < 0) {
    if (write(STDOUT_FILENO, line, size) == (ssize_t)size) return;
    say("lines cannot be written to stdout: %s", strerror(errno));
    _exit(141); /* as edgead, where nobody reads any more */
  }
  while (count < MOST_CLIENTS) {
    const int came = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (came < 0) break;
    clients[count++] = came;
  }
  for (int i = count - 1; i >= 0; --i) {
    const ssize_t sent = send(clients[i], line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == (ssize_t)size || (sent < 0 && errno == EAGAIN)) continue;
    close(clients[i]); /* gone, or left with half a line */
    clients[i] = clients[--count];
  }
}

void put_text(FILE* line, const char* key, const char* text) {
  fprintf(line, ", \"%s\": \"", key);
  for (const unsigned char* c = (const unsigned char*)text; *c != 0; ++c) {
    const int plain = *c >= 32 && *c < 127 && *c != '"' && *c != '\\';
    fprintf(line, plain ? "%c" : "\\u%04x", *c < 128 ? *c : 0xdc00 + *c); /* os.fsencode's bytes */
  }
  fputc('"', line);
}

void put_head(FILE* line, const frame* of, int64_t dropped) {
  struct timespec wall;
  struct tm utc;
  char text[40];
  clock_gettime(CLOCK_REALTIME, &wall);
  const int64_t ms = wall.tv_sec * 1000 + (wall.tv_nsec - now_ns() + of->captured_ns) / 1000000;
  strftime(text, sizeof text, "%FT%T", gmtime_r(&(time_t){ms / 1000}, &utc));
  fprintf(line, "{\"frame\": %lld, \"captured\": \"%s.%03dZ\"", (long long)of->number, text,
          (int)(ms % 1000));
  if (of->file != NULL) put_text(line, "file", of->file);
  if (dropped > 0)
    fprintf(line, ", \"dropped\": {\"count\": %lld, \"first\": %lld, \"last\": %lld}",
            (long long)dropped, (long long)(of->number - dropped), (long long)of->number - 1);
}

void put_verdict(FILE* line, const edgead_result* found, edgead_session* session) {
  edgead_region regions[MOST_REGIONS];
  size_t all = 0;
  if (edgead_session_regions(session, regions, MOST_REGIONS, &all) != EDGEAD_OK) all = 0;
  fprintf(line,
          ", \"score\": %.17g, \"p_value\": %.17g, \"is_anomalous\": %s, \"threshold\": %.17g",
          found->score, found->p_value, found->is_anomalous ? "true" : "false", found->threshold);
  fprintf(line, ", \"region_count\": %zu, \"regions\": [", all);
  for (const edgead_region* r = regions; r < regions + all && r < regions + MOST_REGIONS; ++r)
    fprintf(line,
            "%s{\"x\": %d, \"y\": %d, \"width\": %d, \"height\": %d, \"area\": %lld, "
            "\"peak\": %.17g}",
            r == regions ? "" : ", ", r->x, r->y, r->width, r->height, (long long)r->area, r->peak);
  fputc(']', line);
}
