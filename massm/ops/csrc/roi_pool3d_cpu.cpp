// CPU kernels. Forward: tasks are boxes times runs of channels, which are one vector where they lie
// last in memory. Backward: tasks are runs of channels, so that no two write to one cell and the sum
// has one order.
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>

#include <cstring>

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

// Calls task(k, roi, begin, end) for every finite box and runs of `run` of its channels.
template <typename Task>
void for_boxes(const Tensor& boxes, int64_t channels, int64_t run, const Task& task) {
  const float* rois = boxes.const_data_ptr<float>();
  int64_t runs = (channels + run - 1) / run;
  at::parallel_for(0, boxes.size(0) * runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int64_t k = i / runs, from = i % runs * run;
      if (is_finite_roi(rois + 7 * k)) task(k, rois + 7 * k, from, std::min(channels, from + run));
    }
  });
}

// Maxima and the cells they are at, `inner` of them side by side.
template <typename Sum>
struct Maxima {
  std::vector<Sum> value;
  std::vector<int32_t> cell;

  void resize(int64_t count) {
    value.resize(count);
    cell.resize(count);
  }
};

// One more value for each of `inner` maxima. The first of equals stays; what is not a number wins.
template <typename Sum, typename Read>
inline void take_larger(Sum* value, int32_t* cell, int64_t inner, const Read& read) {
#pragma omp simd
  for (int64_t i = 0; i < inner; ++i) {
    Sum other = read.value(i), held = value[i];
    bool wins = !(other <= held) && held == held;
    value[i] = wins ? other : held;
    cell[i] = wins ? read.cell(i) : cell[i];
  }
}

// Reads a run of a feature map at one cell, or of maxima found before.
template <typename T, typename Sum>
struct MapReader {
  const T* data;
  int32_t at;
  Sum value(int64_t i) const { return static_cast<Sum>(data[i]); }
  int32_t cell(int64_t) const { return at; }
};

template <typename Sum>
struct MaximaReader {
  const Sum* values;
  const int32_t* cells;
  Sum value(int64_t i) const { return values[i]; }
  int32_t cell(int64_t i) const { return cells[i]; }
};

// Reduces the middle axis [outer, length, inner] to [outer, bins, inner].
template <typename Sum>
void reduce_axis(
    const Maxima<Sum>& from, Maxima<Sum>& to, int64_t outer, const Span& span, int64_t bins, int64_t inner) {
  to.resize(outer * bins * inner);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t b = 0; b < bins; ++b) {
      int64_t target = (o * bins + b) * inner;
      int64_t begin = span.start(b, bins) - span.first, end = span.stop(b, bins) - span.first;
      int64_t source = (o * span.extent + begin) * inner;
      std::copy_n(&from.value[source], inner, &to.value[target]);
      std::copy_n(&from.cell[source], inner, &to.cell[target]);
      for (int64_t t = begin + 1; t < end; ++t) {
        source += inner;
        take_larger(
            &to.value[target], &to.cell[target], inner,
            MaximaReader<Sum>{&from.value[source], &from.cell[source]});
      }
    }
}

// A box's cells with `inner` neighbouring channels last: where its first cell lies, and the strides
// of the axes. Channels that lie apart are copied together first.
template <typename T>
struct Block {
  const T* data;
  int64_t axis[3];
  std::vector<T> packed;

  void point_at(const T* volume, const Span (&span)[3], const Layout& layout) {
    data = volume;
    for (int i = 0; i < 3; ++i) {
      axis[i] = layout.axis[i];
      data += span[i].first * axis[i];
    }
  }

  void pack(const T* volume, const Span (&span)[3], const Layout& layout, int64_t inner) {
    point_at(volume, span, layout);
    int64_t nz = span[2].extent, plane = span[1].extent * nz * inner;
    packed.resize(span[0].extent * plane);
    for (int64_t c = 0; c < inner; ++c)
      for (int64_t x = 0; x < span[0].extent; ++x)
        for (int64_t y = 0; y < span[1].extent; ++y) {
          const T* source = data + c * layout.channel + x * axis[0] + y * axis[1];
          T* target = packed.data() + x * plane + y * nz * inner + c;
          for (int64_t z = 0; z < nz; ++z) target[z * inner] = source[z];
        }
    data = packed.data();
    axis[0] = plane;
    axis[1] = nz * inner;
    axis[2] = inner;
  }
};

