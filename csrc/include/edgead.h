/* edgead: visual anomaly detection in C. This header is the manual of libedgead.
 *
 *   edgead_detector* detector = NULL;
 *   edgead_session* session = NULL;
 *   edgead_result result = {sizeof result};
 *   edgead_frame frame = {sizeof frame, pixels, height, width, stride, EDGEAD_BGR, 0};
 *
 *   if (edgead_detector_open(EDGEAD_API_VERSION, "part.edgead", NULL, &detector) ||
 *       edgead_session_open(detector, &session) ||
 *       edgead_session_score(session, &frame, &result)) {
 *     char why[1000];
 *     edgead_last_error(why, sizeof why);
 *     fprintf(stderr, "%s\n", why);
 *   }
 *   if (result.is_anomalous) ...
 *   edgead_session_close(session);
 *   edgead_detector_close(detector);
 *
 * A bundle NAME.edgead comes from `edgead learn` or `edgead export`. The same engine and processor
 * give the same score, p-value and verdict here and in Python, bit for bit.
 *
 * Served: graphs in every precision that the processor has, whose features are compared in pairs
 * or with what was learnt, on the CPU through OpenVINO.
 * Bundles of schema version 1 and 2 are served; newer ones are refused with
 * EDGEAD_ERROR_UNSUPPORTED. Tiles of a frame are seen one after another.
 *
 * Memory: handles are made by *_open and freed by *_close. Everything else belongs to the caller;
 * nothing that is given is kept after a call. Structs begin with their size, which the caller sets
 * (as above), so that a newer library knows what an older caller has; a field that is 0 takes its
 * default.
 * Threads: one detector for all threads, one session for each. All functions may be called from
 * any thread, but one session by one thread at a time (else EDGEAD_ERROR_INPUT). A session holds
 * its detector: they may be closed in either order. Not across fork().
 * Never: an exception, a signal, output, or a change of the locale crosses this boundary.
 * Text is UTF-8, or whatever bytes the name of a file has.
 */
#ifndef EDGEAD_H
#define EDGEAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. Opening a bundle with a library older than its caller is refused. */
#define EDGEAD_API_VERSION 1

#if defined(__GNUC__)
#define EDGEAD_API __attribute__((visibility("default")))
#define EDGEAD_CHECK __attribute__((warn_unused_result))
#else
#define EDGEAD_API
#define EDGEAD_CHECK
#endif

/* ---- Errors ---- */

typedef enum edgead_status {
  EDGEAD_OK = 0,
  EDGEAD_ERROR_INPUT = 1,         /* an argument or a frame that cannot be used */
  EDGEAD_ERROR_CALIBRATION = 2,   /* a false-reject rate that the calibration cannot promise */
  EDGEAD_ERROR_BUNDLE = 3,        /* missing, incomplete or altered */
  EDGEAD_ERROR_DEVICE = 4,        /* this machine cannot do what was asked */
  EDGEAD_ERROR_QUALIFICATION = 5, /* the golden frames come out differently here */
  EDGEAD_ERROR_UNSUPPORTED = 6,   /* the bundle is of a newer edgead */
  EDGEAD_ERROR_VERSION = 7,       /* the caller needs a newer library */
  EDGEAD_ERROR_MEMORY = 8,        /* no memory left */
  EDGEAD_ERROR_INTERNAL = 9       /* a defect of libedgead: please report it */
} edgead_status;

/* A few words for a status, "bundle" for EDGEAD_ERROR_BUNDLE; never NULL. Lives for ever. */
EDGEAD_API const char* edgead_status_text(edgead_status status);

/* What went wrong in the last call of this thread that failed: what was given, what was expected
 * and the cure, in a sentence. Copies at most `capacity` bytes, the final 0 included; returns the
 * length of the whole text, without the 0. `text` may be NULL when `capacity` is 0. */
EDGEAD_API size_t edgead_last_error(char* text, size_t capacity);

/* ---- The library ---- */

/* EDGEAD_API_VERSION of the library that is loaded. */
EDGEAD_API uint32_t edgead_api_version(void);

/* The version of edgead, as "0.1.0". Lives for ever. */
EDGEAD_API const char* edgead_version(void);

