// Runs the CUDA implementations on the CPU: run_cases INPUT OUTPUT SEED
//
// INPUT is a row of cases as harness.py writes them, OUTPUT the arrays that they give. Every array
// of a case has memory of its own, exactly as large as it must be, and starts as NaN.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "anomaly_map.h"
#ifdef EDGEAD_CUDA_ON_CPU
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#endif
#include "nearest_codes.h"
#include "nv12.h"
#include "preprocess.h"
#include "raise.h"
#include "watch.h"
#include "whiten.h"

namespace {

using namespace edgead;

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "run_cases: %s\n", what);
  std::exit(2);
}

// As cudaMalloc gives it, `shift` bytes off its alignment; freed when the case is done.
class Memory {
 public:
  Memory(const char* name, size_t bytes, size_t shift = 0) : bytes_(bytes), shift_(shift) {
    if (posix_memalign(&data_, 256, bytes + shift) != 0) give_up("out of memory");
    std::memset(data_, 0xff, bytes + shift);
    if (watch) watch(name, data(), bytes);
  }
  Memory(Memory&& other) : data_(other.data_), bytes_(other.bytes_), shift_(other.shift_) {
    other.data_ = nullptr;
  }
  ~Memory() { std::free(data_); }
  char* data() const { return static_cast<char*>(data_) + shift_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_, shift_;
};

class Cases {
 public:
  Cases(const char* input, const char* output)
      : input_(std::fopen(input, "rb")), output_(std::fopen(output, "wb")) {
    if (input_ == nullptr || output_ == nullptr) give_up("cannot open a file");
  }
  ~Cases() {
    std::fclose(input_);
    if (std::fclose(output_) != 0) give_up("cannot write the output");
  }
  bool more() {
    const int next = std::getc(input_);
    return next != EOF && std::ungetc(next, input_) != EOF;
  }
  int64_t integer() { return number<int64_t>(); }
  double real() { return number<double>(); }
  Memory array(const char* name) {
    const int64_t bytes = integer(), shift = integer();
    Memory memory(name, bytes, shift);
    read(memory.data(), bytes);
    return memory;
  }
  void write(const Memory& memory) {
    if (std::fwrite(memory.data(), 1, memory.bytes(), output_) != memory.bytes())
      give_up("cannot write the output");
  }

