// nearest on the CPU, compiled once per instruction set (simd.h), for blocks of kTile positions:
//
// 1. load     the queries as they are, [kTile, channels], and centred with positions in the lanes
// 2. encode   F of the queries, as bytes, and what these are off
// 3. begin    the distance to rows that are nearest to neighbours, or were in the last frame, and
//             to the best row of the tile whose centre is nearest; which tiles may hold others
// 4. scan     a product of bytes (or floats) with all rows of these tiles: which may be nearer
// 5. refine   their distances as the manual defines them; each narrows the search
//
// 4 and 5 take turns, a chunk of the memory at a time. Parts: nearest_scan.h, nearest_distance.h,
// nearest_blend.h.
//
// Roofline of 1024 positions, 4096 rows, 152 channels, in vectors of 64 bytes. Brute force: 40 M
// multiply-adds of float32, 4.7 ms at two in a cycle of 4.24 GHz, or 80 M operations as differences
// that are squared. Here: encode 0.6 M; scan 4.2 M products at most (0.5 ms) and 0.8 M operations
// to compare; refine 30 for each row that is left, 0.2 to 0.7 % of them: 0.3 M to 0.9 M. Of aligned
// parts two thirds and more of the scan are left out with their tiles, of textures nothing. So 5 M
// vectors are left of 40 M. Bytes: a block of positions reads the codes once (256 KiB, in the L2
// cache, 16 bytes a cycle) and the rows that are left (608 bytes each, in the L3 cache).
#include "nearest.h"
#include "nearest_blend.h"
#include "nearest_scan.h"

namespace edgead {
namespace {

constexpr float kInfinity = __builtin_inff();

// A search of one memory: what all its steps need.
template <class T>
struct Searcher {
  const NearestParams& p;
  const NearestIndex& index;
  I32 rest;

  float distance_to(const float* query, int32_t row) const {
    const T* rows = static_cast<const T*>(index.memory);
    return distance(query, rows + static_cast<int64_t>(row) * p.channels, index.scale, p.channels,
                    rest);
  }

  // How far F^ of a row that counts may lie from that of the query, see nearest.h.
  void narrow(Query& query) const {
    constexpr float kRounding = 1.0f + 1e-6f;
    const float farthest = query.best[p.k - 1];
    // What vanishes below float32 counts as 2^-126 for each channel.
    const float d = farthest * (1.0f + index.slack) + p.channels * 1.1754944e-38f;
    const float reach =
        index.stretch * index.gain * __builtin_sqrtf(d) * kRounding * kRounding + query.off;
    if (p.search == Search::every) {
      query.need = 0.5f * (query.square - reach * reach * kRounding);
      return;
    }
    query.reach = 2.0f * reach * kRounding;
    query.need = query.square - reach * reach * kRounding;
  }

  bool known(const Query& query, int32_t row) const {
    for (int32_t i = 0; i < p.k; ++i)
      if (query.rows[i] == row) return true;
    return false;
  }

  // Returns whether the search became narrower.
  void try_row(Query& query, const float* values, int32_t row) const {
    if (known(query, row)) return;
    const float d = distance_to(values, row), before = query.best[p.k - 1];
    insert(d, row, p.k, query);
    if (query.best[p.k - 1] < before) narrow(query);
  }

  // Rows that were nearest to this position, or to one beside it.
  void guess(Query& query, const float* values, const int32_t* guesses) const {
    const int32_t beside[] = {0, -1, 1, -p.width, p.width};
    for (int32_t step : beside) {
      const int32_t position = query.position + step;
      if (position < 0 || position >= p.positions) continue;
      for (int32_t i = 0; i < p.k; ++i) {
        const int32_t row = guesses[static_cast<int64_t>(position) * p.k + i];
        if (row >= 0 && row < p.rows) try_row(query, values, row);
      }
    }
  }