// Maxima of one box over `inner` channels, [bins, inner]: along z straight from the block, then
// along y and x, so that a cell is looked at once an axis however bins overlap.
template <typename T, typename Sum>
void box_maxima(
    const Block<T>& block, const Level& level, const Span (&span)[3], int64_t inner, Maxima<Sum>& found,
    Maxima<Sum>& scratch) {
  int64_t bins = level.bins[2];
  found.resize(span[0].extent * span[1].extent * bins * inner);
  int64_t target = 0;
  for (int64_t x = 0; x < span[0].extent; ++x)
    for (int64_t y = 0; y < span[1].extent; ++y) {
      const T* line = block.data + x * block.axis[0] + y * block.axis[1];
      int64_t cell = ((span[0].first + x) * level.length[1] + span[1].first + y) * level.length[2];
      for (int64_t b = 0; b < bins; ++b, target += inner) {
        int64_t z = span[2].start(b, bins), end = span[2].stop(b, bins);
        const T* values = line + (z - span[2].first) * block.axis[2];
        for (int64_t i = 0; i < inner; ++i) found.value[target + i] = static_cast<Sum>(values[i]);
        std::fill_n(&found.cell[target], inner, static_cast<int32_t>(cell + z));
        for (++z; z < end; ++z) {
          values += block.axis[2];
          take_larger(
              &found.value[target], &found.cell[target], inner,
              MapReader<T, Sum>{values, static_cast<int32_t>(cell + z)});
        }
      }
    }
  reduce_axis(found, scratch, span[0].extent, span[1], level.bins[1], bins * inner);
  reduce_axis(scratch, found, 1, span[0], level.bins[0], level.bins[1] * bins * inner);
}

template <typename T>
void max_level(
    const T* input, const Level& level, bool channels_last, const Tensor& boxes, T* out, int32_t* argmax,
    int64_t row) {
  using Sum = at::opmath_type<T>;
  Layout layout(level, channels_last);
  int64_t bins = level.bin_count();
  for_boxes(boxes, level.channels, 32, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
    const Span span[3] = {Span(roi, 0, level), Span(roi, 1, level), Span(roi, 2, level)};
    const T* volume = input + static_cast<int64_t>(roi[0]) * layout.batch + c0 * layout.channel;
    int64_t inner = c1 - c0;
    Block<T> block;
    if (channels_last)
      block.point_at(volume, span, layout);
    else
      block.pack(volume, span, layout, inner);
    Maxima<Sum> found, scratch;
    box_maxima(block, level, span, inner, found, scratch);
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t b = 0, o = k * row + (c0 + i) * bins; b < bins; ++b, ++o) {
        out[o] = static_cast<T>(found.value[b * inner + i]);
        argmax[o] = found.cell[b * inner + i];
      }
  });
}

// Where the eight cells around each bin's middle lie in memory, and their weights.
struct Corners {
  std::vector<int64_t> offset;
  std::vector<float> weight;

  Corners(const float* roi, const Level& level, const Layout& layout) {
    for (int64_t i = 0; i < level.bins[0]; ++i)
      for (int64_t j = 0; j < level.bins[1]; ++j)
        for (int64_t l = 0; l < level.bins[2]; ++l) {
          Sample x(roi, 0, i, level), y(roi, 1, j, level), z(roi, 2, l, level);
          for (int corner = 0; corner < 8; ++corner) {
            bool ux = corner & 4, uy = corner & 2, uz = corner & 1;
            offset.push_back(
                (ux ? x.upper : x.lower) * layout.axis[0] + (uy ? y.upper : y.lower) * layout.axis[1] +
                (uz ? z.upper : z.lower) * layout.axis[2]);
            weight.push_back(
                (ux ? x.fraction : 1 - x.fraction) * (uy ? y.fraction : 1 - y.fraction) *
                (uz ? z.fraction : 1 - z.fraction));
          }
        }
  }
};

// Visits (corner entry, bin, channels): bins outermost where channels lie last, else channels, so
// that neighbours in memory follow each other.
template <typename Visit>
void visit_bins(int64_t bins, bool channels_last, int64_t c0, int64_t c1, const Visit& visit) {
  if (channels_last)
    for (int64_t b = 0; b < bins; ++b) visit(b, c0, c1);
  else
    for (int64_t c = c0; c < c1; ++c)
      for (int64_t b = 0; b < bins; ++b) visit(b, c, c + 1);
}

template <typename T>
void align_level(
    const T* input, const Level& level, bool channels_last, const Tensor& boxes, T* out, int64_t row) {
  using Sum = at::opmath_type<T>;
  Layout layout(level, channels_last);
  int64_t bins = level.bin_count();
  for_boxes(boxes, level.channels, 32, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
    const T* sample = input + static_cast<int64_t>(roi[0]) * layout.batch;
    Corners corners(roi, level, layout);
    Sum sum[32];
    visit_bins(bins, channels_last, c0, c1, [&](int64_t b, int64_t from, int64_t to) {
      std::fill(sum, sum + (to - from), Sum(0));
      for (int64_t q = 8 * b; q < 8 * b + 8; ++q) {
        const T* values = sample + from * layout.channel + corners.offset[q];
        for (int64_t c = 0; c < to - from; ++c)
          sum[c] += static_cast<Sum>(corners.weight[q]) * static_cast<Sum>(values[c]);
      }
      for (int64_t c = from; c < to; ++c) out[k * row + c * bins + b] = static_cast<T>(sum[c - from]);
    });
  });
}

