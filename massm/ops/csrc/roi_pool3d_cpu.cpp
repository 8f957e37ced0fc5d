// CPU kernels. Forward: tasks are boxes times channels, or boxes times bins where channels lie
// last in memory and a bin's channels are one vector. Backward: tasks are channels, so that no two
// write to one cell and the sum has one order.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <limits>

#include "roi_pool3d.h"

namespace massm {
namespace {

using at::Tensor;

// A feature map's memory: strides of batch, channel and the three axes, in elements.
struct Layout {
  int64_t batch, channel, axis[3];

  Layout(const Level& level, bool channels_last) {
    int64_t unit = channels_last ? level.channels : 1;
    axis[2] = unit;
    axis[1] = unit * level.length[2];
    axis[0] = axis[1] * level.length[1];
    channel = channels_last ? 1 : level.cells();
    batch = level.channels * level.cells();
  }
};

bool lies_channels_last(const Tensor& input) {
  return !input.is_contiguous() && input.is_contiguous(at::MemoryFormat::ChannelsLast3d);
}

Tensor checked_rois(const Tensor& rois, int64_t batch) {
  TORCH_CHECK_VALUE(
      rois.dim() == 2 && rois.size(1) == 7, "roi_pool3d needs [K, 7] boxes, got ", rois.sizes());
  Tensor boxes = rois.to(at::kFloat).contiguous();
  const float* roi = boxes.const_data_ptr<float>();
  for (int64_t k = 0; k < boxes.size(0); ++k, roi += 7)
    TORCH_CHECK_INDEX(
        !is_finite_roi(roi) || (roi[0] >= 0 && roi[0] < batch),
        "roi_pool3d: box ", k, " names sample ", roi[0], " of a batch of ", batch);
  return boxes;
}

// Calls task(k, roi, begin, end) for runs of the second index, for every box that is finite.
template <typename Task>
void for_boxes(const Tensor& boxes, int64_t second, int64_t work, const Task& task) {
  const float* rois = boxes.const_data_ptr<float>();
  int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, work));
  at::parallel_for(0, boxes.size(0) * second, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end;) {
      int64_t k = i / second, from = i % second;
      int64_t to = std::min(second, from + (end - i));
      if (is_finite_roi(rois + 7 * k)) task(k, rois + 7 * k, from, to);
      i += to - from;
    }
  });
}

template <typename T>
void max_by_channel(
    const T* input, const Level& level, const Tensor& boxes, T* out, int32_t* argmax, int64_t row) {
  Layout layout(level, false);
  int64_t bins = level.bin_count();
  for_boxes(boxes, level.channels, 8 * bins, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
    Span sx(roi, 0, level), sy(roi, 1, level), sz(roi, 2, level);
    for (int64_t c = c0; c < c1; ++c) {
      const T* volume = input + static_cast<int64_t>(roi[0]) * layout.batch + c * layout.channel;
      int64_t o = k * row + c * bins;
      for (int64_t i = 0; i < level.bins[0]; ++i)
        for (int64_t j = 0; j < level.bins[1]; ++j)
          for (int64_t l = 0; l < level.bins[2]; ++l, ++o) {
            int64_t z0 = sz.start(l, level.bins[2]), z1 = sz.stop(l, level.bins[2]);
            int64_t x0 = sx.start(i, level.bins[0]), y0 = sy.start(j, level.bins[1]);
            int64_t best = x0 * layout.axis[0] + y0 * layout.axis[1] + z0;
            T value = volume[best];
            for (int64_t x = x0; x < sx.stop(i, level.bins[0]); ++x)
              for (int64_t y = y0; y < sy.stop(j, level.bins[1]); ++y) {
                int64_t line = x * layout.axis[0] + y * layout.axis[1];
                for (int64_t z = z0; z < z1; ++z) {
                  T other = volume[line + z];
                  if (other > value || (other != other && value == value)) {
                    value = other;
                    best = line + z;
                  }
                }
              }
            out[o] = value;
            argmax[o] = static_cast<int32_t>(best);
          }
    }
  });
}

