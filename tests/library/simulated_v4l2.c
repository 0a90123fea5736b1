/* LD_PRELOAD: a camera of Video4Linux at the path SIMULATED, made from what the documentation of
 * the interface says; no driver. Frame n of 6 x 8 has 10 n in every sample, and the sequence that
 * the script SEQUENCE gives it; after the script it is unplugged (ENODEV). Rows are 8 bytes longer
 * than a row. A buffer that is filled while it was not given back ends the process with 98. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { HEIGHT = 6, WIDTH = 8, BUFFERS = 4, SIZE = 4096 };
static int device = -1, streaming;
static int queue[BUFFERS], queued; /* the buffers of the driver, in order */
static unsigned frame;

static uint32_t format_of(void) {
  const char* four = getenv("FORMAT");
  return v4l2_fourcc(four[0], four[1], four[2], four[3]);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = va_arg(rest, int);
  va_end(rest);
  if (strcmp(path, getenv("SIMULATED")) == 0) {
    device = memfd_create("camera", 0);
    return ftruncate(device, BUFFERS * SIZE) == 0 ? device : -1;
  }
  int (*real)(const char*, int, ...);
  *(void**)&real = dlsym(RTLD_NEXT, "open");
  return real(path, flags, mode);
}

int poll(struct pollfd* of, nfds_t count, int ms) {
  int (*real)(struct pollfd*, nfds_t, int);
  *(void**)&real = dlsym(RTLD_NEXT, "poll");
  if (count != 1 || of->fd != device) return real(of, count, ms);
  usleep(2000);
  return queued > 0;
}

/* Fill the oldest buffer. */
static int take(struct v4l2_buffer* to) {
  const char* next = getenv("SEQUENCE");
  struct timespec now;
  if (queued == 0) return errno = EAGAIN, -1;
  for (unsigned i = 0; i < frame && next != NULL; ++i) next = strchr(next + 1, ',');
  if (next == NULL) return errno = ENODEV, -1;
  clock_gettime(CLOCK_MONOTONIC, &now);
  to->index = (uint32_t)queue[0];
  to->length = SIZE;
  to->sequence = (uint32_t)strtoul(next + 1, NULL, 10);
  to->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  if (frame == 1 && getenv("DAMAGED")) to->flags |= V4L2_BUF_FLAG_ERROR;
  to->timestamp.tv_sec = now.tv_sec - 3; /* frames are three seconds old */
  to->timestamp.tv_usec = now.tv_nsec / 1000;
  memmove(queue, queue + 1, sizeof queue - sizeof queue[0]);
  --queued;
  char* at = mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, device, to->index * SIZE);
  memset(at, 0xee, SIZE);
  for (int y = 0; y < HEIGHT; ++y) memset(at + y * (3 * WIDTH + 8), (int)(10 * frame), 3 * WIDTH);
  munmap(at, SIZE);
  ++frame;
  return 0;
}

int ioctl(int descriptor, unsigned long what, ...) {
  va_list rest;
  va_start(rest, what);
  void* value = va_arg(rest, void*);
  va_end(rest);
  struct v4l2_buffer* buffer = value;
  struct v4l2_format* format = value;
  if (descriptor != device) return errno = ENOTTY, -1;
  switch (what) {
    case VIDIOC_G_FMT:
      format->fmt.pix = (struct v4l2_pix_format){.width = WIDTH,
                                                 .height = HEIGHT,
                                                 .pixelformat = format_of(),
                                                 .bytesperline = 3 * WIDTH + 8};
      return 0;
    case VIDIOC_REQBUFS:
      ((struct v4l2_requestbuffers*)value)->count = getenv("FEW") ? 2 : BUFFERS;
      return 0;
    case VIDIOC_QUERYBUF:
      buffer->length = SIZE;
      buffer->m.offset = buffer->index * SIZE;
      return 0;
    case VIDIOC_QBUF:
      for (int i = 0; i < queued; ++i)
        if (queue[i] == (int)buffer->index) _exit(98);
      queue[queued++] = (int)buffer->index;
      return 0;
    case VIDIOC_STREAMON:
      streaming = queued == BUFFERS;
      return 0;
    case VIDIOC_DQBUF:
      if (!streaming) _exit(97);
      return take(buffer);
    default:
      return errno = EINVAL, -1;
  }
}
