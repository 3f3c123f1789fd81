// The inner loops of both methods. Included once per instruction set by kernels.h, inside a namespace and a target
// pragma of its own, hence no include guard. (Function multi-versioning would not do: GCC splits vector-extension
// code of always-inline helpers for the baseline before it makes the versions.)

MAE3D_INLINE Lanes broadcast(float v) { return Lanes{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }
MAE3D_INLINE IntLanes broadcast(int32_t v) { return IntLanes{v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v}; }

MAE3D_INLINE Lanes minimum(Lanes a, Lanes b) { return a < b ? a : b; }  // b where a is NaN
MAE3D_INLINE Lanes maximum(Lanes a, Lanes b) { return a > b ? a : b; }

// The rounding order of mae3d::squared_distance.
MAE3D_INLINE Lanes squared_length(Lanes dx, Lanes dy, Lanes dz) { return (dx * dx + dy * dy) + dz * dz; }

// Bit i is set where lane i of a comparison is true.
MAE3D_INLINE uint32_t bits(IntLanes mask) {
  typedef int8_t Bytes __attribute__((vector_size(16)));
  const Bytes bytes = __builtin_convertvector(mask, Bytes);
  uint64_t half[2];
  std::memcpy(half, &bytes, sizeof half);
  constexpr uint64_t ones = 0x0101010101010101, gather = 0x0102040810204080;
  return static_cast<uint32_t>(((half[0] & ones) * gather >> 56) | (((half[1] & ones) * gather >> 56) << 8));
}

MAE3D_INLINE float largest(Lanes v) {
  v = maximum(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  v = maximum(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
  v = maximum(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
  v = maximum(v, __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0));
  return v[0];
}

// Smallest of `keys` among the lanes of `chosen` (at least one bit set).
MAE3D_INLINE int32_t smallest_key(IntLanes keys, uint32_t chosen) {
  int32_t key[kLanes];
  std::memcpy(key, &keys, sizeof key);
  int32_t smallest = key[__builtin_ctz(chosen)];
  for (chosen &= chosen - 1; chosen; chosen &= chosen - 1) {
    const int32_t other = key[__builtin_ctz(chosen)];
    smallest = other < smallest ? other : smallest;
  }
  return smallest;
}

// ---- brute force

// Lowers every distance by the point (px, py, pz); returns the index of the largest, -1 where no candidate is.
MAE3D_INLINE int64_t update(const Arrays a, float px, float py, float pz) {
  const Lanes x = broadcast(px), y = broadcast(py), z = broadcast(pz);
  Lanes best = broadcast(-1.0f);
  IntLanes best_block = broadcast(0);
  for (int64_t begin = 0; begin < a.padded; begin += kBlock) {
    Lanes top = broadcast(-1.0f);
    for (int64_t i = begin; i < begin + kBlock; i += kLanes) {
      Lanes& distance = *reinterpret_cast<Lanes*>(a.distance + i);
      const Lanes d = squared_length(*reinterpret_cast<Lanes*>(a.x + i) - x, *reinterpret_cast<Lanes*>(a.y + i) - y,
                                     *reinterpret_cast<Lanes*>(a.z + i) - z);
      const Lanes lower = minimum(d, distance);
      distance = lower;
      top = maximum(lower, top);
    }
    const IntLanes better = top > best;
    best = better ? top : best;
    best_block = better ? broadcast(static_cast<int32_t>(begin / kBlock)) : best_block;
  }
  const float value = largest(best);
  if (value < 0.0f) return -1;
  int64_t i = smallest_key(best_block, bits(best == broadcast(value))) * kBlock;
  for (;; i += kLanes) {
    const uint32_t equal = bits(*reinterpret_cast<Lanes*>(a.distance + i) == broadcast(value));
    if (equal) return i + __builtin_ctz(equal);
  }
}

inline void run_brute_force(const Request& r, const Arrays a) {
  int64_t current = r.start;
  for (int64_t s = 0; s < r.samples; ++s) {
    r.out[s] = r.base + current;
    if (s + 1 == r.samples) return;
    const float* p = r.points + 3 * current;
    const int64_t next = update(a, p[0], p[1], p[2]);
    current = next < 0 ? r.start : next;
  }
}

// ---- buckets

struct Pick {
  float position[3];
  Lanes lanes[3];  // the same, once per lane
};

// Squared distance from the pick to each of sixteen boxes, 0 inside.
MAE3D_INLINE Lanes squared_distance_to(const Boxes& boxes, const Pick& p) {
  Lanes d[3];
  for (int a = 0; a < 3; ++a)
    d[a] = maximum(maximum(boxes.low[a] - p.lanes[a], p.lanes[a] - boxes.high[a]), broadcast(0.0f));
  return squared_length(d[0], d[1], d[2]);
}

MAE3D_INLINE Lanes squared_distance_to(const Lanes* position, const Pick& p) {
  return squared_length(position[0] - p.lanes[0], position[1] - p.lanes[1], position[2] - p.lanes[2]);
}

// Applies all waiting picks to the points of one bucket and finds its farthest point again.
MAE3D_INLINE void refresh(Group& group, int lane, Chunk* chunks, const int32_t* index) {
  const int32_t first = group.first_chunk[lane], last = group.last_chunk[lane], picks = group.waiting[lane];
  Lanes best = broadcast(-1.0f);
  IntLanes best_chunk = broadcast(0);
  for (int32_t c = first; c < last; ++c) {
    Chunk& chunk = chunks[c];
    const Lanes x = chunk.position[0], y = chunk.position[1], z = chunk.position[2];
    Lanes distance = chunk.distance;
    for (int32_t i = 0; i < picks; ++i) {
      const float* pick = group.queue[lane][i];
      distance = minimum(squared_length(x - broadcast(pick[0]), y - broadcast(pick[1]), z - broadcast(pick[2])),
                         distance);
    }
    chunk.distance = distance;
    const IntLanes better = distance > best;
    best = better ? distance : best;
    best_chunk = better ? broadcast(c) : best_chunk;
  }
  const float value = largest(best);
  const IntLanes lane_number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const int32_t place = smallest_key(best_chunk * broadcast(int32_t(kLanes)) + lane_number,
                                     bits(best == broadcast(value)));
  const Chunk& chunk = chunks[place / kLanes];
  for (int a = 0; a < 3; ++a) group.far_position[a][lane] = chunk.position[a][place % kLanes];
  group.distance[lane] = value;
  group.far_index[lane] = index[place];
  group.waiting[lane] = 0;
}

// Offers the pick to sixteen buckets; true if the farthest point of one of them changed.
MAE3D_INLINE bool visit(Group& group, const Pick& pick, Chunk* chunks, const int32_t* index) {
  uint32_t near = bits(squared_distance_to(group.boxes, pick) < group.distance);
  const uint32_t hit = bits(squared_distance_to(group.far_position, pick) < group.distance) & near;
  for (; near; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    int32_t& waiting = group.waiting[lane];
    std::memcpy(group.queue[lane][waiting], pick.position, sizeof pick.position);
    ++waiting;
    if (waiting == kWaiting || (hit >> lane & 1)) refresh(group, lane, chunks, index);
  }
  return hit != 0;
}

// Offers the pick to every group of a block.
MAE3D_INLINE void visit(GroupBlock& block, Group* groups, const Pick& pick, Chunk* chunks, const int32_t* index) {
  uint32_t near = bits(squared_distance_to(block.boxes, pick) < block.distance);
  for (; near; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    Group& group = groups[lane];
    if (!visit(group, pick, chunks, index)) continue;
    const float value = largest(group.distance);
    block.distance[lane] = value;
    block.far_index[lane] = smallest_key(group.far_index, bits(group.distance == broadcast(value)));
  }
}

// Row of the cloud of the farthest point, the lowest of several; -1 where there is no candidate.
MAE3D_INLINE int64_t farthest(const GroupBlock* blocks, int64_t block_count) {
  Lanes best = broadcast(-1.0f);
  for (int64_t b = 0; b < block_count; ++b) best = maximum(blocks[b].distance, best);
  const float value = largest(best);
  if (value < 0.0f) return -1;
  int32_t row = std::numeric_limits<int32_t>::max();
  for (int64_t b = 0; b < block_count; ++b) {
    const uint32_t equal = bits(blocks[b].distance == broadcast(value));
    if (equal) row = std::min(row, smallest_key(blocks[b].far_index, equal));
  }
  return row;
}

inline void run_buckets(const Request& r, const BucketTree& tree) {
  int64_t current = r.start;
  for (int64_t s = 0; s < r.samples; ++s) {
    r.out[s] = r.base + current;
    if (s + 1 == r.samples) return;
    Pick pick;
    for (int a = 0; a < 3; ++a) pick.lanes[a] = broadcast(pick.position[a] = r.points[3 * current + a]);
    for (int64_t b = 0; b < tree.block_count; ++b)
      visit(tree.blocks[b], tree.groups + b * kLanes, pick, tree.chunks, tree.index);
    const int64_t next = farthest(tree.blocks, tree.block_count);
    current = next < 0 ? r.start : next;
  }
}
