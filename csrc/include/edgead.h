/* edgead: visual anomaly detection in C. This header is the manual of libedgead, simple things
 * first.
 *
 *   edgead_detector* detector = NULL;
 *   edgead_session* session = NULL;
 *   edgead_frame frame = edgead_frame_of(pixels, height, width, stride, EDGEAD_BGR);
 *   edgead_result result = edgead_result_default();
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
 * give the same score, p-value and verdict here and in Python, bit for bit. edgead.hpp has the same
 * in C++17, with handles that close themselves.
 *
 * Served: graphs in every precision that the processor has, whose features are compared in pairs
 * or with what was learnt, on the CPU through OpenVINO; or on an NVIDIA GPU through TensorRT, where
 * that is built in. Bundles of schema version 1 and 2 are served; newer ones are refused with
 * EDGEAD_ERROR_UNSUPPORTED. Tiles of a frame are seen one after another.
 *
 * Memory: handles are made by *_open and freed by *_close. Everything else belongs to the caller;
 * nothing that is given is kept after a call, but for the log function of a detector.
 * Structs begin with their size in bytes, as the caller's header has it; the functions *_default
 * set it. A caller with an older header, whose structs are shorter, gets the defaults of what it
 * lacks; one with a newer header may use what this library has: more is refused
 * (EDGEAD_ERROR_VERSION). A field that is 0 takes its default.
 * Threads: one detector for all threads, one session for each. All functions may be called from
 * any thread, but one session by one thread at a time (else EDGEAD_ERROR_INPUT, and the call in
 * progress goes on); edgead_session_stats alone by any. A session holds its detector: they may be
 * closed in either order, while no call uses them. Not across fork().
 * Time: what edgead_session_score does for a frame follows from the bundle and from the frame's
 * size and format, not from what it shows: one pass over its samples, the graph once for each tile,
 * and maps of fixed size. It waits for no file, no other session and no memory; see there. Never:
 * an exception, a signal, output, or a change of the locale crosses this boundary. Text is UTF-8,
 * or whatever bytes the name of a file has.
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
  EDGEAD_ERROR_INTERNAL = 9,      /* a defect of libedgead: please report it */
  EDGEAD_ERROR_SIGNATURE = 10     /* unsigned, or by no key that is trusted */
} edgead_status;

/* A few words for a status, "bundle" for EDGEAD_ERROR_BUNDLE; never NULL. Lives for ever. */
EDGEAD_API const char* edgead_status_text(edgead_status status);

/* What went wrong in the last call of this thread that failed: what was given, what was expected
 * and the cure, in a sentence. Copies at most `capacity` bytes, the final 0 included; returns the
 * length of the whole text, without the 0. `text` may be NULL: nothing is copied. */
EDGEAD_API size_t edgead_last_error(char* text, size_t capacity);

/* ---- The detector: a bundle, verified and qualified ---- */

typedef struct edgead_detector edgead_detector;

typedef enum edgead_log_level {
  EDGEAD_LOG_ERROR = 1,   /* the sentence of a call that failed */
  EDGEAD_LOG_WARNING = 2, /* it goes on, but not as it should: a frame that had to take memory */
  EDGEAD_LOG_INFO = 3     /* what serves, and what it took to open it; another false-reject rate */
} edgead_log_level;

/* Is told what happens. Called by the thread that calls libedgead, before that call returns, so
 * perhaps by several at once; never by a thread of libedgead's own. `sentence` is the caller's
 * until it returns. It must return, and use no handle of libedgead but for edgead_session_stats. */
typedef void (*edgead_log_fn)(void* user_data, int32_t level, const char* sentence);

typedef struct edgead_detector_params {
  size_t struct_size;
  double false_reject_rate; /* share of good frames that may be called anomalous; 0: the bundle's */
  int32_t threads;          /* of one inference; 0: the engine's choice */
  int32_t log_level;        /* the last edgead_log_level that is logged; 0: EDGEAD_LOG_INFO */
  edgead_log_fn log;        /* of this detector and its sessions, as long as one is open; or NULL */
  void* log_user_data;      /* given to `log`; may be NULL */
  const char* precision;    /* "float32", "float16", "bfloat16" or "int8"; NULL: the engine's own */
  const char* device;       /* "cpu", "gpu" or "auto"; NULL: the CPU */
  const char* trusted_keys; /* path of a list of keys, one of which signed the bundle; or NULL */
} edgead_detector_params;

