#include "ir/interpret_attention.h"

#include <algorithm>
#include <cmath>

#include "ir/support/check.h"

namespace shardc {
namespace {

// The element at a global index, which this device has.
double& at(const LocalView& v, const Shape& index) {
  std::int64_t p = 0;
  for (std::size_t d = 0; d < index.size(); ++d) {
    const std::int64_t here = index[d] - v.offset[d];
    CHECK(0 <= here && here < v.shape[d], "attention at {} of dimension {}, of which {} are here", here, d,
          v.shape[d]);
    p = p * v.shape[d] + here;
  }
  return v.data[p];
}

// One query: head h of batch b at position i, and what it sees.
struct Query {
  std::int64_t b, i, h, g;      // g: its head of keys
  std::int64_t from, to;        // keys
  std::vector<double> weights;  // of those keys; scores before they are normalised
};

class Attending {
 public:
  Attending(const Attention& attention, const std::vector<LocalView>& in, const std::vector<LocalView>& out)
      : a_(attention), in_(in), out_(out) {}

  void run(const std::vector<Shard>& shards) {
    const Shape &q = in_[0].global, &k = in_[1].global;
    const std::int64_t ratio = k[2] == 0 ? 1 : q[2] / k[2];
    const Sight sight = sight_of(a_, q[1], k[1]);
    const auto [batch, queries, heads] = std::tie(shards[0], shards[1], shards[2]);
    if (a_.kind == Attention::Kind::Gradient) clear(shards, ratio);
    for (std::int64_t b = batch.offset; b < batch.offset + batch.extent; ++b)
      for (std::int64_t h = heads.offset * ratio; h < (heads.offset + heads.extent) * ratio; ++h)
        for (std::int64_t i = queries.offset; i < queries.offset + queries.extent; ++i) {
          Query query{b,
                      i,
                      h,
                      h / ratio,
                      std::clamp<std::int64_t>(i + sight.low, 0, k[1]),
                      std::clamp<std::int64_t>(i + sight.high, 0, k[1]),
                      {}};
          score(query);
          if (a_.kind == Attention::Kind::Mix)
            mix(query);
          else
            differentiate(query);
        }
  }

 private:
  std::int64_t features(std::size_t operand) const { return in_[operand].global[3]; }

  void score(Query& s) const {
    for (std::int64_t j = s.from; j < s.to; ++j) {
      double sum = 0;
      for (std::int64_t d = 0; d < features(0); ++d)
        sum += at(in_[0], {s.b, s.i, s.h, d}) * at(in_[1], {s.b, j, s.g, d});
      s.weights.push_back(a_.scale * sum);
    }
  }

  void mix(Query& s) const {
    double max = -Attention::kBlind, sum = 0;
    for (double w : s.weights) max = std::max(max, w);
    for (double& w : s.weights) sum += w = std::exp(w - max);
    const bool blind = s.from >= s.to;
    at(out_[1], {s.b, s.i, s.h}) = blind ? Attention::kBlind : max + std::log(sum);
    for (std::int64_t e = 0; e < features(2); ++e) {
      double mixed = 0;
      for (std::int64_t j = s.from; j < s.to; ++j)
        mixed += s.weights[static_cast<std::size_t>(j - s.from)] * at(in_[2], {s.b, j, s.g, e});
      at(out_[0], {s.b, s.i, s.h, e}) = blind ? 0 : mixed / sum;
    }
  }

  // ds = scale * p * (dp - delta), where dp[j] = do . v[j].
  void differentiate(const Query& s) const {
    const double lse = at(in_[3], {s.b, s.i, s.h}), delta = at(in_[4], {s.b, s.i, s.h});
    for (std::int64_t j = s.from; j < s.to; ++j) {
      const double p = std::exp(s.weights[static_cast<std::size_t>(j - s.from)] - lse);
      double dp = 0;
      for (std::int64_t e = 0; e < features(2); ++e) {
        const double go = at(in_[5], {s.b, s.i, s.h, e});
        dp += go * at(in_[2], {s.b, j, s.g, e});
        at(out_[2], {s.b, j, s.g, e}) += p * go;
      }
      const double ds = a_.scale * p * (dp - delta);
      for (std::int64_t d = 0; d < features(0); ++d) {
        at(out_[0], {s.b, s.i, s.h, d}) += ds * at(in_[1], {s.b, j, s.g, d});
        at(out_[1], {s.b, j, s.g, d}) += ds * at(in_[0], {s.b, s.i, s.h, d});
      }
    }
  }

  // The results are sums.
  void clear(const std::vector<Shard>& shards, std::int64_t ratio) const {
    const Shard keys{0, in_[1].global[1]};
    for (std::size_t r = 0; r < 3; ++r) {
      const Shard& rows = r == 0 ? shards[1] : keys;
      const std::int64_t each = r == 0 ? ratio : 1;
      for (std::int64_t b = shards[0].offset; b < shards[0].offset + shards[0].extent; ++b)
        for (std::int64_t i = rows.offset; i < rows.offset + rows.extent; ++i)
          for (std::int64_t h = shards[2].offset * each; h < (shards[2].offset + shards[2].extent) * each;
               ++h)
            for (std::int64_t d = 0; d < out_[r].global[3]; ++d) at(out_[r], {b, i, h, d}) = 0;
    }
  }

  const Attention& a_;
  const std::vector<LocalView>& in_;
  const std::vector<LocalView>& out_;
};

}  // namespace

void run_attention(const Attention& attention, const std::vector<Shard>& shards,
                   const std::vector<LocalView>& inputs, const std::vector<LocalView>& results) {
  Attending(attention, inputs, results).run(shards);
}

}  // namespace shardc