template <typename T>
void max_by_bin(
    const T* input, const Level& level, const Tensor& boxes, T* out, int32_t* argmax, int64_t row) {
  Layout layout(level, true);
  int64_t bins = level.bin_count(), channels = level.channels;
  for_boxes(boxes, bins, 8 * channels, [&](int64_t k, const float* roi, int64_t b0, int64_t b1) {
    Span sx(roi, 0, level), sy(roi, 1, level), sz(roi, 2, level);
    const T* sample = input + static_cast<int64_t>(roi[0]) * layout.batch;
    std::vector<T> best(channels);
    std::vector<int32_t> where(channels);
    for (int64_t b = b0; b < b1; ++b) {
      int64_t l = b % level.bins[2], j = b / level.bins[2] % level.bins[1];
      int64_t i = b / (level.bins[2] * level.bins[1]);
      bool first = true;
      for (int64_t x = sx.start(i, level.bins[0]); x < sx.stop(i, level.bins[0]); ++x)
        for (int64_t y = sy.start(j, level.bins[1]); y < sy.stop(j, level.bins[1]); ++y)
          for (int64_t z = sz.start(l, level.bins[2]); z < sz.stop(l, level.bins[2]); ++z) {
            int64_t cell = (x * level.length[1] + y) * level.length[2] + z;
            const T* values = sample + cell * channels;
            int32_t index = static_cast<int32_t>(cell);
            if (first) {
              std::copy(values, values + channels, best.begin());
              std::fill(where.begin(), where.end(), index);
              first = false;
              continue;
            }
            for (int64_t c = 0; c < channels; ++c) {
              bool wins = values[c] > best[c] || (values[c] != values[c] && best[c] == best[c]);
              best[c] = wins ? values[c] : best[c];
              where[c] = wins ? index : where[c];
            }
          }
      for (int64_t c = 0; c < channels; ++c) {
        out[k * row + c * bins + b] = best[c];
        argmax[k * row + c * bins + b] = where[c];
      }
    }
  });
}

// Calls visit(cell, weight) for the eight cells around a bin's middle.
template <typename Visit>
void visit_corners(const float* roi, const Level& level, int64_t b, const Visit& visit) {
  Sample x(roi, 0, b / (level.bins[2] * level.bins[1]), level);
  Sample y(roi, 1, b / level.bins[2] % level.bins[1], level);
  Sample z(roi, 2, b % level.bins[2], level);
  for (int corner = 0; corner < 8; ++corner) {
    bool ux = corner & 4, uy = corner & 2, uz = corner & 1;
    float weight = (ux ? x.fraction : 1 - x.fraction) * (uy ? y.fraction : 1 - y.fraction) *
                   (uz ? z.fraction : 1 - z.fraction);
    int64_t cell = ((ux ? x.upper : x.lower) * level.length[1] + (uy ? y.upper : y.lower)) *
                       level.length[2] +
                   (uz ? z.upper : z.lower);
    visit(cell, weight);
  }
}

template <typename T>
void align_by_bin(
    const T* input, const Level& level, bool channels_last, const Tensor& boxes, T* out, int64_t row) {
  using Sum = at::opmath_type<T>;
  Layout layout(level, channels_last);
  int64_t bins = level.bin_count(), channels = level.channels, step = layout.axis[2];
  for_boxes(boxes, bins, 8 * channels, [&](int64_t k, const float* roi, int64_t b0, int64_t b1) {
    const T* sample = input + static_cast<int64_t>(roi[0]) * layout.batch;
    std::vector<Sum> sum(channels);
    for (int64_t b = b0; b < b1; ++b) {
      std::fill(sum.begin(), sum.end(), Sum(0));
      visit_corners(roi, level, b, [&](int64_t cell, float weight) {
        const T* values = sample + cell * step;
        for (int64_t c = 0; c < channels; ++c)
          sum[c] += static_cast<Sum>(weight) * static_cast<Sum>(values[c * layout.channel]);
      });
      for (int64_t c = 0; c < channels; ++c) out[k * row + c * bins + b] = static_cast<T>(sum[c]);
    }
  });
}

// Gradients are summed in the wide type of T, and narrowed at the end.
std::vector<Tensor> empty_gradients(
    const Tensor& grad, const std::vector<Level>& levels, const c10::List<bool>& channels_last) {
  std::vector<Tensor> gradients;
  auto wide = at::isReducedFloatingType(grad.scalar_type()) ? at::kFloat : grad.scalar_type();
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    auto format = channels_last[i] ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::Contiguous;
    Tensor gradient = at::empty(
        {level.batch, level.channels, level.length[0], level.length[1], level.length[2]},
        grad.options().dtype(wide), format);
    gradients.push_back(gradient.zero_());
  }
  return gradients;
}

// Calls task(k, roi, c0, c1) for every finite box in order, in parallel over runs of channels.
template <typename Task>
void for_channels(const Tensor& boxes, int64_t channels, const Task& task) {
  const float* rois = boxes.const_data_ptr<float>();
  // Runs of sixteen channels fill cache lines where channels lie last.
  int64_t runs = (channels + 15) / 16;
  at::parallel_for(0, runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < boxes.size(0); ++k)
      if (is_finite_roi(rois + 7 * k))
        task(k, rois + 7 * k, 16 * begin, std::min(channels, 16 * end));
  });
}

