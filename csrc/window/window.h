// Windows over voxels, as in SST (Fan et al. 2022, sec. 3.2), and the order in which attention reads them.
//
// window_partition(coordinates int64 [V, 4] (cloud, z, y, x), window (x, y, z), grid (x, y, z), shifted)
//   -> (windows int64 [V], in_window int64 [V, 3] (z, y, x))
//   per axis: shift = window, shifted: window / 2 rounded down; the z axis is not shifted where window >= grid
//             s = coordinate + shift, window index = s / window, in-window coordinate = s % window
//   windows = ((cloud * nx + wx) * ny + wy) * nz + wz with n = ceil(grid / window) + 1 per axis
//   Voxels outside the grid, or with a negative cloud, get -1 in both results. 1 <= window, grid <= 2^24.
//   The clouds must be few enough for int64 identifiers: cloud * nx * ny * nz < 2^63 (others get -1).
//
// window_attention_layout(windows int64 [V], bound) -> (order, offsets, windows, inverse, max_length)
//   order       int64 [K]     rows sorted by window, ascending within one; rows with a negative window are left out
//   offsets     int64 [W + 1] window w owns order[offsets[w] .. offsets[w + 1])
//   windows     int64 [W]     identifiers of the windows that hold a row, ascending
//   inverse     int64 [V]     place of each row in `order`, -1 where left out
//   max_length  int64 []      rows of the fullest window, 0 without any; always on the CPU
//   bound       all windows are < bound (rows with others are left out); 0: no bound is known. It only saves work.
// V < 2^31. The CUDA kernel reads K, W and max_length back in one synchronisation.
#pragma once

#include "../common/checks.h"
#include "../common/geometry.h"

namespace mae3d {

struct WindowGeometry {
  int64_t window[3], grid[3], shift[3], count[3];  // x, y, z
  int64_t largest_cloud;
};

inline WindowGeometry check_window_arguments(const Tensor& coordinates, const std::vector<int64_t>& window,
                                             const std::vector<int64_t>& grid, bool shifted) {
  const char* op = "window_partition";
  check_dtype(coordinates, ScalarType::Long, op, "coordinates");
  check_dim(coordinates, 2, op, "coordinates");
  check_size(coordinates, 1, 4, op, "coordinates");
  MAE3D_CHECK(window.size() == 3 && grid.size() == 3, op, ": 'window' and 'grid' must have 3 entries (x, y, z)");
  constexpr int64_t kMax = int64_t{1} << 24;
  WindowGeometry g;
  double total = 1;
  for (int a = 0; a < 3; ++a) {
    MAE3D_CHECK(window[a] >= 1 && window[a] <= kMax, op, ": 'window' must be in [1, 2^24], got ", window[a]);
    MAE3D_CHECK(grid[a] >= 1 && grid[a] <= kMax, op, ": 'grid' must be in [1, 2^24], got ", grid[a]);
    g.window[a] = window[a];
    g.grid[a] = grid[a];
    g.shift[a] = shifted ? window[a] / 2 : window[a];
    if (a == 2 && window[a] >= grid[a]) g.shift[a] = 0;
    g.count[a] = (grid[a] + window[a] - 1) / window[a] + 1;
    total *= static_cast<double>(g.count[a]);
  }
  MAE3D_CHECK(total < 9.2e18, op, ": ", g.count[0], " x ", g.count[1], " x ", g.count[2],
              " windows do not fit in 63-bit identifiers; use larger windows");
  g.largest_cloud = INT64_MAX / (g.count[0] * g.count[1] * g.count[2]) - 1;
  return g;
}

inline void check_layout_arguments(const Tensor& windows, int64_t bound) {
  const char* op = "window_attention_layout";
  check_dtype(windows, ScalarType::Long, op, "windows");
  check_dim(windows, 1, op, "windows");
  MAE3D_CHECK(windows.size(0) < (int64_t{1} << 31), op, ": 'windows' must have fewer than 2^31 rows");
  MAE3D_CHECK(bound >= 0, op, ": 'bound' must not be negative, got ", bound);
}

}  // namespace mae3d
