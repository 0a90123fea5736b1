/* A pipeline of GStreamer that ends in "appsink name=frames"; frames are scored in its buffers. */
#include <gst/app/gstappsink.h>
#include <gst/video/video.h>

#include "firmware.h"

static const struct {
  GstVideoFormat video;
  int32_t format;
} known[] = {{GST_VIDEO_FORMAT_NV12, EDGEAD_NV12},        {GST_VIDEO_FORMAT_GRAY8, EDGEAD_GRAY8},
             {GST_VIDEO_FORMAT_GRAY16_LE, EDGEAD_GRAY16}, {GST_VIDEO_FORMAT_BGR, EDGEAD_BGR},
             {GST_VIDEO_FORMAT_RGB, EDGEAD_RGB},          {GST_VIDEO_FORMAT_BGRx, EDGEAD_BGRX},
             {GST_VIDEO_FORMAT_BGRA, EDGEAD_BGRX},        {GST_VIDEO_FORMAT_RGBx, EDGEAD_RGBX},
             {GST_VIDEO_FORMAT_RGBA, EDGEAD_RGBX}};
static GstElement *pipeline, *sink;
static int64_t count;

typedef struct picture {
  GstSample* sample;
  GstVideoFrame mapped;
} picture;

/* Whether an element reports an error, which is said. */
static int failed(void) {
  GstBus* bus = gst_element_get_bus(pipeline);
  GstMessage* message = gst_bus_pop_filtered(bus, GST_MESSAGE_ERROR);
  GError* error = NULL;
  gst_object_unref(bus);
  if (message == NULL) return 0;
  gst_message_parse_error(message, &error, NULL);
  say("%s: %s", GST_OBJECT_NAME(message->src), error->message);
  return 1;
}

int camera_open(const char* source) {
  GError* error = NULL;
  gst_init(NULL, NULL);
  pipeline = gst_parse_launch(source, &error);
  if (error != NULL) return say("%s: %s", source, error->message), -1;
  sink = GST_IS_BIN(pipeline) ? gst_bin_get_by_name(GST_BIN(pipeline), "frames") : NULL;
  if (!GST_IS_APP_SINK(sink))
    return say("%s: expected a pipeline that ends in appsink name=frames", source), -1;
  gst_element_set_state(pipeline, GST_STATE_PLAYING);
  return failed() ? -1 : 0;
}

int camera_next(frame* to) {
  GstSample* sample = gst_app_sink_try_pull_sample(GST_APP_SINK(sink), 200 * GST_MSECOND);
  if (sample == NULL && failed()) return FAILED;
  if (sample == NULL) return gst_app_sink_is_eos(GST_APP_SINK(sink)) ? ENDED : NOT_YET;
  GstVideoInfo info;
  picture* found = g_new0(picture, 1);
  found->sample = sample;
  *to = (frame){.view.struct_size = sizeof to->view, .number = count++, .captured_ns = now_ns()};
  to->owner = found;
  if (gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) &&
      gst_video_frame_map(&found->mapped, &info, gst_sample_get_buffer(sample), GST_MAP_READ)) {
    for (size_t i = 0; i < G_N_ELEMENTS(known); ++i)
      if (known[i].video == GST_VIDEO_INFO_FORMAT(&info)) to->view.format = known[i].format;
    to->view.data = GST_VIDEO_FRAME_PLANE_DATA(&found->mapped, 0);
    to->view.stride = GST_VIDEO_FRAME_PLANE_STRIDE(&found->mapped, 0);
    to->view.height = info.height;
    to->view.width = info.width;
  }
  if (to->view.format == EDGEAD_NV12) {
    to->view.chroma = GST_VIDEO_FRAME_PLANE_DATA(&found->mapped, 1);
    to->view.chroma_stride = GST_VIDEO_FRAME_PLANE_STRIDE(&found->mapped, 1);
    to->view.color_space =
        (info.colorimetry.matrix == GST_VIDEO_COLOR_MATRIX_BT709 ? EDGEAD_BT709 : EDGEAD_BT601) +
        (info.colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255 ? EDGEAD_BT601_FULL : EDGEAD_BT601);
  }
  if (to->view.format == 0)
    g_strlcpy(to->error, "not NV12, GRAY8, GRAY16_LE, BGR, RGB, BGRx or RGBx: add videoconvert",
              300);
  return FRAME_CAME;
}

void camera_give_back(const frame* used) {
  picture* found = used->owner;
  if (found->mapped.buffer != NULL) gst_video_frame_unmap(&found->mapped);
  gst_sample_unref(found->sample);
  g_free(found);
}