 private:
  template <class T>
  T number() {
    T value;
    read(&value, sizeof value);
    return value;
  }
  void read(void* to, size_t bytes) {
    if (std::fread(to, 1, bytes, input_) != bytes) give_up("the input ends early");
  }
  std::FILE *input_, *output_;
};

void check(int error) {
  if (error != cudaSuccess) give_up("a launch failed");
}

AnomalyMapParams anomaly_map_params(Cases& cases) {
  AnomalyMapParams p{};
  p.levels = cases.integer();
  for (int32_t k = 0; k < p.levels; ++k) {
    AnomalyMapLevel& l = p.level[k];
    l.channels = cases.integer(), l.height = cases.integer(), l.width = cases.integer();
    l.weight = cases.real();
  }
  p.height = cases.integer(), p.width = cases.integer();
  p.distance = static_cast<Distance>(cases.integer());
  p.fusion = static_cast<Fusion>(cases.integer());
  p.pooling = static_cast<Pooling>(cases.integer());
  p.top_count = cases.integer(), p.align_corners = cases.integer() != 0;
  p.type = static_cast<Type>(cases.integer());
  p.layout = static_cast<Layout>(cases.integer());
  p.has_roi = cases.integer() != 0;
  p.sigma = cases.real();
  return p;
}

void run_anomaly_map(Cases& cases) {
  const AnomalyMapParams p = anomaly_map_params(cases);
  const int64_t batch = cases.integer();
  const Memory roi = cases.array("roi");
  std::vector<Memory> features;
  const void *reference[kMaxLevels], *restored[kMaxLevels];
  for (int32_t k = 0; k < p.levels; ++k) {
    features.push_back(cases.array("features"));
    reference[k] = features.back().data();
    features.push_back(cases.array("features"));
    restored[k] = features.back().data();
  }
  const Memory plan_memory("plan", anomaly_map_plan_bytes(p));
  const AnomalyMapPlan plan = anomaly_map_plan(
      p, p.has_roi ? reinterpret_cast<const uint8_t*>(roi.data()) : nullptr, plan_memory.data());
  const Memory workspace("workspace", anomaly_map_cuda_workspace_bytes(p, batch));
  const Memory map("map", sizeof(float) * batch * p.height * p.width);
  const Memory score("score", sizeof(float) * batch);
  check(anomaly_map_cuda(plan, reference, restored, batch, reinterpret_cast<float*>(map.data()),
                         reinterpret_cast<float*>(score.data()), workspace.data(), nullptr));
  cases.write(map);
  cases.write(score);
}

struct Axis {
  Axis(int32_t in, int32_t out)
      : start("axes", sizeof(int32_t) * out),
        count("axes", sizeof(int32_t) * out),
        weight("axes", sizeof(uint16_t) * out * preprocess_taps(in, out)),
        axis(preprocess_axis(in, out, reinterpret_cast<int32_t*>(start.data()),
                             reinterpret_cast<int32_t*>(count.data()),
                             reinterpret_cast<uint16_t*>(weight.data()))) {}
  Memory start, count, weight;
  PreprocessAxis axis;
};

void run_preprocess(Cases& cases) {
  PreprocessParams p{};
  p.height = cases.integer(), p.width = cases.integer(), p.channels = cases.integer();
  p.sample_bytes = cases.integer(), p.bit_depth = cases.integer();
  p.row_stride = cases.integer(), p.pixel_stride = cases.integer();
  p.channel_stride = cases.integer();
  p.out_height = cases.integer(), p.out_width = cases.integer();
  for (int c = 0; c < 3; ++c) {
    p.order[c] = cases.integer();
    p.scale[c] = static_cast<float>(cases.real());
    p.bias[c] = static_cast<float>(cases.real());
  }
  p.type = static_cast<Type>(cases.integer());
  p.layout = static_cast<Layout>(cases.integer());
  const int64_t first = cases.integer();  // byte of sample [0, 0, 0]
  const Memory frame = cases.array("frame");
  const Axis vertical(p.height, p.out_height), horizontal(p.width, p.out_width);
  const size_t bytes = p.type == Type::float16 ? sizeof(uint16_t) : sizeof(float);
  const Memory image("image", bytes * 3 * p.out_height * p.out_width);
  check(preprocess_cuda(p, vertical.axis, horizontal.axis, frame.data() + first, image.data(),
                        nullptr));
  cases.write(image);
}

template <class T>
T* or_null(const Memory& memory) {
  return memory.bytes() == 0 ? nullptr : reinterpret_cast<T*>(memory.data());
}

// What DistanceOut is made of: whether distances are written, counts, scored, and what the sum
// held.
struct Out {
  Out(Cases& cases, size_t count)
      : distance("distance", cases.integer() == 0 ? 0 : sizeof(float) * count),
        counts(cases.array("counts")),
        scored(cases.array("scored")),
        before(cases.array("before")),
        sum("sum", scored.bytes() == 0 ? 0 : sizeof(float) * count) {
    if (before.bytes() > 0) std::memcpy(sum.data(), before.data(), before.bytes());
  }
  DistanceOut out() const {
    return {or_null<float>(counts), or_null<float>(distance), or_null<float>(scored),
            or_null<float>(sum), before.bytes() > 0};
  }
  void write(Cases& cases) const {
    cases.write(distance);
    cases.write(sum);
  }
  const Memory distance, counts, scored, before, sum;
};

void run_nearest(Cases& cases) {
  NearestParams p{};
  p.positions = cases.integer(), p.channels = cases.integer(), p.rows = cases.integer();
  p.k = cases.integer();
  for (int32_t i = 0; i < p.k; ++i) p.weight[i] = static_cast<float>(cases.real());
  p.blended = cases.integer(), p.temperature = static_cast<float>(cases.real());
  p.root = cases.integer() != 0;
  p.query_type = static_cast<Type>(cases.integer());
  p.layout = static_cast<Layout>(cases.integer());
  p.memory_type = static_cast<Type>(cases.integer());
  const int64_t batch = cases.integer();
  const Memory query = cases.array("queries"), rows = cases.array("memory");
  const Memory scale = cases.array("scale"), roi = cases.array("roi");
  const Memory shares = cases.array("shares");
  const Out out(cases, batch * p.positions);
  const Memory codes_memory("codes", row_codes_bytes(p.rows, p.channels));
  const RowCodes codes = row_codes(p.rows, p.channels, p.memory_type, rows.data(),
                                   or_null<float>(scale), codes_memory.data());
  const Memory workspace("workspace", nearest_cuda_workspace_bytes(p, batch));
  check(nearest_cuda(p, codes, rows.data(), or_null<float>(scale), query.data(), batch,
                     or_null<float>(shares), or_null<uint8_t>(roi), out.out(), workspace.data(),
                     nullptr));
  out.write(cases);
}

void run_whiten(Cases& cases) {
  WhitenParams p{};
  p.height = cases.integer(), p.width = cases.integer(), p.channels = cases.integer();
  p.outputs = cases.integer(), p.side = cases.integer();
  p.triangular = cases.integer() != 0, p.channel_normal = cases.integer() != 0;
  p.epsilon = static_cast<float>(cases.real());
  p.type = static_cast<Type>(cases.integer());
  p.layout = static_cast<Layout>(cases.integer());
  const int64_t batch = cases.integer();
  const Memory feature = cases.array("features"), mean = cases.array("mean");
  const Memory factor = cases.array("factors"), roi = cases.array("roi");
  const Memory centre = cases.array("centre");
  const Out out(cases, batch * p.height * p.width);
  check(whiten_cuda(p, or_null<float>(mean), or_null<float>(factor), feature.data(), batch,
                    or_null<float>(centre), or_null<uint8_t>(roi), out.out(), nullptr));
  out.write(cases);
}

void run_nv12(Cases& cases) {
  Nv12Params p{};
  p.height = cases.integer(), p.width = cases.integer();
  p.stride = cases.integer(), p.chroma_stride = cases.integer();
  p.color_space = cases.integer(), p.blue_first = cases.integer() != 0;
  const int64_t first = cases.integer(), first_chroma = cases.integer();  // bytes of the first rows
  const Memory light = cases.array("light"), chroma = cases.array("chroma");
  const Memory colors("colors", size_t{4} * p.height * p.width);
  check(nv12_cuda(p, light.data() + first, chroma.data() + first_chroma, colors.data(), nullptr));
  cases.write(colors);
}

void run_raise(Cases& cases) {
  Raise p{};
  p.shown = cases.integer(), p.positions = cases.integer();
  p.lowest = static_cast<float>(cases.real()), p.highest = static_cast<float>(cases.real());
  std::vector<std::unique_ptr<Memory>> held;
  const auto floats = [&](const char* name) {
    held.emplace_back(new Memory(cases.array(name)));
    return or_null<float>(*held.back());
  };
  for (int32_t k = 0; k < p.shown; ++k) p.distance[k] = floats("distance");
  p.sum = floats("sum");
  p.summed = static_cast<int32_t>(held.back()->bytes() / sizeof(float));
  check(raise_cuda(p, nullptr));
  for (const auto& one : held) cases.write(*one);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) give_up("expected INPUT OUTPUT SEED");
#ifdef EDGEAD_CUDA_ON_CPU  // else tests/ptx runs the kernels, in an order of its own
  cuda_on_cpu::set_seed(std::atoi(argv[3]));
#endif
  Cases cases(argv[1], argv[2]);
  void (*const kernels[])(Cases&) = {run_preprocess, run_anomaly_map, run_nearest,
                                     run_whiten,     run_nv12,        run_raise};
  while (cases.more()) kernels[cases.integer()](cases);
  return 0;
}
