// Register-tiled products over gathered rows. Included once per instruction set, inside a namespace that
// defines kBytes (vector width), kMaxVectors (columns of a tile, in vectors) and kTileRows[vectors].
//
// No packing of the left operand: a tile reads its rows through pointers and broadcasts one scalar at a time,
// so gathering costs nothing beyond the cache misses, which are prefetched one tile ahead.

template <typename T> struct Lanes;
template <> struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(kBytes), aligned(4), may_alias));
  static constexpr int count = kBytes / 4;
};
template <> struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(kBytes), aligned(8), may_alias));
  static constexpr int count = kBytes / 8;
};

template <typename T> MAE3D_INLINE typename Lanes<T>::Vector load(const T* p) {
  return *reinterpret_cast<const typename Lanes<T>::Vector*>(p);
}
template <typename T> MAE3D_INLINE void store(T* p, const typename Lanes<T>::Vector& v) {
  *reinterpret_cast<typename Lanes<T>::Vector*>(p) = v;
}
// Into the second-level cache: the first holds the rows in use.
template <typename T> MAE3D_INLINE void prefetch_row(const T* p, int64_t count) {
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(64 / sizeof(T))) __builtin_prefetch(p + i, 0, 2);
}

// result[out[r]] += rows[in[r]] * panel for R pairs; panel is [depth][N vectors].
template <typename T, int R, int N>
MAE3D_INLINE void gather_tile(const GatherGemm<T>& g, const int32_t* in, const int32_t* out, const T* panel, T* result) {
  using Vector = typename Lanes<T>::Vector;
  constexpr int L = Lanes<T>::count;
  const T* rows[R];
  Vector sum[R][N];
  for (int r = 0; r < R; ++r) rows[r] = g.features + static_cast<int64_t>(in[r]) * g.depth;
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) sum[r][v] = Vector{};
  for (int64_t c = 0; c < g.depth; ++c) {
    Vector column[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) column[v] = load<T>(panel + (c * N + v) * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T value = rows[r][c];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sum[r][v] += value * column[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    T* target = result + static_cast<int64_t>(out[r]) * g.result_stride;
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store<T>(target + v * L, load<T>(target + v * L) + sum[r][v]);
  }
}

// Rows of the tile that takes what a tile of `rows` left over: 8 and 6 -> 4 -> 2 -> 1.
constexpr int fewer_rows(int rows) { return rows > 4 ? 4 : rows / 2; }

template <typename T, int R, int N>
MAE3D_INLINE void gather_rows(const GatherGemm<T>& g, int64_t begin, const T* panel, T* result) {
  int64_t p = begin;
  for (; p + R <= g.pairs; p += R) {
    const int64_t ahead = p + 2 * R <= g.pairs ? p + R : p;
    for (int r = 0; r < R; ++r)
      prefetch_row(g.features + static_cast<int64_t>(g.in[ahead + r]) * g.depth, g.depth);
    gather_tile<T, R, N>(g, g.in + p, g.out + p, panel, result);
  }
  if constexpr (R > 1) gather_rows<T, fewer_rows(R), N>(g, p, panel, result);
}

template <typename T> void gather_gemm(const GatherGemm<T>& g) {
  constexpr int L = Lanes<T>::count;
  const T* panel = g.packed;
  int64_t vectors = g.result_stride / L;
  for (int64_t column = 0; vectors > 0; vectors -= kMaxVectors, column += kMaxVectors * L) {
    T* result = g.result + column;
    switch (vectors < kMaxVectors ? vectors : kMaxVectors) {
      case 1: gather_rows<T, kTileRows[1], 1>(g, 0, panel, result); break;
      case 2: gather_rows<T, kTileRows[2], 2>(g, 0, panel, result); break;
      case 3: if constexpr (kMaxVectors >= 3) gather_rows<T, kTileRows[3], 3>(g, 0, panel, result); break;
      default: if constexpr (kMaxVectors >= 4) gather_rows<T, kTileRows[4], 4>(g, 0, panel, result); break;
    }
    panel += g.depth * kMaxVectors * L;
  }
}

// sum[r][:] += left[in][r] * right[out][:] over a few pairs, for R rows and N vectors of one weight gradient.
template <typename T, int R, int N>
MAE3D_INLINE void outer_tile(const OuterGemm<T>& g, int64_t begin, int64_t end, int64_t row, int64_t column) {
  using Vector = typename Lanes<T>::Vector;
  constexpr int L = Lanes<T>::count;
  Vector sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) sum[r][v] = load<T>(g.result + (row + r) * g.columns + column + v * L);
  for (int64_t p = begin; p < end; ++p) {
    const T* left = g.left + static_cast<int64_t>(g.in[p]) * g.rows + row;
    const T* right = g.right + static_cast<int64_t>(g.out[p]) * g.columns + column;
    Vector value[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) value[v] = load<T>(right + v * L);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const T factor = left[r];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) sum[r][v] += factor * value[v];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store<T>(g.result + (row + r) * g.columns + column + v * L, sum[r][v]);
}

template <typename T, int R, int N>
MAE3D_INLINE void outer_rows(const OuterGemm<T>& g, int64_t begin, int64_t end, int64_t first, int64_t column) {
  int64_t row = first;
  for (; row + R <= g.rows; row += R) outer_tile<T, R, N>(g, begin, end, row, column);
  if constexpr (R > 1) outer_rows<T, fewer_rows(R), N>(g, begin, end, row, column);
}

template <typename T> void outer_gemm(const OuterGemm<T>& g) {
  constexpr int L = Lanes<T>::count;
  // The rows of one chunk of pairs stay in the first-level cache while all tiles of the result pass over them.
  const int64_t bytes = (g.rows + g.columns) * static_cast<int64_t>(sizeof(T));
  const int64_t chunk = std::max<int64_t>(16, 12288 / std::max<int64_t>(bytes, 1));
  for (int64_t begin = 0; begin < g.pairs; begin += chunk) {
    const int64_t end = std::min(begin + chunk, g.pairs);
    for (int64_t p = end; p < std::min(end + chunk, g.pairs); ++p) {
      prefetch_row(g.left + static_cast<int64_t>(g.in[p]) * g.rows, g.rows);
      prefetch_row(g.right + static_cast<int64_t>(g.out[p]) * g.columns, g.columns);
    }
    int64_t vectors = g.columns / L;
    for (int64_t column = 0; vectors > 0; vectors -= kMaxVectors, column += kMaxVectors * L) {
      switch (vectors < kMaxVectors ? vectors : kMaxVectors) {
        case 1: outer_rows<T, kTileRows[1], 1>(g, begin, end, 0, column); break;
        case 2: outer_rows<T, kTileRows[2], 2>(g, begin, end, 0, column); break;
        case 3: if constexpr (kMaxVectors >= 3) outer_rows<T, kTileRows[3], 3>(g, begin, end, 0, column); break;
        default: if constexpr (kMaxVectors >= 4) outer_rows<T, kTileRows[4], 4>(g, begin, end, 0, column); break;
      }
    }
  }
}

template <typename T> RowKernels<T> row_kernels() {
  return {Lanes<T>::count, kMaxVectors, &gather_gemm<T>, &outer_gemm<T>, &collect_pairs};
}
