#include "bpe_train.h"

#include <array>
#include <stdexcept>

#include "../unicode/character_class.h"

namespace tilth {

namespace {

constexpr int kMostWords = 4;  // of a superword

/// SuperBPE's limits on what a merge across words may make: words are what spaces separate.
bool is_good_superword(std::string_view bytes) {
    int words = 0;
    char previous = ' ';
    for (const char c : bytes) {
        if (c == ' ' && previous == ':') return false;
        if (c != ' ' && previous == ' ') ++words;
        previous = c;
    }
    return words <= kMostWords;
}

template <class Visit>
void for_each_character(std::string_view text, Visit&& visit) {
    const char* const end = text.data() + text.size();
    for (const char* p = text.data(); p < end;) {
        const std::size_t length = character_at(p, end).length;
        visit(std::string_view(p, length));
        p += length;
    }
}

}  // namespace

bool BpeTrainer::IsWorse::operator()(const Entry& a, const Entry& b) const {
    if (a.count != b.count) return a.count < b.count;
    const Pair one = trainer->pairs_[a.pair].pair, other = trainer->pairs_[b.pair].pair;
    if (trainer->rules_.tie_break == TieBreak::kLowestPair) return one > other;
    const auto& tokens = trainer->tokens_;
    const int left = tokens[one >> 32].compare(tokens[other >> 32]);
    if (left != 0) return left < 0;
    return tokens[one & kNone] < tokens[other & kNone];
}

BpeTrainer::BpeTrainer(std::vector<std::string> tokens, const TrainingRules& rules)
    : rules_(rules), tokens_(std::move(tokens)), index_(1 << 12, kNone), queue_(IsWorse{this}) {
    for (std::uint32_t id = 0; id < tokens_.size(); ++id) {
        if (!tokens_[id].empty() && !ids_.emplace(tokens_[id], id).second) {
            throw std::invalid_argument("token " + std::to_string(id) + " is there twice");
        }
    }
}

BpeTrainer::BpeTrainer(const PieceCounts& pieces, std::vector<std::string> tokens, Symbols symbols,
                       const TrainingRules& rules)
    : BpeTrainer(std::move(tokens), rules) {
    const auto id_of = [&](std::string_view symbol) {
        const auto found = ids_.find(std::string(symbol));
        return found == ids_.end() ? kNone : found->second;
    };
    std::array<std::uint32_t, 256> byte_ids;
    for (int byte = 0; byte < 256; ++byte) {
        const char c = static_cast<char>(byte);
        byte_ids[static_cast<std::size_t>(byte)] = id_of({&c, 1});
        if (symbols == Symbols::kBytes && byte_ids[static_cast<std::size_t>(byte)] == kNone) {
            throw std::invalid_argument("no token for the byte " + std::to_string(byte));
        }
    }
    const auto sorted = pieces.sorted(rules.minimum_piece_count);
    std::size_t n_symbols = 0;
    for (const auto& [piece, count] : sorted) n_symbols += piece.size();
    reserve(n_symbols);
    std::vector<std::uint32_t> ids;
    for (const auto& [piece, count] : sorted) {
        ids.clear();
        if (symbols == Symbols::kBytes) {
            for (const char c : piece) ids.push_back(byte_ids[static_cast<unsigned char>(c)]);
        } else {
            for_each_character(piece, [&](std::string_view character) {
                const bool is_space = character == "\u2581";
                ids.push_back(is_space ? byte_ids[' '] : id_of(character));
            });
        }
        add_symbols(ids.data(), ids.size(), count);
    }
    fill_queue();
}

BpeTrainer::BpeTrainer(const PieceCounts& pieces, std::vector<std::string> tokens, const Encode& encode,
                       const TrainingRules& rules)
    : BpeTrainer(std::move(tokens), rules) {
    const auto sorted = pieces.sorted(rules.minimum_piece_count);
    std::vector<std::uint32_t> ids;
    std::vector<std::size_t> ends;
    ends.reserve(sorted.size());
    for (const auto& [piece, count] : sorted) {
        encode(piece, ids);
        ends.push_back(ids.size());
    }
    reserve(ids.size());
    std::size_t start = 0;
    for (std::size_t i = 0; i < sorted.size(); start = ends[i++]) {
        add_symbols(ids.data() + start, ends[i] - start, sorted[i].count);
    }
    fill_queue();
}

void BpeTrainer::reserve(std::size_t n_symbols) {
    if (n_symbols >= kNone) throw std::length_error("2^32 symbols or more of distinct pieces to train on");
    symbols_.reserve(n_symbols);
}

/// Adds a piece; nothing merges across a kNone among its ids.
void BpeTrainer::add_symbols(const std::uint32_t* ids, std::size_t n, std::int64_t count) {
    for (std::size_t start = 0, stop = 0; start < n; start = stop + 1) {
        for (stop = start; stop < n && ids[stop] != kNone;) ++stop;
        if (stop - start < 2) continue;  // nothing to merge
        const auto piece = static_cast<std::uint32_t>(piece_counts_.size());
        piece_counts_.push_back(count);
        for (std::size_t i = start; i < stop; ++i) {
            const auto position = static_cast<std::uint32_t>(symbols_.size());
            symbols_.push_back({ids[i], i > start ? position - 1 : kNone, i + 1 < stop ? position + 1 : kNone, piece});
            if (i > start) change(position - 1, position, 1, nullptr);
        }
    }
}

void BpeTrainer::fill_queue() {
    std::vector<Entry> entries;
    entries.reserve(pairs_.size());
    for (std::uint32_t i = 0; i < pairs_.size(); ++i) entries.push_back({pairs_[i].count, i});
    queue_ = decltype(queue_)(IsWorse{this}, std::move(entries));
}

/// Where in pairs_ a pair is; it is added if it is not there.
std::uint32_t BpeTrainer::index_of(Pair pair) {
    const std::size_t mask = index_.size() - 1;
    std::size_t slot = mix(pair) & mask;
    while (index_[slot] != kNone && pairs_[index_[slot]].pair != pair) slot = (slot + 1) & mask;
    if (index_[slot] != kNone) return index_[slot];
    const auto added = static_cast<std::uint32_t>(pairs_.size());
    pairs_.push_back({pair, 0, {}});
    index_[slot] = added;
    if (2 * pairs_.size() > index_.size()) grow_index();
    return added;
}

void BpeTrainer::grow_index() {
    index_.assign(4 * index_.size(), kNone);
    const std::size_t mask = index_.size() - 1;
    for (std::uint32_t i = 0; i < pairs_.size(); ++i) {
        std::size_t slot = mix(pairs_[i].pair) & mask;
        while (index_[slot] != kNone) slot = (slot + 1) & mask;
        index_[slot] = i;
    }
}

/// Notes that the pair at these two positions appeared (sign 1) or disappeared (-1); new pairs go to `fresh`.
void BpeTrainer::change(std::uint32_t left_position, std::uint32_t right_position, int sign,
                        std::vector<std::uint32_t>* fresh) {
    const std::size_t n_before = pairs_.size();
    const std::uint32_t index = index_of(pair_key(symbols_[left_position].id, symbols_[right_position].id));
    pairs_[index].count += sign * piece_counts_[symbols_[left_position].piece];
    if (sign > 0) pairs_[index].positions.push_back(left_position);
    if (pairs_.size() > n_before && fresh != nullptr) fresh->push_back(index);
}

std::size_t BpeTrainer::merge(std::size_t count) {
    if (is_interrupted_) throw std::logic_error("a merge was interrupted by an error: make a new trainer");
    is_interrupted_ = true;  // until all is done: an exception leaves counts and symbols that do not fit each other
    std::size_t done = 0;
    while (done < count && !queue_.empty()) {
        const Entry top = queue_.top();
        queue_.pop();
        // Counts only fall after a pair has come up, so an entry that is out of date goes back with its new count.
        const std::int64_t now = pairs_[top.pair].count;
        if (now < top.count) {
            if (now > 0) queue_.push({now, top.pair});
            continue;
        }
        if (top.count < rules_.minimum_pair_count) {
            queue_.push(top);
            break;
        }
        if (may_merge(pairs_[top.pair].pair)) done += merge_pair(top.pair);
    }
    is_interrupted_ = false;
    return done;
}

bool BpeTrainer::may_merge(Pair pair) const {
    const std::string &left = tokens_[pair >> 32], &right = tokens_[pair & kNone];
    if (left.size() + right.size() > rules_.longest_token) return false;
    return !rules_.superwords || is_good_superword(left + right);
}

std::uint32_t BpeTrainer::id_of_merged(std::uint32_t left, std::uint32_t right) {
    std::string bytes = tokens_[left] + tokens_[right];
    const auto [found, is_new] = ids_.try_emplace(bytes, static_cast<std::uint32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(std::move(bytes));
    return found->second;
}

/// Returns whether it made a new token.
bool BpeTrainer::merge_pair(std::uint32_t index) {
    const Pair pair = pairs_[index].pair;
    const auto left = static_cast<std::uint32_t>(pair >> 32), right = static_cast<std::uint32_t>(pair);
    const std::size_t n_before = tokens_.size();
    const std::uint32_t merged = id_of_merged(left, right);
    merges_.emplace_back(left, right);
    const std::vector<std::uint32_t> positions = std::move(pairs_[index].positions);
    pairs_[index].positions.clear();
    std::vector<std::uint32_t> fresh;
    for (const std::uint32_t position : positions) {
        Symbol& symbol = symbols_[position];
        if (symbol.id != left || symbol.next == kNone || symbols_[symbol.next].id != right) continue;
        Symbol& gone = symbols_[symbol.next];
        if (symbol.previous != kNone) change(symbol.previous, position, -1, nullptr);
        if (gone.next != kNone) change(symbol.next, gone.next, -1, nullptr);
        symbol.id = merged;
        symbol.next = gone.next;
        gone.id = kNone;
        if (symbol.next != kNone) symbols_[symbol.next].previous = position;
        if (symbol.previous != kNone) change(symbol.previous, position, 1, &fresh);
        if (symbol.next != kNone) change(position, symbol.next, 1, &fresh);
    }
    for (const std::uint32_t made : fresh) {
        if (pairs_[made].count > 0) queue_.push({pairs_[made].count, made});
    }
    return tokens_.size() > n_before;
}

}  // namespace tilth
