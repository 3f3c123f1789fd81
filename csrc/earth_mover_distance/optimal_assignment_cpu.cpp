// Linear assignment by shortest augmenting paths (Jonker and Volgenant, "A Shortest Augmenting Path Algorithm for Dense
// and Sparse Linear Assignment Problems", Computing 38, 1987): column reduction, augmenting row reduction, then one
// shortest path per row still free. Costs and prices in double.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../common/parallel.h"
#include "../common/simd.h"
#include "earth_mover_distance.h"

namespace mae3d {
namespace {

constexpr int64_t kLanes = 8;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Problem {
  int64_t size = 0, width = 0;  // width: columns padded to whole vectors, at infinite cost
  std::vector<double> cost;     // [size, width]
  std::vector<double> price;    // of columns
  std::vector<int64_t> column_of, row_of;

  const double* row(int64_t i) const { return cost.data() + i * width; }
};

MAE3D_SIMD void fill_row(const double* from, const double* x, const double* y, const double* z, int64_t n,
                         double* row) {
  const double px = from[0], py = from[1], pz = from[2];
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const double dx = px - x[j], dy = py - y[j], dz = pz - z[j];
    row[j] = std::sqrt((dx * dx + dy * dy) + dz * dz);
  }
}

void build(const double* a, const double* b, int64_t n, Problem& p) {
  p.size = n;
  p.width = (n + kLanes - 1) / kLanes * kLanes;
  p.cost.assign(p.size * p.width, kInfinity);
  std::vector<double> x(n), y(n), z(n);
  for (int64_t j = 0; j < n; ++j) x[j] = b[3 * j], y[j] = b[3 * j + 1], z[j] = b[3 * j + 2];
  for (int64_t i = 0; i < n; ++i) fill_row(a + 3 * i, x.data(), y.data(), z.data(), n, p.cost.data() + i * p.width);
  p.price.assign(p.width, 0.0);
  p.column_of.assign(n, -1);
  p.row_of.assign(p.width, -1);
}

// Price of a column: its least cost; its row takes it if the row is free.
void column_reduction(Problem& p) {
  std::vector<int64_t> cheapest(p.size, 0);
  std::copy(p.row(0), p.row(0) + p.size, p.price.begin());
  for (int64_t i = 1; i < p.size; ++i)
    for (int64_t j = 0; j < p.size; ++j)
      if (p.row(i)[j] < p.price[j]) p.price[j] = p.row(i)[j], cheapest[j] = i;
  for (int64_t j = 0; j < p.size; ++j) {
    if (p.column_of[cheapest[j]] >= 0) continue;
    p.column_of[cheapest[j]] = j;
    p.row_of[j] = cheapest[j];
  }
}

struct TwoBest {
  double first, second;
  int64_t column;
};

MAE3D_SIMD TwoBest two_best(const double* row, const double* price, int64_t width) {
  double first[kLanes], second[kLanes];
  int64_t column[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) first[l] = second[l] = kInfinity, column[l] = 0;
  for (int64_t j = 0; j < width; j += kLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) {
      const double reduced = row[j + l] - price[j + l];
      const bool best = reduced < first[l];
      const double loser = best ? first[l] : reduced;
      second[l] = loser < second[l] ? loser : second[l];
      column[l] = best ? j + l : column[l];
      first[l] = best ? reduced : first[l];
    }
  }
  TwoBest result{first[0], second[0], column[0]};
  for (int64_t l = 1; l < kLanes; ++l) {
    const bool best = first[l] < result.first || (first[l] == result.first && column[l] < result.column);
    result.second = std::min({result.second, second[l], best ? result.first : first[l]});
    if (best) result.first = first[l], result.column = column[l];
  }
  return result;
}

// A free row takes its best column and lowers that price to its second best; the row that loses it goes next. Prices
// stay feasible after every step, so the bound on steps, which ends cycles of equal costs, costs no exactness.
void augmenting_row_reduction(Problem& p) {
  std::vector<int64_t> queue;
  for (int64_t i = 0; i < p.size; ++i)
    if (p.column_of[i] < 0) queue.push_back(i);
  for (int64_t next = 0, steps = 0; next < static_cast<int64_t>(queue.size()) && steps < 4 * p.size; ++steps) {
    const int64_t i = queue[next++];
    const TwoBest best = two_best(p.row(i), p.price.data(), p.width);
    const int64_t loser = p.row_of[best.column];
    if (loser >= 0 && !(best.first < best.second)) continue;  // nothing gained: left to a path
    if (best.second < kInfinity) p.price[best.column] -= best.second - best.first;
    p.column_of[i] = best.column;
    p.row_of[best.column] = i;
    if (loser < 0) continue;
    p.column_of[loser] = -1;
    queue.push_back(loser);
  }
}

