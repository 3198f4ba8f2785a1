// Merging of one piece: of all adjacent pairs the one of lowest rank first, the leftmost of equals.
//
// A pair is asked for by a function `find(left id, right id, start, size)`, where the two tokens' bytes are at
// `start`, with 16 bytes to read from there. Short pieces look for the least of an array; long ones keep a heap, so
// that n bytes take O(n log n) whatever they are.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hash_tables.h"

namespace tilth {

/// What two adjacent bytes are before anything has merged.
struct ByteTokens {
    std::array<std::uint32_t, 256> ids;
    std::vector<Merge> merges = std::vector<Merge>(1 << 16);  // of two bytes, by left * 256 + right

    /// Notes a merge if it is one of two bytes.
    void add(std::string_view made, const Merge& merge) {
        if (made.size() == 2) merges[index_of_pair(made.data())] = merge;
    }

    std::uint32_t id(char c) const { return ids[static_cast<unsigned char>(c)]; }
    Merge merge(const char* p) const { return merges[index_of_pair(p)]; }

  private:
    static std::size_t index_of_pair(const char* p) {
        return static_cast<std::size_t>(static_cast<unsigned char>(p[0])) << 8 | static_cast<unsigned char>(p[1]);
    }
};

/// A rank and a position of 6 bits share a number.
constexpr std::size_t kShortPiece = 63;
constexpr std::uint32_t kMostMerges = std::uint32_t{1} << 25;

template <class Find>
void merge_short(std::string_view piece, const ByteTokens& bytes, const Find& find, std::vector<std::uint32_t>& out) {
    constexpr std::int32_t kNever = std::numeric_limits<std::int32_t>::max();
    char text[kShortPiece + 17];
    std::memcpy(text, piece.data(), piece.size());
    const std::size_t n = piece.size();
    // At each position where a token starts: its id, what it and the next become, and that rank with the position.
    std::uint32_t ids[kShortPiece], merged[kShortPiece];
    std::int32_t order[kShortPiece];
    std::uint64_t starts = (std::uint64_t{1} << n) - 1;
    const auto note = [&](std::size_t position, const Merge& merge) {
        merged[position] = merge.id;
        order[position] = merge.rank == kNone ? kNever : static_cast<std::int32_t>(merge.rank << 6 | position);
    };
    for (std::size_t i = 0; i + 1 < n; ++i) note(i, bytes.merge(text + i));
    for (std::size_t i = 0; i < n; ++i) ids[i] = bytes.id(text[i]);
    order[n - 1] = kNever;

    const auto next = [&](std::size_t position) {  // n at the end, where no bit is set
        const std::size_t first = position + 1;
        return std::min<std::size_t>(n, first + static_cast<std::size_t>(std::countr_zero(starts >> first)));
    };
    const auto look_up = [&](std::size_t left, std::size_t right) {
        note(left, find(ids[left], ids[right], text + left, next(right) - left));
    };
    for (;;) {
        // One by one: a vector would wait for the ranks that were just written.
        std::int32_t best = kNever;
        for (std::uint64_t left = starts; left != 0; left &= left - 1) {
            best = std::min(best, order[std::countr_zero(left)]);
        }
        if (best == kNever) break;
        const std::size_t position = static_cast<std::size_t>(best) & 63, gone = next(position);
        ids[position] = merged[position];
        starts &= ~(std::uint64_t{1} << gone);
        if (const std::size_t right = next(position); right < n) {
            look_up(position, right);
        } else {
            order[position] = kNever;
        }
        if (position > 0) {
            const std::uint64_t before = starts & ((std::uint64_t{1} << position) - 1);
            look_up(static_cast<std::size_t>(63 - std::countl_zero(before)), position);
        }
    }
    for (std::uint64_t left = starts; left != 0; left &= left - 1) out.push_back(ids[std::countr_zero(left)]);
}

template <class Find>
void merge_long(std::string_view piece, const ByteTokens& bytes, const Find& find, std::vector<std::uint32_t>& out) {
    if (piece.size() >= kNone) throw std::length_error("a piece of 4 GiB or more between two boundaries");
    struct Symbol {
        std::uint32_t id, previous, next;  // id == kNone: merged into its left neighbour
    };
    const auto n = static_cast<std::uint32_t>(piece.size());
    const std::string text = std::string(piece) + std::string(16, '\0');
    std::vector<Symbol> symbols(n);
    for (std::uint32_t i = 0; i < n; ++i) symbols[i] = {bytes.id(text[i]), i - 1, i + 1};
    const auto merge_at = [&](std::uint32_t i) {
        const std::uint32_t right = symbols[i].next;
        return right < n ? find(symbols[i].id, symbols[right].id, text.data() + i, symbols[right].next - i) : Merge{};
    };
    // Entries are rank and position in one number: the least is the lowest rank, leftmost. An entry whose pair has
    // changed since has another rank and is skipped.
    std::vector<std::uint64_t> entries;
    for (std::uint32_t i = 0; i + 1 < n; ++i) {
        if (const Merge merge = bytes.merge(text.data() + i); merge.rank != kNone) {
            entries.push_back(pair_key(merge.rank, i));
        }
    }
    std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> queue({}, std::move(entries));
    const auto push = [&](std::uint32_t i) {
        if (const Merge merge = merge_at(i); merge.rank != kNone) queue.push(pair_key(merge.rank, i));
    };
    while (!queue.empty()) {
        const auto rank = static_cast<std::uint32_t>(queue.top() >> 32);
        const auto i = static_cast<std::uint32_t>(queue.top());
        queue.pop();
        if (symbols[i].id == kNone) continue;
        const Merge merge = merge_at(i);
        if (merge.rank != rank) continue;
        Symbol& right = symbols[symbols[i].next];
        symbols[i].id = merge.id;
        symbols[i].next = right.next;
        right.id = kNone;
        if (symbols[i].next < n) symbols[symbols[i].next].previous = i;
        push(i);
        if (i > 0) push(symbols[i].previous);
    }
    for (std::uint32_t i = 0; i < n; i = symbols[i].next) out.push_back(symbols[i].id);
}

}  // namespace tilth