/* Open the bundle in the folder `path`: check every file against its digest, compile the graph, and
 * qualify the engine on the golden frames. Takes a second or so; scoring starts at full speed. The
 * bundle is not needed after that: it may be deleted, or another one put in its place. It may be
 * opened more than once.
 *
 * Device "gpu" is the first NVIDIA GPU, through TensorRT, where edgead_engine() names "tensorrt".
 * The first opening of a bundle builds a plan there, in up to minutes, kept in this user's cache,
 * $EDGEAD_CACHE; float16 is its own precision. A GPU error that is not about memory ends the
 * detector and not the process. "auto" takes the GPU where there is one, TensorRT is built in and
 * the bundle has the graph, else the CPU; edgead_info says why. It was run in a simulation only.
 *
 * A precision that the bundle has no graph for, or that the processor does not compute in, is
 * refused: nothing falls back. With trusted_keys, a bundle that is unsigned or signed by another is
 * refused too; OpenSSL's libcrypto, 1.1.1 or newer, is loaded then (docs/signing.md).
 *
 *   version  EDGEAD_API_VERSION
 *   params   NULL for the defaults
 *   detector receives the handle, NULL after an error
 *
 * EDGEAD_ERROR_VERSION, _INPUT, _CALIBRATION, _BUNDLE, _SIGNATURE, _UNSUPPORTED, _DEVICE,
 * _QUALIFICATION. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_detector_open(uint32_t version, const char* path,
                                                           const edgead_detector_params* params,
                                                           edgead_detector** detector);

/* NULL is fine. Sessions go on; the engine ends with the last of them. */
EDGEAD_API void edgead_detector_close(edgead_detector* detector);

/* ---- Frames ---- */

/* Samples of a pixel lie side by side. Colour is what a camera or OpenCV gives: EDGEAD_BGR.
 *
 *                 bytes a pixel  bit_depth            also known as (V4L2, GStreamer)
 *   GRAY8         1              8                    GREY, GRAY8
 *   GRAY10        2              10                   Y10, GRAY10_LE16
 *   GRAY12        2              12                   Y12, GRAY12_LE16
 *   GRAY16        2              9 to 16, as given    Y16, GRAY16_LE
 *   BGR, RGB      3              8                    BGR24, RGB24
 *   BGRX, RGBX    4              8                    the fourth is not read: also BGRA, RGBA
 *   BGR16, RGB16  6              9 to 16, as given
 *   NV12          1.5            8                    NV12
 *
 * Samples of 16 bits have the native byte order, and the value in their low bits. */
typedef enum edgead_format {
  EDGEAD_GRAY8 = 1,
  EDGEAD_GRAY16 = 2,
  EDGEAD_BGR = 3,
  EDGEAD_RGB = 4,
  EDGEAD_BGRX = 5,
  EDGEAD_RGBX = 6,
  EDGEAD_BGR16 = 7,
  EDGEAD_RGB16 = 8,
  EDGEAD_GRAY10 = 9,
  EDGEAD_GRAY12 = 10,
  EDGEAD_NV12 = 11 /* a plane of Y, and one of half its height with U V of 2 x 2 pixels */
} edgead_format;

/* What Y, U, V of a frame mean. Limited range: Y 16 to 235, U and V 16 to 240; full: 0 to 255. */
typedef enum edgead_color_space {
  EDGEAD_BT601 = 0,      /* limited range; the bits that cv2.COLOR_YUV2BGR_NV12 gives */
  EDGEAD_BT601_FULL = 1, /* as in JPEG */
  EDGEAD_BT709 = 2,      /* limited range; of many cameras from 720 rows on */
  EDGEAD_BT709_FULL = 3
} edgead_color_space;