std::tuple<Tensor, Tensor> max_cpu(
    at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  auto levels = make_levels(shapes_of(inputs), sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch);
  int64_t row = row_length(levels), offset = 0;
  Tensor out = at::zeros({boxes.size(0), row}, inputs[0].options());
  Tensor argmax = at::empty({boxes.size(0), row}, inputs[0].options().dtype(at::kInt)).fill_(-1);
  for (size_t i = 0; i < levels.size(); ++i) {
    bool last = lies_channels_last(inputs[i]);
    Tensor input = last ? inputs[i] : inputs[i].contiguous();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, input.scalar_type(), "roi_pool3d_max", [&] {
          auto kernel = last ? max_by_bin<scalar_t> : max_by_channel<scalar_t>;
          kernel(
              input.const_data_ptr<scalar_t>(), levels[i], boxes,
              out.mutable_data_ptr<scalar_t>() + offset, argmax.mutable_data_ptr<int32_t>() + offset, row);
        });
    offset += levels[i].channels * levels[i].bin_count();
  }
  return {out, argmax};
}

std::vector<Tensor> max_backward_cpu(
    const Tensor& grad, const Tensor& argmax, const Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes, const c10::List<bool>& channels_last) {
  auto levels = make_levels(shapes, sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch), rows = grad.contiguous();
  Tensor indices = argmax.contiguous();
  int64_t row = row_length(levels), offset = 0;
  auto gradients = empty_gradients(grad, levels, channels_last);
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    Layout layout(level, channels_last[i]);
    int64_t bins = level.bin_count(), step = layout.axis[2];
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, grad.scalar_type(), "roi_pool3d_max_backward", [&] {
          using Sum = at::opmath_type<scalar_t>;
          Sum* target = gradients[i].mutable_data_ptr<Sum>();
          const scalar_t* source = rows.const_data_ptr<scalar_t>() + offset;
          const int32_t* index = indices.const_data_ptr<int32_t>() + offset;
          for_channels(boxes, level.channels, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
            Sum* sample = target + static_cast<int64_t>(roi[0]) * layout.batch;
            for (int64_t c = c0; c < c1; ++c)
              for (int64_t o = k * row + c * bins; o < k * row + (c + 1) * bins; ++o)
                sample[c * layout.channel + index[o] * step] += static_cast<Sum>(source[o]);
          });
        });
    gradients[i] = gradients[i].to(grad.scalar_type());
    offset += level.channels * bins;
  }
  return gradients;
}

Tensor align_cpu(
    at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  auto levels = make_levels(shapes_of(inputs), sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch);
  int64_t row = row_length(levels), offset = 0;
  Tensor out = at::zeros({boxes.size(0), row}, inputs[0].options());
  for (size_t i = 0; i < levels.size(); ++i) {
    bool last = lies_channels_last(inputs[i]);
    Tensor input = last ? inputs[i] : inputs[i].contiguous();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, input.scalar_type(), "roi_pool3d_align", [&] {
          align_by_bin<scalar_t>(
              input.const_data_ptr<scalar_t>(), levels[i], last, boxes,
              out.mutable_data_ptr<scalar_t>() + offset, row);
        });
    offset += levels[i].channels * levels[i].bin_count();
  }
  return out;
}

std::vector<Tensor> align_backward_cpu(
    const Tensor& grad, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales,
    at::ArrayRef<int64_t> shapes, const c10::List<bool>& channels_last) {
  auto levels = make_levels(shapes, sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch), rows = grad.contiguous();
  int64_t row = row_length(levels), offset = 0;
  auto gradients = empty_gradients(grad, levels, channels_last);
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    Layout layout(level, channels_last[i]);
    int64_t bins = level.bin_count(), step = layout.axis[2];
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, grad.scalar_type(), "roi_pool3d_align_backward", [&] {
          using Sum = at::opmath_type<scalar_t>;
          Sum* target = gradients[i].mutable_data_ptr<Sum>();
          const scalar_t* source = rows.const_data_ptr<scalar_t>() + offset;
          for_channels(boxes, level.channels, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
            Sum* sample = target + static_cast<int64_t>(roi[0]) * layout.batch;
            for (int64_t b = 0; b < bins; ++b)
              visit_corners(roi, level, b, [&](int64_t cell, float weight) {
                for (int64_t c = c0; c < c1; ++c)
                  sample[c * layout.channel + cell * step] +=
                      static_cast<Sum>(weight) * static_cast<Sum>(source[k * row + c * bins + b]);
              });
          });
        });
    gradients[i] = gradients[i].to(grad.scalar_type());
    offset += level.channels * bins;
  }
  return gradients;
}

}  // namespace
}  // namespace massm

TORCH_LIBRARY_IMPL(massm, CPU, m) {
  m.impl("roi_pool3d_max", massm::max_cpu);
  m.impl("roi_pool3d_max_backward", massm::max_backward_cpu);
  m.impl("roi_pool3d_align", massm::align_cpu);
  m.impl("roi_pool3d_align_backward", massm::align_backward_cpu);
}