/* The name of the engine `index` that this library was built with, "openvino" or "tensorrt"; NULL
 * after the last one. */
EDGEAD_API const char* edgead_engine(size_t index);

/* ---- The detector: a bundle, verified and qualified ---- */

typedef struct edgead_detector edgead_detector;

typedef struct edgead_detector_params {
  size_t struct_size;
  double false_reject_rate; /* share of good frames that may be called anomalous; 0: the bundle's */
  int32_t threads;          /* of one inference; 0: the engine's choice */
  int32_t reserved;         /* 0 */
  const char* precision;    /* "float32", "float16", "bfloat16" or "int8"; NULL: the engine's own */
  const char* device;       /* "cpu", "gpu" or "auto"; NULL: the CPU */
} edgead_detector_params;

/* Open the bundle in the folder `path`: check every file against its digest, compile the graph, and
 * qualify the engine on the golden frames. Takes a second or so; scoring starts at full speed.
 *
 * Device "gpu" is the first NVIDIA GPU, through TensorRT, where edgead_engine() names "tensorrt".
 * The first opening of a bundle builds a plan there, which takes up to minutes and is kept in this
 * user's cache, $EDGEAD_CACHE; float16 is the engine's own precision. An error of the GPU that is
 * not about memory ends the detector, not the process. "auto" takes the GPU where there is one,
 * TensorRT is built in and the bundle has the graph, else the CPU; edgead_info has the reason. It
 * has not been run on a GPU yet, only in a simulation.
 *
 * A precision that the bundle has no graph for, or that the processor does not compute in, is
 * refused: nothing falls back.
 *
 *   version  EDGEAD_API_VERSION
 *   params   NULL for the defaults
 *   detector receives the handle, NULL after an error
 *
 * EDGEAD_ERROR_VERSION, _INPUT, _CALIBRATION, _BUNDLE, _UNSUPPORTED, _DEVICE, _QUALIFICATION. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_detector_open(uint32_t version, const char* path,
                                                           const edgead_detector_params* params,
                                                           edgead_detector** detector);

/* NULL is fine. Sessions go on; the engine ends with the last of them. */
EDGEAD_API void edgead_detector_close(edgead_detector* detector);

/* What serves. The texts live as long as the detector. */
typedef struct edgead_info {
  size_t struct_size;
  const char* name;              /* of the bundle */
  const char* method;            /* "redi", .. */
  const char* device;            /* "CPU: AMD EPYC 7B13" */
  const char* precision;         /* "float32", .. */
  const char* kernels;           /* of the kernels: "avx512", "avx2", "neon", .., "cuda" */
  const char* version;           /* of the engine: "OpenVINO 2026.2.0" */
  const char* bundle_sha256;     /* of manifest.json, which holds the digests of all other files */
  int32_t map_height, map_width; /* with tiles: of the map of a tile */
  int32_t bit_depth;             /* that the bundle declares for 16-bit frames; 0: none, 16 it is */
  int32_t calibration_images;    /* n; the best false-reject rate is 1 / (n + 1) */
  double map_threshold; /* values of the heatmap above it are an anomalous region; of now */
  const char* chosen;   /* of device "auto": why this one; else "" */
} edgead_info;

EDGEAD_API EDGEAD_CHECK edgead_status edgead_detector_info(const edgead_detector* detector,
                                                           edgead_info* info);

/* The allowed false-reject rate, and the score above which frames are anomalous with it. Either
 * pointer may be NULL. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_detector_threshold(const edgead_detector* detector,
                                                                double* false_reject_rate,
                                                                double* threshold);

/* Allow another rate, at any time and from any thread, from the next frame on.
 * EDGEAD_ERROR_CALIBRATION: not between 0 and 1, or less than the calibration can promise. */
EDGEAD_API EDGEAD_CHECK edgead_status
edgead_detector_set_false_reject_rate(edgead_detector* detector, double false_reject_rate);

/* ---- Frames ---- */

