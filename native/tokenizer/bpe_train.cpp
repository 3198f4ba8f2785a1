#include "bpe_train.h"

#include <stdexcept>

namespace tilth {

bool BpeTrainer::IsWorse::operator()(const Entry& a, const Entry& b) const {
    if (a.count != b.count) return a.count < b.count;
    if (trainer->tie_break_ == TieBreak::kLowestPair) return a.pair > b.pair;
    const auto& tokens = trainer->tokens_;
    const int left = tokens[a.pair >> 32].compare(tokens[b.pair >> 32]);
    if (left != 0) return left < 0;
    return tokens[a.pair & kNone] < tokens[b.pair & kNone];
}

BpeTrainer::BpeTrainer(const PieceCounts& pieces, TieBreak tie_break,
                       const std::array<unsigned char, 256>& byte_order, const Limits& limits)
    : tie_break_(tie_break), limits_(limits), queue_(IsWorse{this}) {
    std::array<std::uint32_t, 256> byte_ids;
    for (std::uint32_t id = 0; id < 256; ++id) {
        byte_ids[byte_order[id]] = id;
        tokens_.emplace_back(1, static_cast<char>(byte_order[id]));
        ids_.emplace(tokens_.back(), id);
    }
    std::size_t n_symbols = 0;
    const auto sorted = pieces.sorted(limits.minimum_piece_count);
    for (const auto& [piece, count] : sorted) n_symbols += piece.size();
    if (n_symbols >= kNone) throw std::length_error("more than 4 GiB of distinct pieces to train on");
    symbols_.reserve(n_symbols);
    for (const auto& [piece, count] : sorted) add_piece(piece, count, byte_ids);
    for (const auto& [pair, occurrences] : pairs_) queue_.push({occurrences.count, pair});
}

void BpeTrainer::add_piece(std::string_view piece, std::int64_t count,
                           const std::array<std::uint32_t, 256>& byte_ids) {
    const auto piece_index = static_cast<std::uint32_t>(piece_counts_.size());
    const auto start = static_cast<std::uint32_t>(symbols_.size());
    const auto end = start + static_cast<std::uint32_t>(piece.size());
    piece_counts_.push_back(count);
    for (std::uint32_t i = start; i < end; ++i) {
        const std::uint32_t id = byte_ids[static_cast<unsigned char>(piece[i - start])];
        symbols_.push_back({id, i > start ? i - 1 : kNone, i + 1 < end ? i + 1 : kNone, piece_index});
        if (i > start) change(i - 1, i, 1, nullptr);
    }
}

/// Notes that the pair at these two places came up (sign 1) or went away (-1); new pairs go to `fresh`.
void BpeTrainer::change(std::uint32_t left_place, std::uint32_t right_place, int sign, std::vector<Pair>* fresh) {
    const Pair pair = pair_key(symbols_[left_place].id, symbols_[right_place].id);
    const auto [found, is_new] = pairs_.try_emplace(pair);
    found->second.count += sign * piece_counts_[symbols_[left_place].piece];
    if (sign > 0) found->second.places.push_back(left_place);
    if (is_new && fresh != nullptr) fresh->push_back(pair);
}

std::size_t BpeTrainer::merge(std::size_t count) {
    std::size_t done = 0;
    while (done < count && !queue_.empty()) {
        const Entry top = queue_.top();
        queue_.pop();
        // Counts only fall after a pair has come up, so an entry that is out of date goes back with its new count.
        const std::int64_t now = pairs_.at(top.pair).count;
        if (now < top.count) {
            if (now > 0) queue_.push({now, top.pair});
            continue;
        }
        if (top.count < limits_.minimum_pair_count) {
            queue_.push(top);
            break;
        }
        if (tokens_[top.pair >> 32].size() + tokens_[top.pair & kNone].size() > limits_.longest_token) continue;
        done += merge_pair(top.pair);
    }
    return done;
}

std::uint32_t BpeTrainer::id_of_merged(std::uint32_t left, std::uint32_t right) {
    std::string bytes = tokens_[left] + tokens_[right];
    const auto [found, is_new] = ids_.try_emplace(bytes, static_cast<std::uint32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(std::move(bytes));
    return found->second;
}

/// Returns whether it made a new token.
bool BpeTrainer::merge_pair(Pair pair) {
    const auto left = static_cast<std::uint32_t>(pair >> 32), right = static_cast<std::uint32_t>(pair);
    const std::size_t n_before = tokens_.size();
    const std::uint32_t merged = id_of_merged(left, right);
    merges_.emplace_back(left, right);
    const std::vector<std::uint32_t> places = std::move(pairs_.at(pair).places);
    pairs_.at(pair).places.clear();
    std::vector<Pair> fresh;
    for (const std::uint32_t place : places) {
        Symbol& symbol = symbols_[place];
        if (symbol.id != left || symbol.next == kNone || symbols_[symbol.next].id != right) continue;
        Symbol& gone = symbols_[symbol.next];
        if (symbol.previous != kNone) change(symbol.previous, place, -1, nullptr);
        if (gone.next != kNone) change(symbol.next, gone.next, -1, nullptr);
        symbol.id = merged;
        symbol.next = gone.next;
        gone.id = kNone;
        if (symbol.next != kNone) symbols_[symbol.next].previous = place;
        if (symbol.previous != kNone) change(symbol.previous, place, 1, &fresh);
        if (symbol.next != kNone) change(place, symbol.next, 1, &fresh);
    }
    for (const Pair made : fresh) {
        if (const std::int64_t count = pairs_.at(made).count; count > 0) queue_.push({count, made});
    }
    return tokens_.size() > n_before;
}

}  // namespace tilth
