// nearest on the CPU, compiled once per instruction set (simd.h), for blocks of kTile positions:
//
// 1. load     the queries as they are, [kTile, channels], and centred with positions in the lanes
// 2. encode   F of the queries, as bytes, and what these are off
// 3. begin    the distance to rows that are nearest to the position above, or were in the last
//             frame, and to the best row of the tile whose centre is nearest; which tiles may hold
//             others
// 4. scan     a product of bytes (or floats) with all rows of these tiles: which may be nearer
// 5. refine   their distances as the manual defines them; each narrows the search
//
// 4 and 5 take turns, a chunk of the memory at a time. Parts: nearest_query.h, nearest_scan.h,
// nearest_distance.h, nearest_blend.h.
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
#include "nearest_query.h"
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

  // What a row's distance changes: nothing, most of the time.
  void offer(Query& query, float d, int32_t row) const {
    const float before = query.best[p.k - 1];
    if (d > before) return;
    for (int32_t i = 0; i < p.k; ++i)
      if (query.rows[i] == row) return;
    insert(d, row, p.k, query);
    if (query.best[p.k - 1] < before) narrow(query);
  }

  void try_row(Query& query, const float* values, int32_t row) const {
    offer(query, distance_to(values, row), row);
  }

  // Rows that were nearest to this position, or to the one above it.
  void guess(Query& query, const float* values, const int32_t* guesses) const {
    const int32_t positions[] = {query.position, query.position - p.width};
    for (int32_t position : positions) {
      if (position < 0) continue;
      for (int32_t i = 0; i < p.k; ++i) {
        const int32_t row = guesses[static_cast<int64_t>(position) * p.k + i];
        if (row >= 0 && row < p.rows) try_row(query, values, row);
      }
    }
  }

  // For a query that the bound cannot tell of, because a square leaves float32.
  void search_directly(Query& query, const float* values) const {
    for (int32_t row = 0; row < p.rows; ++row) insert(distance_to(values, row), row, p.k, query);
  }
};

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
  // (One step for all of them after the other: each waits for itself.)
  int32_t best[kTile];
  for (int32_t i = 0; i < count; ++i)
    best[i] =
        top_of(w.centre_bounds + static_cast<int64_t>(i) * w.centres, index.centres.off, w.centres);
  for (int32_t i = 0; i < count; ++i) {
    float bound[kTile];
    bound_of_tile(index.places, best[i], words, w.words + i, queries[i], bound);
    best[i] = best[i] * kTile + top_of(bound, nullptr, kTile);
  }
  for (int32_t i = 0; i < count; ++i) {
    Query& query = queries[i];
    if (!(query.need < kInfinity)) continue;
    const float* bounds = w.centre_bounds + static_cast<int64_t>(i) * w.centres;
    if (best[i] < search.p.rows)
      search.try_row(query, w.values + static_cast<int64_t>(i) * w.pitch, index.order[best[i]]);
    uint32_t* alive = w.alive + i / kGroup * (w.centres / kTile);
    for (int32_t at = 0; at < w.centres; at += kLanes) {
      const F32 farthest = multiply_add(all_lanes(query.reach), load<F32>(index.centres.off + at),
                                        load<F32>(bounds + at));
      alive[at / kTile] |= not_below(farthest, all_lanes(query.need)) << at % kTile;
    }
  }
}

// The distances of the rows of a chunk, from `first` on, that are kept. Which these are cannot be
// predicted, so there are three passes: the words that are not 0 without a branch, the rows of
// these, their distances; what these change is little, and follows.
template <class T>
void refine(const Searcher<T>& search, int32_t count, int32_t first, const NearestWorkspace& w,
            Query* queries) {
  constexpr int32_t kWords = kChunkTiles / 2;  // of 64 rows, for each query
  constexpr int32_t kMost = 256;               // rows whose distances are found together
  struct Found {
    int32_t query, row;
  } found[kMost];
  float d[kMost];
  uint64_t kept[kTile * kWords];
  int32_t words[kTile * kWords], length = 0, rows = 0;
  std::memcpy(kept, w.kept, sizeof kept);
  for (int32_t i = 0; i < count * kWords; ++i) words[length] = i, length += kept[i] != 0;
  auto finish = [&] {
    for (int32_t i = 0; i < rows; ++i)
      d[i] = search.distance_to(w.values + static_cast<int64_t>(found[i].query) * w.pitch,
                                found[i].row);
    for (int32_t i = 0; i < rows; ++i) search.offer(queries[found[i].query], d[i], found[i].row);
    rows = 0;
  };
  for (int32_t i = 0; i < length; ++i) {
    const int32_t query = words[i] / kWords, at = first + words[i] % kWords * 2 * kTile;
    if (rows > kMost - 64) finish();
    for (uint64_t bits = kept[words[i]]; bits; bits &= bits - 1)
      found[rows++] = {query, search.index.order[at + __builtin_ctzll(bits)]};
  }
  finish();
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
    refine(search, count, begin * kTile, w, queries);
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