// Gradients are summed in the wide type of T, and narrowed at the end.
std::vector<Tensor> empty_gradients(
    const Tensor& grad, const std::vector<Level>& levels, const std::vector<bool>& channels_last) {
  std::vector<Tensor> gradients;
  auto wide = at::isReducedFloatingType(grad.scalar_type()) ? at::kFloat : grad.scalar_type();
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    const int64_t* n = level.length;
    Tensor gradient =
        channels_last[i]
            ? grad.new_empty({level.batch, n[0], n[1], n[2], level.channels}, wide).permute({0, 4, 1, 2, 3})
            : grad.new_empty({level.batch, level.channels, n[0], n[1], n[2]}, wide);
    // By all threads: fresh memory costs more to touch than to fill.
    auto* bytes = static_cast<char*>(gradient.mutable_data_ptr());
    at::parallel_for(0, gradient.nbytes(), 1 << 20, [&](int64_t begin, int64_t end) {
      std::memset(bytes + begin, 0, end - begin);
    });
    gradients.push_back(gradient);
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

}  // namespace

std::tuple<Tensor, Tensor> max_cpu(
    at::TensorList inputs, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales) {
  auto levels = make_levels(shapes_of(inputs), sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch);
  int64_t row = row_length(levels), offset = 0;
  Tensor out = inputs[0].new_zeros({boxes.size(0), row});
  Tensor argmax = boxes.new_full({boxes.size(0), row}, -1, at::kInt);
  for (size_t i = 0; i < levels.size(); ++i) {
    bool last = lies_channels_last(inputs[i]);
    Tensor input = last ? inputs[i] : inputs[i].contiguous();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, input.scalar_type(), "roi_pool3d_max", [&] {
          max_level<scalar_t>(
              input.const_data_ptr<scalar_t>(), levels[i], last, boxes,
              out.mutable_data_ptr<scalar_t>() + offset, argmax.mutable_data_ptr<int32_t>() + offset, row);
        });
    offset += levels[i].channels * levels[i].bin_count();
  }
  return {out, argmax};
}

std::vector<Tensor> max_backward_cpu(
    const Tensor& grad, const Tensor& argmax, const Tensor& rois, at::ArrayRef<int64_t> sizes,
    at::ArrayRef<double> scales, at::ArrayRef<int64_t> shapes, const std::vector<bool>& channels_last) {
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
  Tensor out = inputs[0].new_zeros({boxes.size(0), row});
  for (size_t i = 0; i < levels.size(); ++i) {
    bool last = lies_channels_last(inputs[i]);
    Tensor input = last ? inputs[i] : inputs[i].contiguous();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, input.scalar_type(), "roi_pool3d_align", [&] {
          align_level<scalar_t>(
              input.const_data_ptr<scalar_t>(), levels[i], last, boxes,
              out.mutable_data_ptr<scalar_t>() + offset, row);
        });
    offset += levels[i].channels * levels[i].bin_count();
  }
  return out;
}

std::vector<Tensor> align_backward_cpu(
    const Tensor& grad, const Tensor& rois, at::ArrayRef<int64_t> sizes, at::ArrayRef<double> scales,
    at::ArrayRef<int64_t> shapes, const std::vector<bool>& channels_last) {
  auto levels = make_levels(shapes, sizes, scales);
  Tensor boxes = checked_rois(rois, levels[0].batch), rows = grad.contiguous();
  int64_t row = row_length(levels), offset = 0;
  auto gradients = empty_gradients(grad, levels, channels_last);
  for (size_t i = 0; i < levels.size(); ++i) {
    const Level& level = levels[i];
    Layout layout(level, channels_last[i]);
    int64_t bins = level.bin_count();
    AT_DISPATCH_FLOATING_TYPES_AND2(
        at::kHalf, at::kBFloat16, grad.scalar_type(), "roi_pool3d_align_backward", [&] {
          using Sum = at::opmath_type<scalar_t>;
          Sum* target = gradients[i].mutable_data_ptr<Sum>();
          const scalar_t* source = rows.const_data_ptr<scalar_t>() + offset;
          for_channels(boxes, level.channels, [&](int64_t k, const float* roi, int64_t c0, int64_t c1) {
            Sum* sample = target + static_cast<int64_t>(roi[0]) * layout.batch;
            Corners corners(roi, level, layout);
            bool last = channels_last[i];
            visit_bins(bins, last, c0, c1, [&](int64_t b, int64_t from, int64_t to) {
              for (int64_t q = 8 * b; q < 8 * b + 8; ++q) {
                Sum* cells = sample + from * layout.channel + corners.offset[q];
                for (int64_t c = from; c < to; ++c)
                  cells[c - from] += static_cast<Sum>(corners.weight[q]) *
                                     static_cast<Sum>(source[k * row + c * bins + b]);
              }
            });
          });
        });
    gradients[i] = gradients[i].to(grad.scalar_type());
    offset += level.channels * bins;
  }
  return gradients;
}

}  // namespace massm
