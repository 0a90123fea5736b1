#include "principal_components.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "nearest.h"

namespace edgead {
namespace {

constexpr size_t kMostRows = 4096;  // that many tell the directions
constexpr size_t kBatch = 32;       // rows that stay in the cache
constexpr int kTurns = 10;          // of the iteration
constexpr double kPi = 3.14159265358979323846;

using Matrix = std::vector<double>;  // rows one after the other

// values [rows, m] less their mean, the largest 1: no square leaves float64.
Matrix centred(const float* values, size_t rows, size_t m, std::vector<float>& mean) {
  const size_t step = (rows + kMostRows - 1) / kMostRows;
  const size_t n = (rows + step - 1) / step;
  Matrix found(n * m), sum(m);
  for (size_t i = 0; i < n; ++i)
    for (size_t c = 0; c < m; ++c) sum[c] += found[i * m + c] = values[i * step * m + c];
  double largest = std::numeric_limits<double>::min();
  for (size_t i = 0; i < n; ++i)
    for (size_t c = 0; c < m; ++c) {
      found[i * m + c] -= sum[c] / static_cast<double>(n);
      largest = std::max(largest, std::abs(found[i * m + c]));
    }
  for (double& value : found) value /= largest;
  mean.resize(m);
  for (size_t c = 0; c < m; ++c) mean[c] = static_cast<float>(sum[c] / static_cast<double>(n));
  return found;
}

// y^T y of y [n, m].
Matrix products(const Matrix& y, size_t m) {
  const size_t n = y.size() / m;
  Matrix sums(m * m);
  for (size_t first = 0; first < n; first += kBatch)
    for (size_t i = 0; i < m; ++i)
      for (size_t row = first; row < std::min(first + kBatch, n); ++row)
        for (size_t j = i; j < m; ++j) sums[i * m + j] += y[row * m + i] * y[row * m + j];
  for (size_t i = 0; i < m; ++i)
    for (size_t j = 0; j < i; ++j) sums[i * m + j] = sums[j * m + i];
  return sums;
}

double dot(const double* a, const double* b, size_t m) {
  double sum = 0;
  for (size_t c = 0; c < m; ++c) sum += a[c] * b[c];
  return sum;
}

// Takes off `row` what lies along the `count` rows of `basis`, and brings it to length 1. Whether
// anything was left of it.
bool reduce(const Matrix& basis, size_t count, double* row, size_t m) {
  for (int turn = 0; turn < 2; ++turn) {  // once leaves what rounding has made
    const double length = std::sqrt(dot(row, row, m));
    if (!(length > 0)) return false;
    for (size_t c = 0; c < m; ++c) row[c] /= length;
    for (size_t i = 0; i < count; ++i) {
      const double along = dot(&basis[i * m], row, m);
      for (size_t c = 0; c < m; ++c) row[c] -= along * basis[i * m + c];
    }
  }
  const double left = std::sqrt(dot(row, row, m));
  for (size_t c = 0; c < m; ++c) row[c] /= left;
  return left > 0.5;  // of what the first turn has left
}

// Makes the rows of `basis` [count, m] orthonormal; one in which nothing is left becomes another
// direction.
void orthonormalise(Matrix& basis, size_t m) {
  for (size_t i = 0; i < basis.size() / m; ++i)
    for (size_t c = 0; !reduce(basis, i, &basis[i * m], m); ++c) {
      std::fill_n(&basis[i * m], m, 0.0);
      basis[i * m + c % m] = 1;
    }
}

}  // namespace

PrincipalComponents principal_components(const float* values, size_t rows, size_t channels) {
  PrincipalComponents found;
  const size_t m = channels, count = std::min<size_t>(m, kParts - 1);
  const Matrix sums = products(centred(values, rows, m, found.mean), m);
  Matrix basis(count * m), next(count * m);
  std::minstd_rand numbers(1);
  for (double& value : basis) value = static_cast<double>(numbers()) / numbers.max() - 0.5;
  orthonormalise(basis, m);
  for (int turn = 0; turn < kTurns; ++turn) {  // orthogonal iteration
    std::fill(next.begin(), next.end(), 0.0);
    for (size_t i = 0; i < count; ++i)
      for (size_t c = 0; c < m; ++c)
        for (size_t j = 0; j < m; ++j) next[i * m + j] += basis[i * m + c] * sums[c * m + j];
    basis = next;
    orthonormalise(basis, m);
  }
  std::fill(next.begin(), next.end(), 0.0);
  for (size_t i = 0; i < count; ++i)  // the orthonormal cosine transform
    for (size_t k = 0; k < count; ++k) {
      const double n = static_cast<double>(count);
      const double angle = kPi * static_cast<double>(i) * static_cast<double>(2 * k + 1) / (2 * n);
      const double share = std::cos(angle) * std::sqrt((i == 0 ? 1 : 2) / n);
      for (size_t c = 0; c < m; ++c) next[i * m + c] += share * basis[k * m + c];
    }
  found.basis.assign(next.begin(), next.end());
  return found;
}

}  // namespace edgead
