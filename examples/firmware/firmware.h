/* edgead-camera: a camera gives frames, main.c scores them, output.c says what came of it. */
#ifndef FIRMWARE_H
#define FIRMWARE_H
#include <stdint.h>
#include <stdio.h>

#include "edgead.h"

typedef struct frame {
  edgead_frame view;   /* where the camera has put it, until it is given back */
  const char* file;    /* its name, in a folder; else NULL */
  char error[300];     /* why there is no picture, or no verdict; else empty */
  int64_t number;      /* from 0; a number that is missing was lost by the driver */
  int64_t captured_ns; /* of CLOCK_MONOTONIC */
  void* owner;         /* the camera's own */
} frame;

/* A camera is these three functions, in the one of folder.c, v4l2.c, gstreamer.c that is built. */
enum { FRAME_CAME, NOT_YET, ENDED, FAILED };
int camera_open(const char* source);      /* 0, or -1: why is on stderr */
int camera_next(frame* to);               /* waits for 0.2 s at most; why it FAILED is on stderr */
void camera_give_back(const frame* used); /* from any thread */

int64_t now_ns(void);                 /* of CLOCK_MONOTONIC */
void say(const char* format, ...);    /* to people, on stderr */
void notify(const char* format, ...); /* to systemd, as sd_notify(3) */

/* Clients of a Unix socket, or stdout where `path` is NULL. 0, or -1: why is on stderr. */
int clients_listen(const char* path);
void clients_send(const char* line, size_t size); /* who does not read misses lines */

/* A number in the environment, 0 to `most`; ends the program where it is another one. */
double setting(const char* name, double otherwise, double most);
#endif