  // The distances of the rows of a chunk, from `first` on, that are kept.
  void refine(Query& query, const float* values, int32_t first, const uint32_t* kept) const {
    for (int32_t pair = 0; pair < kChunkTiles; pair += 2) {
      uint64_t bits;
      std::memcpy(&bits, kept + pair, sizeof bits);
      for (; bits; bits &= bits - 1)
        try_row(query, values, index.order[first + pair * kTile + __builtin_ctzll(bits)]);
    }
  }

  // For a query that the bound cannot tell of, because a square leaves float32.
  void search_directly(Query& query, const float* values) const {
    for (int32_t row = 0; row < p.rows; ++row) insert(distance_to(values, row), row, p.k, query);
  }
};

// to [kTile, pitch] = from [pitch, kTile] transposed, or the other way round; pitch a multiple of
// kLanes.
inline void transpose_block(const float* from, int32_t from_pitch, int32_t rows, int32_t columns,
                            float* to, int32_t to_pitch) {
  for (int32_t y = 0; y < rows; y += kLanes)
    for (int32_t x = 0; x < columns; x += kLanes) {
      F32 tile[kLanes];
      for (int i = 0; i < kLanes; ++i) tile[i] = load<F32>(from + (y + i) * from_pitch + x);
      transpose(tile);
      for (int i = 0; i < kLanes; ++i) store(to + (x + i) * to_pitch + y, tile[i]);
    }
}

// values [kTile, pitch] and lanes [pitch, kTile] of the queries at `at`; the rest of both is 0.
template <class Q>
void load_block(const NearestParams& p, const Q* query, const int32_t* at, int32_t count,
                const NearestWorkspace& w) {
  const int32_t pitch = w.pitch;
  if (p.layout == Layout::nchw) {
    const bool together = at[count - 1] - at[0] == count - 1;
    std::memset(w.lanes, 0, sizeof(float) * pitch * kTile);
    for (int32_t c = 0; c < p.channels; ++c) {
      const Q* plane = query + static_cast<int64_t>(c) * p.positions;
      float* to = w.lanes + c * kTile;
      int32_t i = 0;
      for (; together && i + kLanes <= count; i += kLanes)
        store(to + i, load_floats(plane + at[0] + i));
      for (; i < count; ++i) to[i] = float_of(plane[at[i]]);
    }
    transpose_block(w.lanes, kTile, pitch, kTile, w.values, pitch);
    return;
  }
  std::memset(w.values, 0, sizeof(float) * pitch * kTile);
  for (int32_t i = 0; i < count; ++i) {
    const Q* from = query + static_cast<int64_t>(at[i]) * p.channels;
    float* to = w.values + static_cast<int64_t>(i) * pitch;
    int32_t c = 0;
    for (; c + kLanes <= p.channels; c += kLanes) store(to + c, load_floats(from + c));
    for (; c < p.channels; ++c) to[c] = float_of(from[c]);
  }
  transpose_block(w.values, pitch, kTile, pitch, w.lanes, kTile);
}

// lanes = gain * (lanes - mean); square [kTile] of it.
void centre(const NearestIndex& index, float* lanes, float* square) {
  F32 sum[kVectors] = {};
  for (int32_t c = 0; c < index.channels; ++c)
    for (int v = 0; v < kVectors; ++v) {
      float* at = lanes + c * kTile + v * kLanes;
      const F32 x = (load<F32>(at) - index.mean[c]) * index.gain;
      store(at, x);
      sum[v] = multiply_add(x, x, sum[v]);
    }
  for (int v = 0; v < kVectors; ++v) store(square + v * kLanes, sum[v]);
}

// F of the queries, as bytes; and what the scan has to know of it.
void encode(const NearestIndex& index, const NearestWorkspace& w, Query* queries) {
  float* parts = w.parts;  // [kParts, kTile]
  for (int32_t i = 0; i < kParts; i += kGroup)
    for (int v0 = 0; v0 < kVectors; v0 += kWide) {
      F32 sum[kGroup][kWide];
      dot_floats<kGroup>(w.lanes + v0 * kLanes, index.basis + i, kParts, index.channels, sum);
      for (int j = 0; j < kGroup; ++j)
        for (int v = 0; v < kWide; ++v)
          store(parts + (i + j) * kTile + (v0 + v) * kLanes, sum[j][v]);
    }
  const int32_t components = index.channels < kParts - 1 ? index.channels : kParts - 1;
  const int32_t words = index.parts / 4;
  const float stretch = index.stretch * index.stretch;
  for (int v = 0; v < kVectors; ++v) {
    auto at = [&](int32_t i) { return parts + i * kTile + v * kLanes; };
    F32 along = {}, largest = {};
    for (int32_t i = 0; i < components; ++i) {
      const F32 x = load<F32>(at(i)), size = x < 0.0f ? -x : x;
      along = multiply_add(x, x, along);
      largest = size > largest ? size : largest;
    }
    // The length of the rest, from a difference that rounding has made uncertain.
    const F32 square = load<F32>(w.square + v * kLanes);
    const F32 doubt = square * ((6.0f * index.slack + index.leak) * stretch);
    F32 left, unsure, length;
    for (int i = 0; i < kLanes; ++i) {
      const float d = square[i] - along[i];
      const float high = __builtin_sqrtf(d + doubt[i] > 0.0f ? d + doubt[i] : 0.0f);
      const float low = __builtin_sqrtf(d - doubt[i] > 0.0f ? d - doubt[i] : 0.0f);
      left[i] = 0.5f * (high + low), unsure[i] = 0.5f * (high - low);
      length[i] = __builtin_sqrtf(square[i]);
    }
    store(at(components), left);
    largest = left > largest ? left : largest;
    const F32 step = largest * (1.0f / kQueryCode);
    const F32 inverse = reinterpret_cast<F32>((I32)(step > 0.0f) & (I32)(1.0f / step));
    F32 off = {}, whole = {};
    I32 total = {};
    for (int32_t i = 0; i < words; ++i) {
      I32 word = {};
      for (int32_t j = 0; j < 4; ++j) {
        if (4 * i + j > components) break;
        const F32 x = load<F32>(at(4 * i + j)), scaled = x * inverse;
        const F32 half = scaled < 0.0f ? F32{} - 0.5f : F32{} + 0.5f;
        I32 code = __builtin_convertvector(scaled + half, I32);
        code = code > kQueryCode ? I32{} + kQueryCode : code;
        code = code < -kQueryCode ? I32{} - kQueryCode : code;
        const F32 back = __builtin_convertvector(code, F32) * step;
        off = multiply_add(x - back, x - back, off);
        whole = multiply_add(back, back, whole);
        total += code;
        word |= (code & 255) << (8 * j);
      }
      store(w.words + i * kTile + v * kLanes, word);
    }
    for (int i = 0; i < kLanes; ++i) {
      Query& query = queries[v * kLanes + i];
      query.scale = 2.0f * step[i];
      query.square = whole[i] * (1.0f - 4e-6f);
      query.off = __builtin_sqrtf(off[i]) * 1.0001f + unsure[i] * 1.0001f +
                  3.0f * index.slack * stretch * length[i];
      query.start = -kCodeZero * total[i];
    }
  }
}

// A new search for each position of a block. Beyond `count`: none, no row counts.
void begin(const NearestParams& p, const NearestIndex& index, const int32_t* at, int32_t count,
           const NearestWorkspace& w, Query* queries) {
  centre(index, w.lanes, w.square);
  if (p.search == Search::pruned) encode(index, w, queries);
  for (int32_t i = 0; i < kTile; ++i) {
    Query& query = queries[i];
    for (int32_t j = 0; j < kMaxNearest; ++j) query.best[j] = kInfinity, query.rows[j] = INT32_MAX;
    query.position = i < count ? at[i] : -1;
    if (p.search == Search::every) {
      query.square = w.square[i] * (1.0f - index.slack);
      query.off = index.slack * (1.0f + __builtin_sqrtf(w.square[i]));
      query.reach = 0.0f;
    }
    if (i >= count) query.scale = query.reach = 0.0f, query.need = kInfinity;
  }
}

// 0: finite, else a NaN or an infinity that is among the values [channels].
float not_finite(const float* values, int32_t channels) {
  float bad = 0.0f;
  for (int32_t c = 0; c < channels; ++c) {
    if (values[c] != values[c]) return values[c];
    if (values[c] - values[c] != 0.0f) bad = kInfinity;
  }
  return bad;
}

// Tries the best row of the tile whose centre is nearest, and finds the tiles that may hold others.
template <class T>
void begin_with_tiles(const Searcher<T>& search, int32_t count, const NearestWorkspace& w,
                      Query* queries) {
  const NearestIndex& index = search.index;
  const int32_t words = index.parts / 4;
  for (int32_t tile = 0; tile < w.centres / kTile; ++tile)
    for (int32_t q0 = 0; q0 < count; q0 += kGroup)
      scan_centres(index.centres, tile, words, w.words + q0, queries + q0,
                   w.centre_bounds + static_cast<int64_t>(q0) * w.centres + tile * kTile,
                   w.centres);
  std::memset(w.alive, 0, sizeof(uint32_t) * w.centres);
  for (int32_t i = 0; i < count; ++i) {
    Query& query = queries[i];
    if (!(query.need < kInfinity)) continue;
    const float* bounds = w.centre_bounds + static_cast<int64_t>(i) * w.centres;
    const int32_t tile = top_of(bounds, index.centres.off, w.centres);
    float bound[kTile];
    bound_of_tile(index.places, tile, words, w.words + i, query, bound);
    const int32_t place = tile * kTile + top_of(bound, nullptr, kTile);
    if (place < search.p.rows)
      search.try_row(query, w.values + static_cast<int64_t>(i) * w.pitch, index.order[place]);
    uint32_t* alive = w.alive + i / kGroup * (w.centres / kTile);
    for (int32_t at = 0; at < w.centres; at += kLanes) {
      const F32 farthest = multiply_add(all_lanes(query.reach), load<F32>(index.centres.off + at),
                                        load<F32>(bounds + at));
      alive[at / kTile] |= not_below(farthest, all_lanes(query.need)) << at % kTile;
    }
  }
}

// All tiles with all queries, a chunk at a time.
template <class T>
void scan(const Searcher<T>& search, int32_t count, const NearestWorkspace& w, Query* queries) {
  const NearestParams& p = search.p;
  const NearestIndex& index = search.index;
  const int32_t tiles = (p.rows + kTile - 1) / kTile, words = index.parts / 4;
  for (int32_t begin = 0; begin < tiles; begin += kChunkTiles) {
    for (int32_t t = 0; t < kChunkTiles; ++t)
      for (int32_t q0 = 0; q0 < count; q0 += kGroup) {
        const int32_t tile = begin + t;
        uint32_t bits[kGroup] = {};
        const uint32_t* alive = w.alive + q0 / kGroup * (w.centres / kTile);
        if (tile < tiles && p.search == Search::every)
          scan_rows(index, tile, w.lanes + q0, queries + q0, bits);
        else if (tile < tiles && alive[tile / kTile] >> tile % kTile & 1u)
          scan_rows(index.places, tile, words, w.words + q0, queries + q0, bits);
        // Before anything is known, even what lies beyond the last row may count.
        const bool whole = tile < tiles - 1 || p.rows % kTile == 0;
        const uint32_t rows = whole ? ~0u : (1u << p.rows % kTile) - 1;
        for (int q = 0; q < kGroup; ++q) w.kept[(q0 + q) * kChunkTiles + t] = bits[q] & rows;
      }
    for (int32_t i = 0; i < count; ++i)
      search.refine(queries[i], w.values + static_cast<int64_t>(i) * w.pitch, begin * kTile,
                    w.kept + i * kChunkTiles);
  }
}

template <class T>
void search_block(const Searcher<T>& search, const int32_t* at, int32_t count,
                  const NearestWorkspace& w, int32_t* guesses, float* distances) {
  const NearestParams& p = search.p;
  Query queries[kTile];
  begin(p, search.index, at, count, w, queries);
  float bad[kTile] = {};
  for (int32_t i = 0; i < count; ++i) {
    Query& query = queries[i];
    const float* values = w.values + static_cast<int64_t>(i) * w.pitch;
    int32_t* mine = guesses + static_cast<int64_t>(query.position) * p.k;
    if (!(w.square[i] < kInfinity)) {
      bad[i] = not_finite(values, p.channels);
      if (bad[i] == 0.0f) search.search_directly(query, values);
      query.need = kInfinity, query.scale = query.reach = 0.0f;  // it is done
      for (int32_t c = 0; c < p.channels; ++c) w.lanes[c * kTile + i] = 0.0f;
      continue;
    }
    search.narrow(query);
    search.guess(query, values, guesses);
    for (int32_t j = 0; j < p.k; ++j) mine[j] = query.rows[j];
  }
  if (p.search == Search::pruned) begin_with_tiles(search, count, w, queries);
  scan(search, count, w, queries);
  for (int32_t i = 0; i < count; ++i) {
    const Query& query = queries[i];
    float sum = 0.0f;
    for (int32_t j = 0; j < p.k; ++j) {
      if (p.weight[j] > 0.0f) sum += p.weight[j] * query.best[j];
      guesses[static_cast<int64_t>(query.position) * p.k + j] = bad[i] != 0.0f ? -1 : query.rows[j];
    }
    if (p.blended > 0 && bad[i] == 0.0f)  // the lanes are no longer needed
      sum = to_blend<T>(p, search.index, query, w.values + static_cast<int64_t>(i) * w.pitch,
                        search.rest, w.lanes);
    if (p.root) sum = __builtin_sqrtf(sum);
    distances[query.position] = bad[i] != 0.0f ? bad[i] : sum;
  }
}

template <class Q, class T>
void search_frame(const NearestParams& p, const NearestIndex& index, const void* query,
                  const uint8_t* roi, const NearestWorkspace& w, int32_t* guesses,
                  float* distances) {
  const Searcher<T> search{p, index, last_lanes(p.channels % kLanes)};
  int32_t at[kTile], count = 0;
  for (int32_t i = 0; i <= p.positions; ++i) {
    if (i < p.positions && roi != nullptr && !roi[i]) {
      distances[i] = 0.0f;
      for (int32_t j = 0; j < p.k; ++j) guesses[static_cast<int64_t>(i) * p.k + j] = -1;
      continue;
    }
    if (i < p.positions) at[count++] = i;
    if (count == 0 || (count < kTile && i < p.positions)) continue;
    load_block(p, static_cast<const Q*>(query), at, count, w);
    search_block(search, at, count, w, guesses, distances);
    count = 0;
  }
}

template <class Q>  // in the order of Type
constexpr decltype(&search_frame<Q, float>) kSearches[] = {
    search_frame<Q, float>, search_frame<Q, uint16_t>, search_frame<Q, int8_t>};

}  // namespace

void EDGEAD_EXPORT(nearest)(const NearestParams& p, const NearestIndex& index, const void* query,
                            int32_t batch, const uint8_t* roi, float* distance, int32_t* guess,
                            void* workspace) {
  Arena<> arena{static_cast<char*>(workspace)};
  const NearestWorkspace w = nearest_workspace_of(p, arena);
  const bool half = p.query_type == Type::float16;
  const auto run = (half ? kSearches<uint16_t> : kSearches<float>)[static_cast<int>(p.memory_type)];
  const int64_t bytes = static_cast<int64_t>(half ? 2 : 4) * p.channels * p.positions;
  for (int32_t n = 0; n < batch; ++n, distance += p.positions)
    run(p, index, static_cast<const char*>(query) + n * bytes, roi, w, guess, distance);
}

}  // namespace edgead
