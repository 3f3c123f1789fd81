// Thread-block clusters (sm_90 and later). On older devices the same code compiles to clusters of one block.
#pragma once

#include <cooperative_groups.h>

namespace mae3d::fps {

#if __CUDA_ARCH__ >= 900
__device__ inline int cluster_rank() { return static_cast<int>(cooperative_groups::this_cluster().block_rank()); }
__device__ inline int cluster_size() { return static_cast<int>(cooperative_groups::this_cluster().num_blocks()); }
__device__ inline void cluster_sync() { cooperative_groups::this_cluster().sync(); }
// The place of the shared variable `mine` in block `rank` of the cluster.
template <typename T> __device__ T* shared_of(T* mine, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(mine, rank);
}
#else
__device__ inline int cluster_rank() { return 0; }
__device__ inline int cluster_size() { return 1; }
__device__ inline void cluster_sync() { __syncthreads(); }
template <typename T> __device__ T* shared_of(T* mine, int) { return mine; }
#endif

}  // namespace mae3d::fps
