// Byte-level BPE with merges left out at random (BPE-dropout, Provilkov et al. 2020): training on many cuts of a text.
//
// It has a table of its own: the exact encoder's shortcuts (whole pieces, caches) are right only without dropout.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "merge_queue.h"

namespace tilth {

class BpeDropout {
  public:
    /// Merges in order of rank; `tokens` holds bytes by id. Raises std::invalid_argument if a merge makes no token.
    BpeDropout(const std::vector<std::string>& tokens, const std::vector<std::uint32_t>& special_ids,
               const std::vector<std::pair<std::uint32_t, std::uint32_t>>& merges)
        : pairs_(merges.size()) {
        std::vector<bool> is_special(tokens.size());
        for (const std::uint32_t id : special_ids) is_special.at(id) = true;
        std::unordered_map<std::string_view, std::uint32_t> ids;
        for (std::uint32_t id = 0; id < tokens.size(); ++id) {
            if (!is_special[id] && !tokens[id].empty()) ids.try_emplace(tokens[id], id);
        }
        const auto id_of = [&](std::string_view token) {
            const auto found = ids.find(token);
            if (found == ids.end()) throw std::invalid_argument("a byte or a merge has no token");
            return found->second;
        };
        for (int byte = 0; byte < 256; ++byte) {
            const char c = static_cast<char>(byte);
            byte_ids_[static_cast<std::size_t>(byte)] = id_of({&c, 1});
        }
        for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
            const auto [left, right] = merges[rank];
            pairs_.insert(pair_key(left, right), {rank, id_of(tokens.at(left) + tokens.at(right))});
        }
    }

    /// Appends the ids of one piece; each merge that comes up passes by with probability `dropout`.
    void encode_piece(std::string_view piece, double dropout, Random& random, std::vector<std::uint32_t>& out) const {
        std::vector<std::uint32_t> ids;
        for (const char c : piece) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
        merge_with_queue(
            ids, [&](std::uint32_t left, std::uint32_t right) { return pairs_.find(pair_key(left, right)); },
            [&] { return random.next() < dropout; });
        out.insert(out.end(), ids.begin(), ids.end());
    }

  private:
    std::array<std::uint32_t, 256> byte_ids_;
    PairTable pairs_;
};

}  // namespace tilth
