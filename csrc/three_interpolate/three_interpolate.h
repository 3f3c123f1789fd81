// three_interpolate: weighted sums of feature rows, by convention of the three nearest points.
//
// three_interpolate(features, indices, weights) -> interpolated
//   features      float32, float64, float16 or bfloat16 [B, N, C], or packed [T, C]
//   indices       int64 [B, Q, K] positions in the cloud, or packed [R, K] rows of features; negative: no contribution
//   weights       shape of indices; float64 with float64 features, else float32
//   interpolated  dtype of features, [B, Q, C] or [R, C]: sum over k of weights[k] * features[indices[k]], summed in
//                 float32 (float64) in the order of k
// The CPU rejects an index beyond the features; CUDA, which cannot without waiting, takes it as no contribution.
//
// three_interpolate_backward(grad, features, indices, weights, order, starts) -> (grad_features, grad_weights)
//   grad          dtype and shape of interpolated
//   order, starts CUDA only: int64 [R * K], [rows of features + 1]: entries of `indices` that refer to each row (dense
//                 clouds one after the other), in rising order
//   grad_features dtype of features; sums run over the entries in their order, so they do not depend on threads
#pragma once
