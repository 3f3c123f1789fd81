// The inner loops of both methods. Included once per instruction set by kernels.h, inside a namespace and a target
// pragma of its own, hence no include guard. (Function multi-versioning would not do: GCC splits vector-extension
// code of always-inline helpers for the baseline before it makes the versions.)

// Sixteen values as registers of this instruction set.
#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kParts = kLanes / kWidth;
typedef float Part __attribute__((vector_size(4 * kWidth), may_alias));
typedef int32_t IntPart __attribute__((vector_size(4 * kWidth), may_alias));

struct Reg {
  Part part[kParts];
};
struct IntReg {
  IntPart part[kParts];
};

MAE3D_INLINE Reg load(const void* from) {
  Reg r;
  for (int i = 0; i < kParts; ++i) r.part[i] = static_cast<const Part*>(from)[i];
  return r;
}
MAE3D_INLINE void store(void* to, const Reg& r) {
  for (int i = 0; i < kParts; ++i) static_cast<Part*>(to)[i] = r.part[i];
}

#define MAE3D_EACH(Result, expression)                       \
  Result r;                                                  \
  for (int i = 0; i < kParts; ++i) r.part[i] = (expression); \
  return r

MAE3D_INLINE Reg broadcast(float v) { MAE3D_EACH(Reg, v - Part{}); }
MAE3D_INLINE Reg operator+(const Reg& a, const Reg& b) { MAE3D_EACH(Reg, a.part[i] + b.part[i]); }
MAE3D_INLINE Reg operator-(const Reg& a, const Reg& b) { MAE3D_EACH(Reg, a.part[i] - b.part[i]); }
MAE3D_INLINE Reg operator*(const Reg& a, const Reg& b) { MAE3D_EACH(Reg, a.part[i] * b.part[i]); }
MAE3D_INLINE IntReg operator<(const Reg& a, const Reg& b) { MAE3D_EACH(IntReg, a.part[i] < b.part[i]); }
MAE3D_INLINE IntReg operator==(const Reg& a, const Reg& b) { MAE3D_EACH(IntReg, a.part[i] == b.part[i]); }
// b where a is NaN.
MAE3D_INLINE Reg minimum(const Reg& a, const Reg& b) {
  MAE3D_EACH(Reg, a.part[i] < b.part[i] ? a.part[i] : b.part[i]);
}
MAE3D_INLINE Reg maximum(const Reg& a, const Reg& b) {
  MAE3D_EACH(Reg, a.part[i] > b.part[i] ? a.part[i] : b.part[i]);
}
// `label` in the lanes where `value` exceeds `best`, which becomes the larger of both.
MAE3D_INLINE void keep_larger(Reg& best, IntReg& best_label, const Reg& value, int32_t label) {
  for (int i = 0; i < kParts; ++i) {
    best_label.part[i] = value.part[i] > best.part[i] ? label - IntPart{} : best_label.part[i];
    best.part[i] = value.part[i] > best.part[i] ? value.part[i] : best.part[i];
  }
}
#undef MAE3D_EACH

// The rounding order of mae3d::squared_distance.
MAE3D_INLINE Reg squared_length(const Reg& dx, const Reg& dy, const Reg& dz) { return (dx * dx + dy * dy) + dz * dz; }

// Bit i is set where lane i of a comparison is true.
MAE3D_INLINE uint32_t bits(const IntReg& mask) {
  typedef int8_t Bytes __attribute__((vector_size(kWidth)));
  int8_t bytes[kLanes];
  for (int i = 0; i < kParts; ++i) {
    const Bytes narrow = __builtin_convertvector(mask.part[i], Bytes);
    std::memcpy(bytes + i * kWidth, &narrow, sizeof narrow);
  }
  uint64_t half[2];
  std::memcpy(half, bytes, sizeof half);
  constexpr uint64_t ones = 0x0101010101010101, gather = 0x0102040810204080;
  return static_cast<uint32_t>(((half[0] & ones) * gather >> 56) | (((half[1] & ones) * gather >> 56) << 8));
}

MAE3D_INLINE float largest(const Reg& v) {
  Part top = v.part[0];
  for (int i = 1; i < kParts; ++i) top = top > v.part[i] ? top : v.part[i];
  float lane[kWidth];
  std::memcpy(lane, &top, sizeof lane);
  for (int n = kWidth / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) lane[i] = lane[i] > lane[i + n] ? lane[i] : lane[i + n];
  return lane[0];
}

// Smallest of `keys` among the lanes of `chosen` (at least one bit set).
MAE3D_INLINE int32_t smallest_key(const void* keys, uint32_t chosen) {
  int32_t key[kLanes];
  std::memcpy(key, keys, sizeof key);
  int32_t smallest = key[__builtin_ctz(chosen)];
  for (chosen &= chosen - 1; chosen; chosen &= chosen - 1) {
    const int32_t other = key[__builtin_ctz(chosen)];
    smallest = other < smallest ? other : smallest;
  }
  return smallest;
}