/* A frame in the caller's memory, which is read in place during a call; NV12 is brought to RGB in
 * memory of the session.
 *
 *   data      first sample of the first row
 *   height, width  1 to 32767 pixels; even for NV12
 *   stride    bytes from a row to the next, at least a row's; negative: the rows lie bottom up, and
 *             data is still the first one to be seen. Even, as data is, for 16 bits.
 *   format    edgead_format
 *   bit_depth of GRAY16, BGR16 and RGB16, 9 to 16: white is 2^bit_depth - 1; 0: the bundle's, else
 *             16. Of the others 0, or what they have.
 *   chroma    of NV12: first sample of the first row of U V; NULL: it follows the Y plane, at
 *             data + height * stride, and stride is not negative. Of the others NULL.
 *   chroma_stride  of NV12: likewise, bytes from a row of U V to the next; 0: stride
 *   color_space    of NV12: edgead_color_space; of the others 0
 */
typedef struct edgead_frame {
  size_t struct_size;
  const void* data;
  int32_t height, width;
  int64_t stride;
  int32_t format;
  int32_t bit_depth;
  const void* chroma;
  int64_t chroma_stride;
  int32_t color_space;
  int32_t reserved; /* 0 */
} edgead_frame;

/* ---- Sessions: the buffers of one thread, which scores with them ---- */

typedef struct edgead_session edgead_session;

typedef struct edgead_result {
  size_t struct_size;
  double score;         /* raw and unbounded; higher is more anomalous */
  double p_value;       /* share of good frames that score at least as high */
  double threshold;     /* at the rate of this moment */
  int32_t is_anomalous; /* 1: p_value <= the false-reject rate, which is score > threshold */
  int32_t reserved;
  double preprocess_ms, engine_ms, anomaly_map_ms, total_ms;
} edgead_result;

/* EDGEAD_ERROR_DEVICE: the engine has no memory for another thread. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_open(edgead_detector* detector,
                                                          edgead_session** session);

/* NULL is fine. */
EDGEAD_API void edgead_session_close(edgead_session* session);

/* Score a frame.
 *
 * Takes no memory, but for what edgead_session_prepare takes, where the frame is of another kind
 * than the last one. (Small allocations of the engine's own are not counted here.)
 * Bound: the same work for every frame of a kind. Each sample is read once, and once more to look
 * for values above a bit depth below 16; each tile takes the graph once; a map of one size is made
 * and pooled. Of a bundle with a memory, a feature is compared with all rows of the memory at most,
 * and with fewer where bounds tell that they are not near: worst is a frame that resembles nothing.
 * How long that takes depends on the processor: edgead_stats.worst_ms says it of real frames.
 *
 * EDGEAD_ERROR_INPUT: no frame, a value above its bit depth, another size than the ignore mask of
 * the bundle was drawn on, or smaller than a tile of it. EDGEAD_ERROR_DEVICE: the engine failed or
 * gave values that are not finite. The session can be used again after either; `result` is as it
 * was. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_score(edgead_session* session,
                                                           const edgead_frame* frame,
                                                           edgead_result* result);

/* ---- Where it is: map, heatmap and regions of the last frame that was scored ----
 *
 * EDGEAD_ERROR_INPUT: no frame was scored yet, the last one failed, or memory that is too small.
 * They take no memory. Time: of heatmap and regions in proportion to the pixels of the frame; of
 * regions also to their number, times the logarithm of `capacity`. */

/* A connected area of the heatmap above map_threshold, in pixels of the frame. */
typedef struct edgead_region {
  int32_t x, y, width, height; /* of the bounding box */
  int64_t area;                /* pixels */
  float peak;                  /* highest value inside */
  int32_t reserved;
} edgead_region;

/* The anomalous regions, highest peak first. Writes at most `capacity` of them; `count` receives
 * how many there are. `regions` may be NULL when `capacity` is 0. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_regions(edgead_session* session,
                                                             edgead_region* regions,
                                                             size_t capacity, size_t* count);

/* The anomaly map at the size of the frame, half-pixel bilinear: height rows of width floats,
 * `stride` bytes apart, into memory of `capacity` bytes. Raw values, >= 0. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_heatmap(edgead_session* session,
                                                             float* heatmap, int64_t stride,
                                                             size_t capacity);

/* The size of the anomaly map: map_height and map_width of edgead_info, or with tiles what they
 * make together, which follows from the size of the frame. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_map_size(edgead_session* session,
                                                              int32_t* height, int32_t* width);

/* That map, at the model's resolution: as the heatmap, of this size. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_map(edgead_session* session, float* map,
                                                         int64_t stride, size_t capacity);

/* ---- What serves, and how strictly ---- */

