/* What is said: to people on stderr, to systemd, and as lines to the clients of a socket. */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "firmware.h"

#define MOST_CLIENTS 16
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

/* The length of the address; 0 for a path that is too long. */
static socklen_t address_of(const char* path, struct sockaddr_un* at) {
  *at = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof at->sun_path) return 0;
  strcpy(at->sun_path, path);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
}

void notify(const char* format, ...) {
  const char* path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to;
  char text[1000];
  va_list values;
  const socklen_t size = path == NULL ? 0 : address_of(path, &to);
  if (size == 0) return;
  if (path[0] == '@') to.sun_path[0] = 0; /* the abstract namespace */
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  const int out = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sendto(out, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr*)&to, size);
  close(out);
}

/* Whether somebody is there: not the socket of a process that was killed. */
static int in_use(const char* path) {
  struct sockaddr_un at;
  struct stat there;
  if (lstat(path, &there) != 0) return 0;
  const socklen_t size = address_of(path, &at);
  return connect(listener, (struct sockaddr*)&at, size) == 0 || errno != ECONNREFUSED ||
         !S_ISSOCK(there.st_mode);
}

int clients_listen(const char* path) {
  struct sockaddr_un at;
  char made[sizeof at.sun_path]; /* it gets its name once it listens: no client is too early */
  if (path == NULL) return 0;
  if (snprintf(made, sizeof made, "%s~", path) >= (int)sizeof made)
    return say("%s: too long for a socket", path), -1;
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (in_use(path)) return say("cannot listen at %s: %s", path, strerror(EADDRINUSE)), -1;
  unlink(made);
  if (bind(listener, (struct sockaddr*)&at, address_of(made, &at)) == 0 &&
      listen(listener, MOST_CLIENTS) == 0 && rename(made, path) == 0)
    return 0;
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
