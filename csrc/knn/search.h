// Neighbour search on the CPU, shared by knn and ball_query.
#pragma once

#include "common/clouds.h"

namespace mae3d {

struct SearchResult {
  int64_t* indices;   // [rows, k], -1 in empty places
  float* distances;   // [rows, k], +inf in empty places
  int64_t* counts;    // [rows] or null
  bool repeat_first;  // empty places repeat the first neighbour instead
};

// For each query the k nearest points (`first` false) or the k of lowest index (`first` true) whose squared distance is
// at most `limit`. Non-finite points and queries have no neighbours.
void search_neighbours(const CloudPair& pair, int64_t k, float limit, bool first, const SearchResult& result,
                       const char* op);

}  // namespace mae3d
