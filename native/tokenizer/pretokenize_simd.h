// Walks over the pieces of a text, 64 bytes at a time where the processor can.
//
// A window of 64 bytes that begins at a piece is classified into bit masks, and shifts and sums of those say where
// pieces start. Only what the window alone decides is taken; the rest, and everything that is not ASCII, goes piece
// by piece through the functions of pretokenize.h, the ground truth. The instruction set is chosen when the module
// loads: AVX-512BW, AVX2, NEON or none.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "pretokenize.h"

namespace tilth {

class PieceWalker {
  public:
    PieceWalker(Pattern pattern, std::string_view text)
        : p_(text.data()), end_(text.data() + text.size()), pattern_(pattern), piece_end_(piece_end_of(pattern)) {}

    /// Writes where the next pieces end, up to `capacity` (at least kWindow) of them, and returns how many; 0 at the
    /// end of the text. The first piece starts where the last of the call before ended.
    std::size_t next(const char** ends, std::size_t capacity);

    static constexpr std::size_t kWindow = 64;

  private:
    const char* p_;
    const char* const end_;
    const Pattern pattern_;
    const PieceEnd piece_end_;
};

/// The instruction sets that this machine can run, the best first; "scalar" is always there.
std::string instruction_sets();

/// Chooses one of them by name, for tests. Raises std::invalid_argument if the machine cannot run it.
void use_instruction_set(const std::string& name);

/// Calls `visit(std::string_view piece)` for each piece of `text` in order.
template <class Visit>
void for_each_piece(Pattern pattern, std::string_view text, Visit&& visit) {
    constexpr std::size_t kPieces = 512;
    const char* ends[kPieces];
    PieceWalker walker(pattern, text);
    const char* start = text.data();
    while (const std::size_t n = walker.next(ends, kPieces)) {
        for (std::size_t i = 0; i < n; start = ends[i++]) {
            visit(std::string_view(start, static_cast<std::size_t>(ends[i] - start)));
        }
    }
}

/// A position at or behind `from` where a piece ends in any text that has these characters there, in every
/// context; text.size() if there is none. So the two parts may be cut into pieces apart.
std::size_t safe_cut(std::string_view text, std::size_t from);

}  // namespace tilth
