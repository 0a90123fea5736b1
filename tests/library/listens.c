/* LD_PRELOAD: ends the program with code 99 where a socket has its name, EDGEAD_SOCKET, before
 * somebody listens at it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int listen(int socket, int backlog) {
  int (*next)(int, int);
  if (access(getenv("EDGEAD_SOCKET"), F_OK) == 0) _exit(99);
  *(void**)&next = dlsym(RTLD_NEXT, "listen");
  return next(socket, backlog);
}