/* Samples of a pixel lie side by side. Colour is what a camera or OpenCV gives: EDGEAD_BGR. */
typedef enum edgead_format {
  EDGEAD_GRAY8 = 1,
  EDGEAD_GRAY16 = 2, /* native byte order; the low `bit_depth` bits count */
  EDGEAD_BGR = 3,
  EDGEAD_RGB = 4,
  EDGEAD_BGRX = 5, /* 4 bytes a pixel, the fourth is not read: also BGRA */
  EDGEAD_RGBX = 6,
  EDGEAD_BGR16 = 7, /* 6 bytes a pixel */
  EDGEAD_RGB16 = 8
} edgead_format;

/* A frame in the caller's memory, which is read in place during a call.
 *
 *   data      first sample of the first row
 *   height, width  1 to 32767 pixels
 *   stride    bytes from a row to the next, at least a row's; negative: the rows lie bottom up, and
 *             data is still the first one to be seen. Even, as data is, for 16 bits.
 *   format    edgead_format
 *   bit_depth of 16-bit samples, 9 to 16: white is 2^bit_depth - 1; 0: the bundle's, else 16. */
typedef struct edgead_frame {
  size_t struct_size;
  const void* data;
  int32_t height, width;
  int64_t stride;
  int32_t format;
  int32_t bit_depth;
} edgead_frame;

/* ---- Sessions: the buffers of one thread ---- */

typedef struct edgead_session edgead_session;

typedef struct edgead_result {
  size_t struct_size;
  double score;         /* raw and unbounded; higher is more anomalous */
  double p_value;       /* share of good frames that score at least as high */
  double threshold;     /* at the rate of this moment */
  int32_t is_anomalous; /* 1: p_value <= the false-reject rate, which is score > threshold */
  int32_t reserved;
  /* On a GPU the way there is in preprocess_ms, the way back in anomaly_map_ms. */
  double preprocess_ms, engine_ms, anomaly_map_ms, total_ms;
} edgead_result;

/* EDGEAD_ERROR_DEVICE: the engine has no memory for another thread. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_open(edgead_detector* detector,
                                                          edgead_session** session);

/* NULL is fine. */
EDGEAD_API void edgead_session_close(edgead_session* session);

/* Make ready for frames of this size, stride, format and bit depth; `data` is not looked at. The
 * first frame of another kind does the same, which takes memory; libedgead takes none after that.
 * EDGEAD_ERROR_INPUT: no frame could be of this kind. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_prepare(edgead_session* session,
                                                             const edgead_frame* frame);

/* Score a frame. Its time does not depend on what the frame shows; that of a bundle with a memory
 * does a little, as the search leaves out what cannot be near.
 *
 * EDGEAD_ERROR_INPUT: no frame, a value above its bit depth, another size than the ignore mask of
 * the bundle was drawn on, or smaller than a tile of it. EDGEAD_ERROR_DEVICE: the engine failed or
 * gave values that are not finite. The session can be used again after either. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_score(edgead_session* session,
                                                           const edgead_frame* frame,
                                                           edgead_result* result);

/* The size of the anomaly map of the last frame that was scored: map_height and map_width, or with
 * tiles what they make together, which follows from the size of the frame. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_map_size(edgead_session* session,
                                                              int32_t* height, int32_t* width);

/* That map, at the model's resolution: rows of floats, `stride` bytes apart, into memory of
 * `capacity` bytes. Raw values, >= 0. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_map(edgead_session* session, float* map,
                                                         int64_t stride, size_t capacity);

/* The same at the size of the frame, half-pixel bilinear: height rows of width floats. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_heatmap(edgead_session* session,
                                                             float* heatmap, int64_t stride,
                                                             size_t capacity);

/* A connected area of the heatmap above map_threshold, in pixels of the frame. */
typedef struct edgead_region {
  int32_t x, y, width, height; /* of the bounding box */
  int64_t area;                /* pixels */
  float peak;                  /* highest value inside */
  int32_t reserved;
} edgead_region;

/* The anomalous regions of the last frame, highest peak first. Writes at most `capacity` of them;
 * `count` receives how many there are. This one takes memory of its own, for a moment. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_regions(edgead_session* session,
                                                             edgead_region* regions,
                                                             size_t capacity, size_t* count);

#ifdef __cplusplus
}
#endif
#endif /* EDGEAD_H */
