// Merging of one run of symbols with a queue: the pair of lowest rank first, the leftmost of equals.
//
// O(n log n) whatever the run holds. The caller may let a merge pass by (BPE-dropout): it comes back into the queue
// once another merge is done, as in `tokenizers`.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "hash_tables.h"

namespace tilth {

/// A small generator (splitmix64) with the same numbers on every machine.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    /// Uniform in [0, 1).
    double next() {
        std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
        z = (z ^ z >> 27) * 0x94D049BB133111EB;
        return static_cast<double>((z ^ z >> 31) >> 11) * 0x1.0p-53;
    }

  private:
    std::uint64_t state_;
};

/// Merges `ids` in place. `find(left, right)` gives the Merge of two neighbours; `pass_by()` tells whether the merge
/// that is next is left out this time.
template <class Find, class PassBy>
void merge_with_queue(std::vector<std::uint32_t>& ids, Find&& find, PassBy&& pass_by) {
    const auto n = static_cast<std::uint32_t>(ids.size());
    std::vector<std::uint32_t> previous(n), next(n);
    for (std::uint32_t i = 0; i < n; ++i) previous[i] = i - 1, next[i] = i + 1;
    const auto merge_at = [&](std::uint32_t i) { return next[i] < n ? find(ids[i], ids[next[i]]) : Merge{}; };
    // An entry is rank and position in one number; one whose pair has changed since has another rank and is skipped.
    std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> queue;
    std::vector<std::uint64_t> passed_by;
    const auto push = [&](std::uint32_t i) {
        if (const Merge merge = merge_at(i); merge.rank != kNone) queue.push(pair_key(merge.rank, i));
    };
    for (std::uint32_t i = 0; i < n; ++i) push(i);
    while (!queue.empty()) {
        const std::uint64_t entry = queue.top();
        const auto i = static_cast<std::uint32_t>(entry);
        queue.pop();
        if (ids[i] == kNone) continue;
        const Merge merge = merge_at(i);
        if (merge.rank != static_cast<std::uint32_t>(entry >> 32)) continue;
        if (pass_by()) {
            passed_by.push_back(entry);
            continue;
        }
        for (const std::uint64_t waiting : passed_by) queue.push(waiting);
        passed_by.clear();
        const std::uint32_t gone = next[i];
        ids[i] = merge.id;
        ids[gone] = kNone;
        next[i] = next[gone];
        if (next[i] < n) previous[next[i]] = i;
        push(i);
        if (i > 0) push(previous[i]);
    }
    std::size_t size = 0;
    for (std::uint32_t i = 0; i < n; i = next[i]) ids[size++] = ids[i];
    ids.resize(size);
}

}  // namespace tilth
