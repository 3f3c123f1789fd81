#include "search.h"

#include "common/grid.h"
#include "common/parallel.h"
#include "common/select.h"

namespace mae3d {
namespace {

constexpr int64_t kFlatPoints = 512;   // clouds up to this size are scanned whole
constexpr int64_t kFlatQueries = 16;   // so are clouds with so few queries
constexpr int64_t kChunk = 256;        // queries per task

struct Query {
  MAE3D_INLINE void set(const float* p) {
    for (int a = 0; a < 3; ++a) position[a] = p[a];
  }
  // Bits of the squared distances to sixteen points; the mask keeps the NaN of unused places above every limit.
  MAE3D_INLINE IntLanes distances(const Blocks& blocks, int64_t at) const {
    const Lanes d = squared_length(load(&blocks.xyz[0][at]) - broadcast(position[0]),
                                   load(&blocks.xyz[1][at]) - broadcast(position[1]),
                                   load(&blocks.xyz[2][at]) - broadcast(position[2]));
    return __builtin_bit_cast(IntLanes, d) & broadcast(std::numeric_limits<int32_t>::max());
  }
  float position[3];
};

// The k nearest within the limit.
struct Nearest {
  MAE3D_INLINE void start(const float* position, int wanted, float limit) {
    if (limit < 0) return best.start(wanted, -1);
    best.start(wanted, std::bit_cast<int32_t>(bound(position, wanted, limit)));
    query.set(position);
  }
  // The last query's k neighbours are within reach of this one: the triangle inequality, with room for rounding.
  MAE3D_INLINE float bound(const float* p, int wanted, float limit) const {
    if (known < wanted) return limit;
    const float* q = query.position;
    const float way = std::sqrt(squared_distance(p[0], p[1], p[2], q[0], q[1], q[2])) + std::sqrt(farthest);
    return std::min(limit, way * way * 1.00001f + 1e-37f);
  }
  MAE3D_INLINE int finish() {
    known = best.finish();
    if (known > 0) farthest = std::bit_cast<float>(best.keys[known - 1]);
    return known;
  }
  MAE3D_INLINE int32_t reach() const { return best.limit; }
  MAE3D_INLINE bool done() const { return false; }
  // Whether a box within reach can still be left out: it holds only ties that come too late.
  MAE3D_INLINE bool skips(const Boxes& boxes, int32_t box) const {
    if (!best.flooded()) return false;
    const int32_t d = std::bit_cast<int32_t>(boxes.distance(box, query.position));
    return d > best.limit || (d == best.limit && boxes.first_id[box] > best.last_id);
  }
  MAE3D_INLINE void scan(const Blocks& blocks, int64_t at) {
    const IntLanes keys[2] = {query.distances(blocks, at), query.distances(blocks, at + kLanes)};
    best.add(keys, &blocks.ids[at]);
  }
  MAE3D_INLINE const float* distances(const float*, int found) {
    std::memcpy(out, best.keys, found * sizeof(float));
    return out;
  }
  Query query;
  Selector best;
  int known = 0;  // neighbours of the last query, the last of them at squared distance `farthest`
  float farthest = 0, out[Selector::kMaxK];
};

// The k of lowest index within the limit.
struct First {
  MAE3D_INLINE void start(const float* position, int wanted, float limit) {
    within = limit < 0 ? -1 : std::bit_cast<int32_t>(limit);
    best.start(wanted, Selector::kNone - 1);
    query.set(position);
  }
  MAE3D_INLINE int finish() { return best.finish(); }
  MAE3D_INLINE int32_t reach() const { return within; }
  MAE3D_INLINE bool done() const { return best.full(); }  // of blocks in index order
  MAE3D_INLINE bool skips(const Boxes& boxes, int32_t box) const { return boxes.first_id[box] > best.limit; }
  MAE3D_INLINE void scan(const Blocks& blocks, int64_t at) {
    IntLanes keys[2];
    for (int h = 0; h < 2; ++h)
      keys[h] = query.distances(blocks, at + h * kLanes) <= broadcast(within) ? load(&blocks.ids[at + h * kLanes])
                                                                              : broadcast(Selector::kNone);
    best.add(keys, &blocks.ids[at]);
  }
  MAE3D_INLINE const float* distances(const float* points, int found) {
    const float* q = query.position;
    for (int i = 0; i < found; ++i) {
      const float* p = points + 3 * static_cast<int64_t>(best.ids[i]);
      out[i] = squared_distance(p[0], p[1], p[2], q[0], q[1], q[2]);
    }
    return out;
  }
  Query query;
  int32_t within;
  Selector best;
  float out[Selector::kMaxK];
};

// One level of the walk: the boxes of one group, taken nearest first. A key is the distance's bits with the box's number
// in the last four, so the distance is rounded down: still a lower bound.
struct Frame {
  MAE3D_INLINE void open(const Boxes& boxes, int level_, int32_t group, const float q[3]) {
    level = level_, base = group * kFanout;
    Lanes side[3];
    for (int a = 0; a < 3; ++a) {
      const Lanes at = broadcast(q[a]);
      side[a] = maximum(maximum(load(&boxes.low[a][base]) - at, at - load(&boxes.high[a][base])), broadcast(0.0f));
    }
    const IntLanes number{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    keys = (__builtin_bit_cast(IntLanes, squared_length(side[0], side[1], side[2])) & ~broadcast(kFanout - 1)) | number;
  }
  // The nearest box left, or -1 if none is within reach.
  MAE3D_INLINE int32_t take(int32_t reach) {
    const int32_t key = smallest(keys);
    if ((key & ~(kFanout - 1)) > reach) return -1;
    keys = keys == broadcast(key) ? broadcast(Selector::kNone) : keys;
    return base + (key & (kFanout - 1));
  }
  IntLanes keys;
  int32_t base;
  int level;
};

template <typename Policy> MAE3D_INLINE void scan_all(const Blocks& blocks, Policy& policy) {
  for (size_t block = 0; block < blocks.count && !policy.done(); ++block) policy.scan(blocks, block * kBlock);
}

template <typename Policy> MAE3D_INLINE void walk(const Grid& grid, Policy& policy) {
  Frame stack[10];  // groups are at least half full: 8^10 boxes are more than 2^31 points need
  int depth = 0;
  stack[0].open(grid.levels.back(), static_cast<int>(grid.levels.size()) - 1, 0, policy.query.position);
  while (depth >= 0) {
    Frame& frame = stack[depth];
    const int32_t box = frame.take(policy.reach());
    if (box < 0) {
      --depth;
      continue;
    }
    const Boxes& boxes = grid.levels[frame.level];
    if (policy.skips(boxes, box)) continue;
    if (frame.level == 0) {
      policy.scan(grid.blocks, static_cast<int64_t>(boxes.child[box]) * kBlock);
    } else {
      stack[++depth].open(grid.levels[frame.level - 1], frame.level - 1, boxes.child[box], policy.query.position);
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
      found = policy.finish();
    }
    write_row(job, job.first_row + query, found, policy.best.ids, policy.distances(job.points, found));
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
