// How often each distinct piece of a text occurs: what training learns from.
//
// Pieces of up to 15 bytes are their own keys in a flat table; longer ones, a few in a hundred, are in a map. Counts
// have 64 bits and are whole numbers, so that their order never matters. Counts go to files sorted by piece, which are
// merged as streams: counting and merging need no more memory than one table, however much text there is.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hash_tables.h"
#include "piece_key.h"
#include "pretokenize.h"
#include "special_tokens.h"

namespace tilth {

class PieceCounts {
  public:
    struct Counted {
        std::string_view piece;
        std::int64_t count;
    };

    PieceCounts() : slots_(kFirstSlots) {}

    void add(std::string_view piece, std::int64_t count);
    /// Counts the pieces of `text`, each as `weight`; special tokens divide it and are not counted.
    void add_text(std::string_view text, Pattern pattern, const SpecialTokens& specials, std::int64_t weight);
    void add_all(const PieceCounts& other);

    /// The number of distinct pieces.
    std::size_t size() const { return n_short_ + long_.size(); }

    /// Every piece of at least `minimum`, in order of its bytes, which this object holds.
    std::vector<Counted> sorted(std::int64_t minimum) const;

    /// How often each character of valid UTF-8 occurs in the pieces.
    std::map<std::string, std::int64_t> characters() const;

    /// Writes all pieces to `path`, in order. `label`, in ASCII, says how the text was cut; only counts of the
    /// same label may be added up. Raises std::runtime_error naming the file.
    void write(const std::string& path, const std::string& label) const;

    /// Adds the pieces of a file that occur at least `minimum` times there. Raises std::runtime_error naming a file
    /// that is no count file, is broken or cut off, or has another label.
    void read(const std::string& path, const std::string& label, std::int64_t minimum);

  private:
    static constexpr std::size_t kFirstSlots = 1 << 12;

    struct Slot {
        PieceKey key = {0, 0};
        std::int64_t count = 0;
    };
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view piece) const { return hash_bytes(piece); }
    };

    void add_segment(std::string_view segment, Pattern pattern, std::int64_t weight);
    void add_key(const PieceKey& key, std::uint64_t hash, std::int64_t count);
    void grow();

    std::vector<Slot> slots_;
    std::size_t n_short_ = 0;
    std::unordered_map<std::string, std::int64_t, Hash, std::equal_to<>> long_;
};

/// Adds up count files into one, holding a piece of each at a time. Raises as `PieceCounts::read`.
void merge_count_files(const std::vector<std::string>& paths, const std::string& out);

}  // namespace tilth
