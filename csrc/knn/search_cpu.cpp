#include "search.h"

#include "common/grid.h"
#include "common/parallel.h"
#include "common/select.h"

namespace mae3d {
namespace {

constexpr int64_t kFlatPoints = 512;   // clouds up to this size are scanned whole
constexpr int64_t kFlatQueries = 16;   // so are clouds with so few queries
constexpr int64_t kChunk = 256;        // queries per task

// The k nearest within the limit.
struct Nearest {
  using Key = float;
  MAE3D_INLINE void start(const float* query, int k, float limit) {
    q[0] = query[0], q[1] = query[1], q[2] = query[2];
    best.start(k, limit);
  }
  MAE3D_INLINE float reach() const { return best.limit; }
  MAE3D_INLINE bool done() const { return false; }
  // Whether a box within reach can still be left out: it holds only ties that come too late.
  MAE3D_INLINE bool skips(const Boxes& boxes, int32_t box) const {
    return best.flooded() && best.beyond(boxes.distance(box, q), boxes.first_id[box]);
  }
  MAE3D_INLINE void scan(const float* x, const float* y, const float* z, const int32_t* ids) {
    float key[kBlock];
    for (int i = 0; i < kBlock; ++i) key[i] = squared_distance(x[i], y[i], z[i], q[0], q[1], q[2]);
    best.add(key, ids);
  }
  float q[3];
  Selector<float> best;
};

// The k of lowest index within the limit.
struct First {
  using Key = int32_t;
  MAE3D_INLINE void start(const float* query, int k, float limit) {
    q[0] = query[0], q[1] = query[1], q[2] = query[2], within = limit;
    best.start(k, kNone - 1);
  }
  MAE3D_INLINE float reach() const { return within; }
  MAE3D_INLINE bool done() const { return best.full(); }  // of blocks in index order
  MAE3D_INLINE bool skips(const Boxes& boxes, int32_t box) const { return boxes.first_id[box] > best.limit; }
  MAE3D_INLINE void scan(const float* x, const float* y, const float* z, const int32_t* ids) {
    int32_t key[kBlock];
    for (int i = 0; i < kBlock; ++i)
      key[i] = squared_distance(x[i], y[i], z[i], q[0], q[1], q[2]) <= within ? ids[i] : kNone;
    best.add(key, ids);
  }
  static constexpr int32_t kNone = std::numeric_limits<int32_t>::max();
  float q[3], within, distances[Selector<int32_t>::kMaxK];
  Selector<int32_t> best;
};

// One level of the walk: the boxes of one parent, nearest first. A key is the distance's bits with the box's number in
// the last four, so the distance is rounded down: still a lower bound.
struct Frame {
  MAE3D_INLINE void open(const Boxes& boxes, int level_, int32_t parent, const float q[3]) {
    level = level_, base = parent * kFanout, next = 0;
    const float *lx = &boxes.low[0][base], *ly = &boxes.low[1][base], *lz = &boxes.low[2][base];
    const float *hx = &boxes.high[0][base], *hy = &boxes.high[1][base], *hz = &boxes.high[2][base];
    int32_t key[kFanout], rank[kFanout];
    for (int i = 0; i < kFanout; ++i) {
      const float dx = std::max(std::max(lx[i] - q[0], q[0] - hx[i]), 0.0f);
      const float dy = std::max(std::max(ly[i] - q[1], q[1] - hy[i]), 0.0f);
      const float dz = std::max(std::max(lz[i] - q[2], q[2] - hz[i]), 0.0f);
      key[i] = (__builtin_bit_cast(int32_t, (dx * dx + dy * dy) + dz * dz) & ~(kFanout - 1)) | i;
      rank[i] = 0;
    }
    for (int j = 0; j < kFanout; ++j)
      for (int i = 0; i < kFanout; ++i) rank[i] += key[j] < key[i];
    for (int i = 0; i < kFanout; ++i) sorted[rank[i]] = key[i];
  }
  MAE3D_INLINE bool within(float reach) const {
    return next < kFanout && __builtin_bit_cast(float, sorted[next] & ~(kFanout - 1)) <= reach;
  }
  MAE3D_INLINE int32_t take() { return base + (sorted[next++] & (kFanout - 1)); }
  int32_t sorted[kFanout], base;
  int level, next;
};

template <typename Policy> MAE3D_INLINE void scan_block(const Blocks& blocks, int64_t block, Policy& policy) {
  const int64_t at = block * kBlock;
  policy.scan(&blocks.xyz[0][at], &blocks.xyz[1][at], &blocks.xyz[2][at], &blocks.ids[at]);
}

template <typename Policy> MAE3D_INLINE void scan_all(const Blocks& blocks, Policy& policy) {
  for (size_t block = 0; block < blocks.count && !policy.done(); ++block) scan_block(blocks, block, policy);
}

template <typename Policy> MAE3D_INLINE void walk(const Grid& grid, Policy& policy) {
  Frame stack[8];  // 16^8 boxes are more than 2^31 points need
  int depth = 0;
  stack[0].open(grid.levels.back(), static_cast<int>(grid.levels.size()) - 1, 0, policy.q);
  while (depth >= 0) {
    Frame& frame = stack[depth];
    if (!frame.within(policy.reach())) {
      --depth;
      continue;
    }
    const int level = frame.level;
    const int32_t box = frame.take();
    if (policy.skips(grid.levels[level], box)) continue;
    if (level == 0) {
      scan_block(grid.blocks, box, policy);
    } else {
      stack[++depth].open(grid.levels[level - 1], level - 1, box, policy.q);
    }
  }
}

// One cloud with its queries.
struct Job {
  const float *points, *queries;
  int64_t query_count, first_row;  // first_row: of the queries in the results
  int64_t index_shift;             // from positions in the cloud to result indices
  int k;
  float limit;
  SearchResult result;
};

inline void write_row(const Job& job, int64_t row, int found, const int32_t* ids, const float* distances) {
  int64_t* indices = job.result.indices + row * job.k;
  float* out = job.result.distances + row * job.k;
  for (int i = 0; i < found; ++i) indices[i] = ids[i] + job.index_shift, out[i] = distances[i];
  const bool repeat = job.result.repeat_first && found > 0;
  for (int i = found; i < job.k; ++i) {
    indices[i] = repeat ? indices[0] : -1;
    out[i] = repeat ? out[0] : std::numeric_limits<float>::infinity();
  }
  if (job.result.counts) job.result.counts[row] = found;
}

MAE3D_INLINE const float* distances_of(const Job&, Nearest& policy, int) { return policy.best.keys; }

MAE3D_INLINE const float* distances_of(const Job& job, First& policy, int found) {
  for (int i = 0; i < found; ++i) {
    const float* p = job.points + 3 * static_cast<int64_t>(policy.best.ids[i]);
    policy.distances[i] = squared_distance(p[0], p[1], p[2], policy.q[0], policy.q[1], policy.q[2]);
  }
  return policy.distances;
}

// Queries order[begin..end), or begin..end where there is no order.
template <typename Policy>
MAE3D_INLINE void search_range(const Grid& grid, const Job& job, const int32_t* order, int64_t begin, int64_t end) {
  Policy policy;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t query = order ? order[i] : i;
    const float* q = job.queries + 3 * query;
    int found = 0;
    if (finite_point(q)) {
      policy.start(q, job.k, job.limit);
      if (grid.levels.empty()) {
        scan_all(grid.blocks, policy);
      } else {
        walk(grid, policy);
      }
      found = policy.best.finish();
    }
    write_row(job, job.first_row + query, found, policy.best.ids, distances_of(job, policy, found));
  }
}

MAE3D_SIMD void search_nearest(const Grid& grid, const Job& job, const int32_t* order, int64_t begin, int64_t end) {
  search_range<Nearest>(grid, job, order, begin, end);
}

MAE3D_SIMD void search_first(const Grid& grid, const Job& job, const int32_t* order, int64_t begin, int64_t end) {
  search_range<First>(grid, job, order, begin, end);
}

// Queries ordered by the grid's cells, so that neighbours in time are neighbours in memory.
std::vector<int32_t> order_queries(const CellCode& code, const float* queries, int64_t count) {
  int bits = 0;
  while (bits < code.total && (int64_t{1} << bits) < count) ++bits;
  const int drop = code.total - bits;
  std::vector<uint32_t> start((size_t{1} << bits) + 1), cell(count);
  for (int64_t i = 0; i < count; ++i) {
    cell[i] = finite_point(queries + 3 * i) ? code(queries + 3 * i) >> drop : 0;
    ++start[cell[i] + 1];
  }
  for (size_t c = 1; c < start.size(); ++c) start[c] += start[c - 1];
  std::vector<int32_t> order(count);
  for (int64_t i = 0; i < count; ++i) order[start[cell[i]]++] = static_cast<int32_t>(i);
  return order;
}

struct Cloud {
  void prepare(int64_t point_count, bool reorder) {
    if (point_count <= kFlatPoints || job.query_count <= kFlatQueries) {
      grid.build_flat(job.points, point_count);
      return;
    }
    grid.build(job.points, point_count);
    if (reorder) order = order_queries(grid.root, job.queries, job.query_count);
  }
  void search(bool first, int64_t begin, int64_t end) const {
    (first ? search_first : search_nearest)(grid, job, order.empty() ? nullptr : order.data(), begin, end);
  }
  Job job;
  Grid grid;
  std::vector<int32_t> order;
};

Job make_job(const CloudPair& pair, int64_t b, int64_t k, float limit, const SearchResult& result) {
  const int64_t p = pair.points.begin(b), q = pair.queries.begin(b);
  return {pair.points.xyz + 3 * p, pair.queries.xyz + 3 * q, pair.queries.size(b), q,
          pair.points.offsets ? p : 0, static_cast<int>(k),   limit,               result};
}

}  // namespace