/* The texts live as long as the detector. */
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
  int32_t calibration_images;    /* n, or the parts they show; the best rate is 1 / (n + 1) */
  double map_threshold;  /* values of the heatmap above it are an anomalous region; of now */
  const char* chosen;    /* of device "auto": why this one; else "" */
  const char* signed_by; /* the key of trusted_keys that signed the bundle; else "" */
  int64_t counter;       /* that it signed, higher than that of the bundle before; else 0 */
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

/* ---- For firmware: no surprises at run time ---- */

/* Make ready for frames of this size, stride, format and bit depth; `data` and `chroma` are not
 * looked at; the map of the last frame goes. The first frame of another kind does the same, which
 * takes memory: about 300 bytes for each pixel of a row, for NV12 4 bytes for each pixel, and the
 * maps of the tiles. EDGEAD_ERROR_INPUT: no frame could be of this kind. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_prepare(edgead_session* session,
                                                             const edgead_frame* frame);

/* Of a session since it was opened, for a watchdog. Milliseconds of a monotonic clock. */
typedef struct edgead_stats {
  size_t struct_size;
  uint64_t scored;   /* frames with a verdict */
  uint64_t failed;   /* calls of edgead_session_score that gave none */
  double last_ms;    /* what the last of either took, the whole call; 0: there was none */
  double worst_ms;   /* the longest of them */
  double running_ms; /* how long the call in progress has taken until now; 0: there is none */
  double idle_ms;    /* since the last call ended, or since the opening; 0 during a call */
} edgead_stats;

/* From any thread, also while another one scores with the session: never waits. It is alive when
 * running_ms is below what a frame may take. Numbers may be of moments that are a frame apart. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_session_stats(const edgead_session* session,
                                                           edgead_stats* stats);

/* edgead_detector_open of a folder's descriptor (open(path, O_RDONLY | O_DIRECTORY)): of this
 * folder whatever its path is now. The descriptor stays the caller's, is not moved, and may be
 * closed after the call; in sentences it is "descriptor 3". EDGEAD_ERROR_INPUT: it is not open. */
EDGEAD_API EDGEAD_CHECK edgead_status edgead_detector_open_at(uint32_t version, int descriptor,
                                                              const edgead_detector_params* params,
                                                              edgead_detector** detector);

/* ---- The library ---- */

/* EDGEAD_API_VERSION of the library that is loaded. */
EDGEAD_API uint32_t edgead_api_version(void);

/* The version of edgead, as "0.1.0". Lives for ever. */
EDGEAD_API const char* edgead_version(void);

/* The name of the engine `index` that this library was built with, "openvino" or "tensorrt"; NULL
 * after the last one. edgead_engine_check loads it, as opening a bundle does: EDGEAD_ERROR_DEVICE
 * where its library is missing, damaged or of another version. */
EDGEAD_API const char* edgead_engine(size_t index);
EDGEAD_API EDGEAD_CHECK edgead_status edgead_engine_check(size_t index);

/* ---- Structs with their size and defaults ----
 *
 * edgead_detector_params_default(), .._frame_.., .._result_.., .._info_.., .._stats_..: by value,
 * all 0 but the size. Compiled into the caller, whose structs they are. */
#ifdef __cplusplus
#define EDGEAD_ZERO(type) type()
#else
#define EDGEAD_ZERO(type) {0}
#endif
#define EDGEAD_DEFAULT(type)                \
  static inline type type##_default(void) { \
    type made = EDGEAD_ZERO(type);          \
    made.struct_size = sizeof made;         \
    return made;                            \
  }
EDGEAD_DEFAULT(edgead_detector_params)
EDGEAD_DEFAULT(edgead_frame)
EDGEAD_DEFAULT(edgead_result)
EDGEAD_DEFAULT(edgead_info)
EDGEAD_DEFAULT(edgead_stats)

static inline edgead_frame edgead_frame_of(const void* data, int32_t height, int32_t width,
                                           int64_t stride, int32_t format) {
  edgead_frame frame = edgead_frame_default();
  frame.data = data;
  frame.height = height;
  frame.width = width;
  frame.stride = stride;
  frame.format = format;
  return frame;
}

#ifdef __cplusplus
}
#endif
#endif /* EDGEAD_H */
