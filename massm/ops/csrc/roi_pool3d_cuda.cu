// CUDA kernels: a thread an output element, inputs of any strides. Gradients are added atomically,
// or, where torch.use_deterministic_algorithms asks for one order, by a thread a channel.
#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "roi_pool3d.h"

namespace massm {
namespace {

using at::Tensor;

constexpr int kThreads = 256;

struct Strides {
  int64_t batch, channel, axis[3];

  explicit Strides(const Tensor& t)
      : batch(t.stride(0)), channel(t.stride(1)), axis{t.stride(2), t.stride(3), t.stride(4)} {}
};

// One row's place in the output: box k's elements of this level start at k * row + offset.
struct Rows {
  int64_t boxes, row, offset;
};

struct Element {
  int64_t k, c, b;

  MASSM_HD Element(int64_t index, const Level& level) {
    int64_t bins = level.bin_count();
    b = index % bins;
    c = index / bins % level.channels;
    k = index / (bins * level.channels);
  }
  MASSM_HD int64_t out(const Rows& rows, const Level& level) const {
    return k * rows.row + rows.offset + c * level.bin_count() + b;
  }
};

__device__ __forceinline__ bool usable(const float* roi, const Level& level) {
  if (!is_finite_roi(roi)) return false;
  CUDA_KERNEL_ASSERT(roi[0] >= 0 && roi[0] < level.batch);
  return true;
}

__device__ __forceinline__ int64_t place(int64_t cell, const Level& level, const Strides& strides) {
  int64_t z = cell % level.length[2], y = cell / level.length[2] % level.length[1];
  int64_t x = cell / (level.length[2] * level.length[1]);
  return x * strides.axis[0] + y * strides.axis[1] + z * strides.axis[2];
}

template <typename T>
__global__ void max_forward(
    const T* input, Level level, Strides strides, const float* rois, Rows rows, T* out, int32_t* argmax) {
  int64_t total = rows.boxes * level.channels * level.bin_count();
  for (int64_t index = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; index < total;
       index += int64_t{gridDim.x} * blockDim.x) {
    Element e(index, level);
    const float* roi = rois + 7 * e.k;
    if (!usable(roi, level)) continue;
    Span sx(roi, 0, level), sy(roi, 1, level), sz(roi, 2, level);
    int64_t l = e.b % level.bins[2], j = e.b / level.bins[2] % level.bins[1];
    int64_t i = e.b / (level.bins[2] * level.bins[1]);
    const T* volume = input + static_cast<int64_t>(roi[0]) * strides.batch + e.c * strides.channel;
    bool first = true;
    float best = 0.f;
    double best_wide = 0.0;
    int64_t where = 0;
    for (int64_t x = sx.start(i, level.bins[0]); x < sx.stop(i, level.bins[0]); ++x)
      for (int64_t y = sy.start(j, level.bins[1]); y < sy.stop(j, level.bins[1]); ++y)
        for (int64_t z = sz.start(l, level.bins[2]); z < sz.stop(l, level.bins[2]); ++z) {
          auto value = static_cast<at::opmath_type<T>>(
              volume[x * strides.axis[0] + y * strides.axis[1] + z * strides.axis[2]]);
          bool wins;
          if constexpr (std::is_same_v<T, double>) {
            wins = first || value > best_wide || (value != value && best_wide == best_wide);
            if (wins) best_wide = value;
          } else {
            wins = first || value > best || (value != value && best == best);
            if (wins) best = value;
          }
          if (wins) where = (x * level.length[1] + y) * level.length[2] + z;
          first = false;
        }
    int64_t o = e.out(rows, level);
    if constexpr (std::is_same_v<T, double>)
      out[o] = best_wide;
    else
      out[o] = static_cast<T>(best);
    argmax[o] = static_cast<int32_t>(where);
  }
}

// Calls visit(cell, weight) for the eight cells around a bin's middle.
template <typename Visit>
__device__ __forceinline__ void visit_corners(
    const float* roi, const Level& level, int64_t b, const Visit& visit) {
  Sample x(roi, 0, b / (level.bins[2] * level.bins[1]), level);
  Sample y(roi, 1, b / level.bins[2] % level.bins[1], level);
  Sample z(roi, 2, b % level.bins[2], level);
  for (int corner = 0; corner < 8; ++corner) {
    bool ux = corner & 4, uy = corner & 2, uz = corner & 1;
    float weight = (ux ? x.fraction : 1 - x.fraction) * (uy ? y.fraction : 1 - y.fraction) *
                   (uz ? z.fraction : 1 - z.fraction);
    visit(
        ((ux ? x.upper : x.lower) * level.length[1] + (uy ? y.upper : y.lower)) * level.length[2] +
            (uz ? z.upper : z.lower),
        weight);
  }
}

template <typename T>
__global__ void align_forward(
    const T* input, Level level, Strides strides, const float* rois, Rows rows, T* out) {
  using Sum = at::opmath_type<T>;
  int64_t total = rows.boxes * level.channels * level.bin_count();
  for (int64_t index = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; index < total;
       index += int64_t{gridDim.x} * blockDim.x) {
    Element e(index, level);
    const float* roi = rois + 7 * e.k;
    if (!usable(roi, level)) continue;
    const T* volume = input + static_cast<int64_t>(roi[0]) * strides.batch + e.c * strides.channel;
    Sum sum = 0;
    visit_corners(roi, level, e.b, [&](int64_t cell, float weight) {
      sum += static_cast<Sum>(weight) * static_cast<Sum>(volume[place(cell, level, strides)]);
    });
    out[e.out(rows, level)] = static_cast<T>(sum);
  }
}

// Adds one output element's gradient to the cells it came from.
template <typename T, typename Sum, typename Add>
__device__ __forceinline__ void spread(
    const Element& e, const Level& level, const Strides& strides, const float* roi, Rows rows,
    const T* grad, const int32_t* argmax, Sum* target, const Add& add) {
  Sum* volume = target + static_cast<int64_t>(roi[0]) * strides.batch + e.c * strides.channel;
  int64_t o = e.out(rows, level);
  Sum value = static_cast<Sum>(grad[o]);
  if (argmax != nullptr) {
    add(volume + place(argmax[o], level, strides), value);
    return;
  }
  visit_corners(roi, level, e.b, [&](int64_t cell, float weight) {
    add(volume + place(cell, level, strides), static_cast<Sum>(weight) * value);
  });
}

template <typename T, typename Sum>
__global__ void backward_atomic(
    Level level, Strides strides, const float* rois, Rows rows, const T* grad, const int32_t* argmax,
    Sum* target) {
  int64_t total = rows.boxes * level.channels * level.bin_count();
  for (int64_t index = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; index < total;
       index += int64_t{gridDim.x} * blockDim.x) {
    Element e(index, level);
    const float* roi = rois + 7 * e.k;
    if (usable(roi, level))
      spread(e, level, strides, roi, rows, grad, argmax, target,
             [](Sum* cell, Sum value) { atomicAdd(cell, value); });
  }
}

template <typename T, typename Sum>
__global__ void backward_ordered(
    Level level, Strides strides, const float* rois, Rows rows, const T* grad, const int32_t* argmax,
    Sum* target) {
  int64_t index = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (index >= level.batch * level.channels) return;
  Element e(0, level);
  e.c = index % level.channels;
  int64_t sample = index / level.channels;
  for (e.k = 0; e.k < rows.boxes; ++e.k) {
    const float* roi = rois + 7 * e.k;
    if (!usable(roi, level) || static_cast<int64_t>(roi[0]) != sample) continue;
    for (e.b = 0; e.b < level.bin_count(); ++e.b)
      spread(e, level, strides, roi, rows, grad, argmax, target,
             [](Sum* cell, Sum value) { *cell += value; });
  }
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>(std::min<int64_t>((threads + kThreads - 1) / kThreads, 1 << 20));
}

Tensor device_rois(const Tensor& rois) {
  TORCH_CHECK_VALUE(
      rois.dim() == 2 && rois.size(1) == 7, "roi_pool3d needs [K, 7] boxes, got ", rois.sizes());
  return rois.to(at::kFloat).contiguous();
}

std::tuple<Tensor, Tensor> forward(
    bool max, at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales) {
  auto levels = make_levels(shapes_of(inputs), sizes, scales);
  c10::cuda::CUDAGuard guard(inputs[0].device());
  auto stream = c10::cuda::getCurrentCUDAStream();
  Tensor boxes = device_rois(rois);
  Rows rows{boxes.size(0), row_length(levels), 0};
  Tensor out = at::zeros({rows.boxes, rows.row}, inputs[0].options());
  Tensor argmax = at::empty({max ? rows.boxes : 0, rows.row}, inputs[0].options().dtype(at::kInt));
  argmax.fill_(-1);
  for (size_t i = 0; i < levels.size() && rows.boxes > 0; ++i) {
    const Level& level = levels[i];
    int64_t total = rows.boxes * level.channels * level.bin_count();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, inputs[i].scalar_type(), "roi_pool3d", [&] {
          const auto* data = inputs[i].const_data_ptr<scalar_t>();
          const float* roi = boxes.const_data_ptr<float>();
          auto* target = out.mutable_data_ptr<scalar_t>();
          if (max)
            max_forward<scalar_t><<<blocks_for(total), kThreads, 0, stream>>>(
                data, level, Strides(inputs[i]), roi, rows, target, argmax.mutable_data_ptr<int32_t>());
          else
            align_forward<scalar_t><<<blocks_for(total), kThreads, 0, stream>>>(
                data, level, Strides(inputs[i]), roi, rows, target);
        });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    rows.offset += level.channels * level.bin_count();
  }
  return {out, argmax};
}

std::vector<Tensor> backward(
    const Tensor& grad, const Tensor* argmax, const Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes, const c10::List<bool>& channels_last) {
  auto levels = make_levels(shapes, sizes, scales);
  c10::cuda::CUDAGuard guard(grad.device());
  auto stream = c10::cuda::getCurrentCUDAStream();
  bool ordered = at::globalContext().deterministicAlgorithms();
  Tensor boxes = device_rois(rois), source = grad.contiguous();
  Tensor indices = argmax ? argmax->contiguous() : Tensor();
  Rows rows{boxes.size(0), row_length(levels), 0};
  std::vector<Tensor> gradients;
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, grad.scalar_type(), "roi_pool3d_backward", [&] {
          using Sum = at::opmath_type<scalar_t>;
          auto format =
              channels_last[i] ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
          Tensor gradient = at::empty(
              {level.batch, level.channels, level.length[0], level.length[1], level.length[2]},
              grad.options().dtype(c10::CppTypeToScalarType<Sum>::value), format);
          gradient.zero_();
          const int32_t* index = argmax ? indices.const_data_ptr<int32_t>() : nullptr;
          int64_t total = ordered ? level.batch * level.channels
                                  : rows.boxes * level.channels * level.bin_count();
          auto kernel = ordered ? backward_ordered<scalar_t, Sum> : backward_atomic<scalar_t, Sum>;
          if (total > 0)
            kernel<<<blocks_for(total), kThreads, 0, stream>>>(
                level, Strides(gradient), boxes.const_data_ptr<float>(), rows,
                source.const_data_ptr<scalar_t>(), index, gradient.mutable_data_ptr<Sum>());
          C10_CUDA_KERNEL_LAUNCH_CHECK();
          gradients.push_back(gradient.to(grad.scalar_type()));
        });
    rows.offset += level.channels * level.bin_count();
  }
  return gradients;
}

std::tuple<Tensor, Tensor> max_cuda(
    at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  return forward(true, inputs, rois, sizes, scales);
}

Tensor align_cuda(
    at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  return std::get<0>(forward(false, inputs, rois, sizes, scales));
}

std::vector<Tensor> max_backward_cuda(
    const Tensor& grad, const Tensor& argmax, const Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes, const c10::List<bool>& channels_last) {
  return backward(grad, &argmax, rois, sizes, scales, shapes, channels_last);
}

std::vector<Tensor> align_backward_cuda(
    const Tensor& grad, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales,
    at::ArrayRef<int64_t> shapes, const c10::List<bool>& channels_last) {
  return backward(grad, nullptr, rois, sizes, scales, shapes, channels_last);
}

}  // namespace
}  // namespace massm

TORCH_LIBRARY_IMPL(massm, CUDA, m) {
  m.impl("roi_pool3d_max", massm::max_cuda);
  m.impl("roi_pool3d_max_backward", massm::max_backward_cuda);
  m.impl("roi_pool3d_align", massm::align_cuda);
  m.impl("roi_pool3d_align_backward", massm::align_backward_cuda);
}