void search_neighbours(const CloudPair& pair, int64_t k, float limit, bool first, const SearchResult& result,
                       const char* op) {
  const int64_t batch = pair.points.batch;
  for (int64_t b = 0; b < batch; ++b)
    MAE3D_CHECK(std::max(pair.points.size(b), pair.queries.size(b)) < kMaxPoints, op, ": cloud ", b,
                " has too many points, the most is ", kMaxPoints);
  if (batch >= 4 * num_threads()) {  // whole clouds keep both cores busy
    parallel_tasks(batch, [&](int64_t b) {
      Cloud cloud;
      cloud.job = make_job(pair, b, k, limit, result);
      cloud.prepare(pair.points.size(b), true);
      cloud.search(first, 0, cloud.job.query_count);
    });
    return;
  }
  std::vector<Cloud> clouds(batch);
  std::vector<std::pair<int64_t, int64_t>> chunks;  // (cloud, first query)
  for (int64_t b = 0; b < batch; ++b) {
    clouds[b].job = make_job(pair, b, k, limit, result);
    for (int64_t begin = 0; begin < clouds[b].job.query_count; begin += kChunk) chunks.emplace_back(b, begin);
  }
  parallel_tasks(batch, [&](int64_t b) { clouds[b].prepare(pair.points.size(b), true); });
  parallel_tasks(static_cast<int64_t>(chunks.size()), [&](int64_t c) {
    const auto [b, begin] = chunks[c];
    clouds[b].search(first, begin, std::min(begin + kChunk, clouds[b].job.query_count));
  });
}

}  // namespace mae3d
