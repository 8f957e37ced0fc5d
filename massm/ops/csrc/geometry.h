// Which cells of a feature map a box's bins touch. Shared by the CPU and the CUDA kernels; the
// definition is massm/ops/roi_pool3d_reference.py.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MASSM_HD __host__ __device__ __forceinline__
#else
#define MASSM_HD inline
#endif

namespace massm {

// Extents of one pyramid level and of its bins, in cells.
struct Level {
  int64_t batch, channels;
  int64_t length[3];
  int64_t bins[3];
  float stride;  // voxels per cell

  MASSM_HD int64_t cells() const { return length[0] * length[1] * length[2]; }
  MASSM_HD int64_t bin_count() const { return bins[0] * bins[1] * bins[2]; }
};

MASSM_HD bool is_finite_roi(const float* roi) {
  for (int i = 0; i < 7; ++i)
    if (!std::isfinite(roi[i])) return false;
  return true;
}

MASSM_HD int64_t clamp_cell(float position, int64_t length) {
  // Compared as float first: a far box must not overflow the integer.
  float last = static_cast<float>(length - 1);
  float inside = position < 0.f ? 0.f : (position > last ? last : position);
  return static_cast<int64_t>(inside);
}

// The run of cells that a box covers along one axis.
struct Span {
  int64_t first, extent;

  MASSM_HD Span(const float* roi, int axis, const Level& level) {
    int64_t length = level.length[axis];
    first = clamp_cell(nearbyintf(roi[1 + axis] / level.stride), length);
    int64_t last = clamp_cell(nearbyintf(roi[4 + axis] / level.stride), length);
    extent = (last > first ? last : first) - first + 1;
  }
  MASSM_HD int64_t start(int64_t bin, int64_t bins) const { return first + bin * extent / bins; }
  MASSM_HD int64_t stop(int64_t bin, int64_t bins) const {
    return first + ((bin + 1) * extent + bins - 1) / bins;
  }
};

// The two cells around the middle of a bin along one axis, and the weight of the upper one.
struct Sample {
  int64_t lower, upper;
  float fraction;

  MASSM_HD Sample(const float* roi, int axis, int64_t bin, const Level& level) {
    int64_t length = level.length[axis];
    float low = roi[1 + axis] / level.stride, high = roi[4 + axis] / level.stride;
    float position = low + (high - low) * (static_cast<float>(bin) + 0.5f) /
                               static_cast<float>(level.bins[axis]);
    float last = static_cast<float>(length - 1);
    position = position < 0.f ? 0.f : (position > last ? last : position);
    int64_t highest = length > 2 ? length - 2 : 0;
    lower = static_cast<int64_t>(floorf(position));
    lower = lower < highest ? lower : highest;
    upper = lower + 1 < length ? lower + 1 : length - 1;
    fraction = position - static_cast<float>(lower);
  }
};

}  // namespace massm