// Smallest label * 16 + lane among the lanes of `chosen` (at least one bit set).
MAE3D_INLINE int32_t first_place(const IntReg& label, uint32_t chosen) {
  IntReg place;
  for (int i = 0; i < kParts; ++i) {
    IntPart lane;
    for (int l = 0; l < kWidth; ++l) lane[l] = i * kWidth + l;
    place.part[i] = label.part[i] * static_cast<int32_t>(kLanes) + lane;
  }
  return smallest_key(&place, chosen);
}

// ---- brute force

// Lowers every distance by the point (px, py, pz); returns the index of the largest, -1 where no candidate is.
MAE3D_INLINE int64_t update(const Arrays a, float px, float py, float pz) {
  const Reg x = broadcast(px), y = broadcast(py), z = broadcast(pz);
  Reg best = broadcast(-1.0f);
  IntReg best_block = {};
  for (int64_t begin = 0; begin < a.padded; begin += kBlock) {
    Reg top = broadcast(-1.0f);
    for (int64_t i = begin; i < begin + kBlock; i += kLanes) {
      const Reg d = squared_length(load(a.x + i) - x, load(a.y + i) - y, load(a.z + i) - z);
      const Reg lower = minimum(d, load(a.distance + i));
      store(a.distance + i, lower);
      top = maximum(lower, top);
    }
    keep_larger(best, best_block, top, static_cast<int32_t>(begin / kBlock));
  }
  const float value = largest(best);
  if (value < 0.0f) return -1;
  int64_t i = first_place(best_block, bits(best == broadcast(value))) / kLanes * kBlock;
  for (;; i += kLanes) {
    const uint32_t equal = bits(load(a.distance + i) == broadcast(value));
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
  Reg lanes[3];  // the same, once per lane
};

// Squared distance from the pick to each of sixteen boxes, 0 inside.
MAE3D_INLINE Reg squared_distance_to(const Boxes& boxes, const Pick& p) {
  Reg d[3];
  for (int a = 0; a < 3; ++a)
    d[a] = maximum(maximum(load(boxes.low + a) - p.lanes[a], p.lanes[a] - load(boxes.high + a)), broadcast(0.0f));
  return squared_length(d[0], d[1], d[2]);
}

MAE3D_INLINE Reg squared_distance_to(const Lanes* position, const Pick& p) {
  return squared_length(load(position) - p.lanes[0], load(position + 1) - p.lanes[1], load(position + 2) - p.lanes[2]);
}

// Applies all waiting picks to the points of one bucket and finds its farthest point again.
MAE3D_INLINE void refresh(Group& group, int lane, Chunk* chunks, const int32_t* index) {
  const int32_t first = group.first_chunk[lane], last = group.last_chunk[lane], picks = group.waiting[lane];
  Reg best = broadcast(-1.0f);
  IntReg best_chunk = {};
  for (int32_t c = first; c < last; ++c) {
    Chunk& chunk = chunks[c];
    const Reg x = load(chunk.position), y = load(chunk.position + 1), z = load(chunk.position + 2);
    Reg distance = load(&chunk.distance);
    for (int32_t i = 0; i < picks; ++i) {
      const float* pick = group.queue[lane][i];
      distance = minimum(squared_length(x - broadcast(pick[0]), y - broadcast(pick[1]), z - broadcast(pick[2])),
                         distance);
    }
    store(&chunk.distance, distance);
    keep_larger(best, best_chunk, distance, c);
  }
  const float value = largest(best);
  const int32_t place = first_place(best_chunk, bits(best == broadcast(value)));
  const Chunk& chunk = chunks[place / kLanes];
  for (int a = 0; a < 3; ++a) group.far_position[a][lane] = chunk.position[a][place % kLanes];
  group.distance[lane] = value;
  group.far_index[lane] = index[place];
  group.waiting[lane] = 0;
}

// Offers the pick to sixteen buckets; true if the farthest point of one of them changed.
MAE3D_INLINE bool visit(Group& group, const Pick& pick, Chunk* chunks, const int32_t* index) {
  uint32_t near = bits(squared_distance_to(group.boxes, pick) < load(&group.distance));
  const uint32_t hit = bits(squared_distance_to(group.far_position, pick) < load(&group.distance)) & near;
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
  uint32_t near = bits(squared_distance_to(block.boxes, pick) < load(&block.distance));
  for (; near; near &= near - 1) {
    const int lane = __builtin_ctz(near);
    Group& group = groups[lane];
    if (!visit(group, pick, chunks, index)) continue;
    const float value = largest(load(&group.distance));
    block.distance[lane] = value;
    block.far_index[lane] = smallest_key(&group.far_index, bits(load(&group.distance) == broadcast(value)));
  }
}

// Row of the cloud of the farthest point, the lowest of several; -1 where there is no candidate.
MAE3D_INLINE int64_t farthest(const GroupBlock* blocks, int64_t block_count) {
  Reg best = broadcast(-1.0f);
  for (int64_t b = 0; b < block_count; ++b) best = maximum(load(&blocks[b].distance), best);
  const float value = largest(best);
  if (value < 0.0f) return -1;
  int32_t row = std::numeric_limits<int32_t>::max();
  for (int64_t b = 0; b < block_count; ++b) {
    const uint32_t equal = bits(load(&blocks[b].distance) == broadcast(value));
    if (equal) row = std::min(row, smallest_key(&blocks[b].far_index, equal));
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
