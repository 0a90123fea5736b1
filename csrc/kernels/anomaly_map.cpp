// What the CPU and the CUDA implementation of anomaly_map share on the host: the banded matrices.
#include "anomaly_map.h"

#include <algorithm>
#include <vector>

#include "layout.h"

namespace edgead {
namespace {

// One row of a sparse operator in float64: value[j] for j in [first, first + value.size()).
struct Row {
  int32_t first = 0;
  std::vector<double> value;

  // The least j comes first.
  void add(int32_t j, double v) {
    if (value.empty()) first = j;
    if (j >= first + static_cast<int32_t>(value.size())) value.resize(j - first + 1, 0.0);
    value[j - first] += v;
  }
};

// up[i, :] = bilinear weights of output i. Source: torch.nn.functional.interpolate.
void add_upsampled(Row& row, int32_t i, int32_t in, int32_t out, bool align_corners, double v) {
  double at = align_corners ? (out > 1 ? i * static_cast<double>(in - 1) / (out - 1) : 0.0)
                            : (i + 0.5) * in / out - 0.5;
  at = std::min(std::max(at, 0.0), in - 1.0);
  const int32_t j = static_cast<int32_t>(at);
  const double part = at - j;
  row.add(j, v * (1.0 - part));
  if (part > 0.0) row.add(j + 1, v * part);
}

int32_t radius_of(double sigma) { return static_cast<int32_t>(4.0 * sigma + 0.5); }

// A Gaussian's weights [2 * radius + 1], as scipy.ndimage.gaussian_filter has them.
std::vector<double> gaussian(double sigma) {
  const int32_t radius = radius_of(sigma);
  std::vector<double> weight(2 * radius + 1, 1.0);
  double total = 0.0;
  for (int32_t k = -radius; k <= radius; ++k) {
    if (sigma > 0.0) weight[k + radius] = std::exp(-0.5 / (sigma * sigma) * k * k);
    total += weight[k + radius];
  }
  for (double& w : weight) w /= total;
  return weight;
}

struct Operator {
  int32_t in, out;
  bool align_corners;
  double scale, sigma;

  Row row(int32_t i, const std::vector<double>& kernel) const {
    const int32_t radius = static_cast<int32_t>(kernel.size() / 2);
    Row row;
    for (int32_t k = -radius; k <= radius; ++k) {
      const int32_t y = std::min(std::max(i + k, 0), out - 1);
      add_upsampled(row, y, in, out, align_corners, scale * kernel[k + radius]);
    }
    return row;
  }

  // No group of `group` outputs needs more inputs than this.
  int32_t taps(int32_t group) const {
    const double step =
        align_corners ? (out > 1 ? (in - 1.0) / (out - 1.0) : 0.0) : static_cast<double>(in) / out;
    const double widest = (2.0 * radius_of(sigma) + group - 1) * step + 3.0;
    return widest < in ? static_cast<int32_t>(widest) : in;
  }
};

Band band_of(const Operator& op, int32_t group, Arena<>& arena, bool fill) {
  Band band{op.in, op.out, group, (op.out + group - 1) / group, op.taps(group), 0, 0, 0};
  int32_t* start = arena.take<int32_t>(band.groups);
  int32_t* count = arena.take<int32_t>(band.groups);
  const size_t size = static_cast<size_t>(band.taps) * group;
  float* weight = arena.take<float>(band.groups * size);
  band.start = start, band.count = count, band.weight = weight;
  if (!fill) return band;
  std::fill(weight, weight + band.groups * size, 0.0f);
  const std::vector<double> kernel = gaussian(op.sigma);
  for (int32_t g = 0; g < band.groups; ++g) {
    std::vector<Row> rows;
    int32_t first = op.in, last = 0;
    for (int32_t i = g * group; i < std::min((g + 1) * group, op.out); ++i) {
      rows.push_back(op.row(i, kernel));
      first = std::min(first, rows.back().first);
      last = std::max(last, rows.back().first + static_cast<int32_t>(rows.back().value.size()));
    }
    start[g] = first, count[g] = last - first;
    for (size_t i = 0; i < rows.size(); ++i)
      for (size_t j = 0; j < rows[i].value.size(); ++j)
        weight[g * size + (rows[i].first - first + j) * group + i] =
            static_cast<float>(rows[i].value[j]);
  }
  return band;
}

// Without `fill` the memory is not touched.
AnomalyMapPlan lay_out(const AnomalyMapParams& p, const uint8_t* roi, Arena<>& arena, bool fill) {
  AnomalyMapPlan plan{};
  plan.params = p;
  const bool sum = p.fusion == Fusion::sum;
  const double sigma = sum ? p.sigma : 0.0;
  auto band = [&](const Operator& op, int32_t group) { return band_of(op, group, arena, fill); };
  for (int32_t k = 0; k < p.levels; ++k) {
    const AnomalyMapLevel& l = p.level[k];
    plan.rows[k] = band({l.height, p.height, p.align_corners, l.weight, sigma}, kRowGroup);
    plan.columns[k] = band({l.width, p.width, p.align_corners, 1.0, sigma}, kColumnGroup);
  }
  if (!sum && p.sigma > 0.0) {
    plan.blur_rows = band({p.height, p.height, true, 1.0, p.sigma}, kRowGroup);
    plan.blur_columns = band({p.width, p.width, true, 1.0, p.sigma}, kColumnGroup);
  }
  const int32_t pixels = p.height * p.width;
  plan.kept = pixels;
  if (!p.has_roi) return plan;
  uint8_t* kept = arena.take<uint8_t>(pixels);
  plan.roi = kept;
  if (!fill) return plan;
  plan.kept = 0;
  for (int32_t i = 0; i < pixels; ++i) plan.kept += kept[i] = roi[i] != 0;
  return plan;
}

}  // namespace

size_t anomaly_map_plan_bytes(const AnomalyMapParams& params) {
  Arena<> arena{nullptr};
  lay_out(params, nullptr, arena, false);
  return arena.used;
}

AnomalyMapPlan anomaly_map_plan(const AnomalyMapParams& params, const uint8_t* roi, void* memory) {
  Arena<> arena{static_cast<char*>(memory)};
  return lay_out(params, roi, arena, true);
}

AnomalyMapPlan anomaly_map_plan_moved(const AnomalyMapPlan& plan, void* memory) {
  Arena<> arena{static_cast<char*>(memory)};
  AnomalyMapPlan moved = lay_out(plan.params, nullptr, arena, false);
  moved.kept = plan.kept;
  return moved;
}

int64_t anomaly_map_top_count(double share, int64_t kept) {
  const auto asked = static_cast<int64_t>(std::floor(share * static_cast<double>(kept) + 0.5));
  return std::min(std::max<int64_t>(asked, 1), kept);
}

size_t anomaly_map_workspace_bytes(const AnomalyMapParams& params) {
  Arena<> arena{nullptr};
  map_workspace_of(params, arena);
  return arena.used;
}

}  // namespace edgead
