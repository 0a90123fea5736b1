/* A camera of Video4Linux as it is set; frames are scored in the driver's buffers. */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "firmware.h"

#define BUFFERS 4 /* one is scored, one is the latest, two are being filled */

static const struct {
  uint32_t pixels;
  int32_t format;
} known[] = {{V4L2_PIX_FMT_NV12, EDGEAD_NV12},  {V4L2_PIX_FMT_BGR24, EDGEAD_BGR},
             {V4L2_PIX_FMT_RGB24, EDGEAD_RGB},  {V4L2_PIX_FMT_XBGR32, EDGEAD_BGRX},
             {V4L2_PIX_FMT_GREY, EDGEAD_GRAY8}, {V4L2_PIX_FMT_Y10, EDGEAD_GRAY10},
             {V4L2_PIX_FMT_Y12, EDGEAD_GRAY12}, {V4L2_PIX_FMT_Y16, EDGEAD_GRAY16}};
static const void* memory[BUFFERS];
static edgead_frame view = {.struct_size = sizeof view};
static int64_t number = -1;
static uint32_t sequence;
static int device;

static struct v4l2_buffer buffer_of(uintptr_t index) {
  return (struct v4l2_buffer){
      .index = (uint32_t)index, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
}

int camera_open(const char* source) {
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE, ready = 0;
  struct v4l2_format set = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  const struct v4l2_pix_format* pix = &set.fmt.pix;
  struct v4l2_requestbuffers request = {
      .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  device = open(source, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0 || ioctl(device, VIDIOC_G_FMT, &set) < 0 ||
      ioctl(device, VIDIOC_REQBUFS, &request) < 0)
    return say("%s cannot be used: %s", source, strerror(errno)), -1;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i)
    if (known[i].pixels == pix->pixelformat) view.format = known[i].format;
  if (view.format == 0)
    return say("%s gives %.4s, expected NV12, BGR3, RGB3, XR24, GREY, Y10, Y12 or Y16: set it with "
               "v4l2-ctl --set-fmt-video, or build with CAMERA=gstreamer, which converts",
               source, (const char*)&pix->pixelformat),
           -1;
  view.height = (int32_t)pix->height;
  view.width = (int32_t)pix->width;
  view.stride = pix->bytesperline;
  uint32_t matrix = pix->ycbcr_enc, range = pix->quantization;
  if (matrix == 0) matrix = V4L2_MAP_YCBCR_ENC_DEFAULT(pix->colorspace);
  if (range == 0) range = V4L2_MAP_QUANTIZATION_DEFAULT(0, pix->colorspace, matrix);
  if (view.format == EDGEAD_NV12 && matrix == V4L2_YCBCR_ENC_709) view.color_space = EDGEAD_BT709;
  if (view.format == EDGEAD_NV12 && range == V4L2_QUANTIZATION_FULL_RANGE) ++view.color_space;
  for (struct v4l2_buffer b; ready < BUFFERS && ready < (int)request.count; ++ready) {
    b = buffer_of((uintptr_t)ready);
    if (ioctl(device, VIDIOC_QUERYBUF, &b) < 0) break;
    memory[ready] = mmap(NULL, b.length, PROT_READ, MAP_SHARED, device, b.m.offset);
    if (memory[ready] == MAP_FAILED || ioctl(device, VIDIOC_QBUF, &b) < 0) break;
  }
  if (ready == BUFFERS && ioctl(device, VIDIOC_STREAMON, &type) == 0) return 0;
  return say("%s does not begin to capture: %s", source, strerror(errno)), -1;
}

int camera_next(frame* to) {
  struct pollfd ready = {device, POLLIN, 0};
  struct v4l2_buffer b = buffer_of(0);
  if (poll(&ready, 1, 200) <= 0) return NOT_YET;
  if (ioctl(device, VIDIOC_DQBUF, &b) < 0) {
    if (errno == EAGAIN) return NOT_YET;
    return say("the camera gives no frames any more: %s", strerror(errno)), FAILED;
  }
  const uint32_t passed = b.sequence - sequence; /* more than 1: the driver lost some */
  number += number < 0 || passed == 0 || passed > 1u << 20 ? 1 : passed;
  sequence = b.sequence;
  *to = (frame){.view = view, .number = number, .owner = (void*)(uintptr_t)b.index};
  to->view.data = memory[b.index];
  to->captured_ns = b.timestamp.tv_sec * 1000000000LL + b.timestamp.tv_usec * 1000LL;
  if (!(b.flags & V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC)) to->captured_ns = now_ns();
  if (b.flags & V4L2_BUF_FLAG_ERROR) strcpy(to->error, "the driver marks the frame as damaged");
  return FRAME_CAME;
}

void camera_give_back(const frame* used) {
  struct v4l2_buffer b = buffer_of((uintptr_t)used->owner);
  ioctl(device, VIDIOC_QBUF, &b);
}
