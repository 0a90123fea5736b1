/* LD_PRELOAD: each edgead_session_score first takes a byte from the descriptor GATE, so that a test
 * decides when the detector is done; where its other end is closed, it never waits. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "edgead.h"

edgead_status edgead_session_score(edgead_session* session, const edgead_frame* frame,
                                   edgead_result* result) {
  edgead_status (*score)(edgead_session*, const edgead_frame*, edgead_result*);
  char byte;
  if (read(atoi(getenv("GATE")), &byte, 1) < 0) _exit(99);
  *(void**)&score = dlsym(RTLD_NEXT, "edgead_session_score");
  return score(session, frame, result);
}