struct Path {
  std::vector<double> reach;        // shortest distance to a column, -inf once the column is settled
  std::vector<int64_t> from;        // row before the column
  std::vector<int64_t> settled;     // columns, in order
  std::vector<double> settled_at;
};

struct Nearest {
  double distance;
  int64_t column;
};

// Relaxes all columns from one row and returns the nearest that is not settled.
MAE3D_SIMD Nearest relax(const double* row, const double* price, int64_t width, double offset, int64_t i, double* reach,
                         int64_t* from) {
  double least[kLanes];
  int64_t column[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) least[l] = kInfinity, column[l] = -1;
  for (int64_t j = 0; j < width; j += kLanes) {
#pragma omp simd
    for (int64_t l = 0; l < kLanes; ++l) {
      const double distance = (row[j + l] - price[j + l]) + offset, old = reach[j + l];
      const int64_t take = -static_cast<int64_t>(distance < old);
      const double now = distance < old ? distance : old;
      from[j + l] = (from[j + l] & ~take) | (i & take);
      reach[j + l] = now;
      const double open = now > -kInfinity ? now : kInfinity;
      const int64_t nearer = -static_cast<int64_t>(open < least[l]);
      column[l] = (column[l] & ~nearer) | ((j + l) & nearer);
      least[l] = open < least[l] ? open : least[l];
    }
  }
  Nearest best{least[0], column[0]};
  for (int64_t l = 1; l < kLanes; ++l)
    if (least[l] < best.distance || (least[l] == best.distance && column[l] < best.column))
      best = {least[l], column[l]};
  return best;
}

void augment(Problem& p, int64_t free_row, Path& path) {
  path.reach.assign(p.width, kInfinity);
  path.from.assign(p.width, free_row);
  path.settled.clear();
  path.settled_at.clear();
  Nearest next = relax(p.row(free_row), p.price.data(), p.width, 0.0, free_row, path.reach.data(), path.from.data());
  while (p.row_of[next.column] >= 0) {
    const int64_t j = next.column, i = p.row_of[j];
    path.settled.push_back(j);
    path.settled_at.push_back(next.distance);
    path.reach[j] = -kInfinity;
    const double offset = next.distance - (p.row(i)[j] - p.price[j]);
    next = relax(p.row(i), p.price.data(), p.width, offset, i, path.reach.data(), path.from.data());
  }
  for (size_t s = 0; s < path.settled.size(); ++s) p.price[path.settled[s]] += path.settled_at[s] - next.distance;
  for (int64_t j = next.column;;) {
    const int64_t i = path.from[j];
    p.row_of[j] = i;
    std::swap(j, p.column_of[i]);
    if (i == free_row) return;
  }
}

bool in_range(const double* points, int64_t values) {
  return std::all_of(points, points + values, [](double v) { return std::abs(v) <= earth_mover::kLargestCoordinate; });
}

void solve(const double* a, const double* b, int64_t n, Problem& p, int64_t* index) {
  build(a, b, n, p);
  column_reduction(p);
  augmenting_row_reduction(p);
  Path path;
  for (int64_t i = 0; i < n; ++i)
    if (p.column_of[i] < 0) augment(p, i, path);
  std::copy(p.column_of.begin(), p.column_of.end(), index);
}

}  // namespace

Tensor optimal_assignment_cpu(const Tensor a, const Tensor b) {
  const char* op = "optimal_assignment";
  earth_mover::check_sets(a, b, ScalarType::Double, op);
  const int64_t batch = a.size(0), n = a.size(1);
  check_size(b, 1, n, op, "b");
  MAE3D_CHECK(n <= 16384, op, ": at most 16384 points, got ", n, "; use method 'approximate'");
  const Tensor ca = as_contiguous(a), cb = as_contiguous(b);
  Tensor index = make_empty(a, {batch, n}, ScalarType::Long);
  if (n == 0) return index;
  const double *pa = cdata<double>(ca), *pb = cdata<double>(cb);
  int64_t* out = mdata<int64_t>(index);
  parallel_tasks(batch, [&](int64_t i) {
    if (!in_range(pa + 3 * n * i, 3 * n) || !in_range(pb + 3 * n * i, 3 * n)) {
      std::fill(out + n * i, out + n * (i + 1), -1);
      return;
    }
    Problem problem;
    solve(pa + 3 * n * i, pb + 3 * n * i, n, problem, out + n * i);
  });
  return index;
}

STABLE_TORCH_LIBRARY_IMPL(mae3d, CPU, m) { m.impl("optimal_assignment", TORCH_BOX(&optimal_assignment_cpu)); }

}  // namespace mae3d
