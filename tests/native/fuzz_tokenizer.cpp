// Random texts through the native tokenizer, to be built with AddressSanitizer and UBSan (`make native-test`).
//
// What it asks: do all instruction sets cut alike, does the cached encoder give what merging piece by piece gives, do
// ids decode to the text, do texts cut into spans give the same ids, do broken count files end in an error, does
// training of all kinds end well, do vocabularies of a few tokens work or end in an error, is everything as it was after
// an allocation failed. Every text is in an allocation of its exact size, so that a byte read too much is found.
// Usage: fuzz_tokenizer [SECONDS] [SEED]
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "fuzz.h"
#include "tokenizer/bpe_dropout.h"
#include "tokenizer/bpe_encode.h"
#include "tokenizer/bpe_train.h"
#include "tokenizer/piece_counts.h"
#include "tokenizer/pretokenize_simd.h"
#include "tokenizer/superword_encode.h"
#include "tokenizer/superword_split.h"
#include "tokenizer/token_table.h"

using namespace tilth;

namespace {

constexpr Pattern kPatterns[] = {Pattern::kGpt2,   Pattern::kSmollm2, Pattern::kCl100k,
                                 Pattern::kLlama3, Pattern::kQwen2,   Pattern::kO200k};

std::vector<std::size_t> ends_of(std::string_view text, Pattern pattern) {
    std::vector<std::size_t> ends;
    for_each_piece(pattern, text, [&](std::string_view piece) {
        ends.push_back(static_cast<std::size_t>(piece.data() + piece.size() - text.data()));
    });
    return ends;
}

std::vector<std::string> words(const std::string& line) {
    std::istringstream stream(line);
    return {std::istream_iterator<std::string>(stream), {}};
}

void check_cuts(std::string_view text, Pattern pattern) {
    use_instruction_set("scalar");
    const auto expected = ends_of(text, pattern);
    check(text.empty() ? expected.empty() : expected.back() == text.size(), "pieces join up to the text");
    for (const std::string& name : words(instruction_sets())) {
        use_instruction_set(name);
        check(ends_of(text, pattern) == expected, "all instruction sets cut alike");
    }
    use_instruction_set(words(instruction_sets())[0]);
}

struct Model {
    std::vector<std::string> tokens;
    std::vector<TokenPair> merges;
    std::vector<std::uint32_t> special_ids;
};

/// Adds what the trainer learned behind the tokens it began with.
void take(const BpeTrainer& trainer, Model& model) {
    std::unordered_map<std::string, std::uint32_t> known;
    for (const std::string& token : model.tokens) known.emplace(token, 0);
    for (const TokenPair& pair : trainer.merges()) {
        model.merges.push_back(pair);
        const std::string token = model.tokens[pair.first] + model.tokens[pair.second];
        if (known.emplace(token, 0).second) model.tokens.push_back(token);
    }
}

/// A trainer whose merge was interrupted refuses to merge; one that could not be made is gone.
void check_training_without_memory(Dice& random, const PieceCounts& counts, const std::vector<std::string>& tokens) {
    std::optional<BpeTrainer> trainer;
    const auto make = [&] { trainer.emplace(counts, tokens, Symbols::kBytes, TrainingRules()); };
    if (is_ended_by_failing_allocation(random, 4000, make)) return;
    if (!is_ended_by_failing_allocation(random, 200, [&] { trainer->merge(20); })) return;
    bool is_refused = false;
    try {
        trainer->merge(20);
    } catch (const std::logic_error&) {
        is_refused = true;
    }
    check(is_refused, "an interrupted trainer refuses to merge");
}

/// Pieces apart first and then, half the time, words that may be joined.
Model train(Dice& random, Pattern pattern, const SpecialTokens& specials) {
    PieceCounts counts, across;
    for (int i = 0; i < 30; ++i) {
        const Exact text(random_text(random));
        counts.add_text(text.view(), pattern, specials, 1 + below(random, 3));
        std::size_t start = 0;
        for (const std::int64_t end : superword_ends(text.view(), static_cast<int>(below(random, 4)))) {
            across.add(text.view().substr(start, static_cast<std::size_t>(end) - start), 1);
            start = static_cast<std::size_t>(end);
        }
        check(start == text.size, "pieces for superwords join up to the text");
    }
    TrainingRules rules;
    rules.tie_break = random() % 2 ? TieBreak::kLexicographic : TieBreak::kLowestPair;
    Model model;
    for (int i = 0; i < 256; ++i) model.tokens.emplace_back(1, static_cast<char>(i));
    BpeTrainer trainer(counts, model.tokens, Symbols::kBytes, rules);
    trainer.merge(below(random, 400));
    take(trainer, model);
    if (random() % 2) {
        rules.superwords = true;
        const BpeEncoder encoder(model.tokens, {}, model.merges, false);
        const auto encode = [&](std::string_view piece, std::vector<std::uint32_t>& out) {
            encoder.encode_piece(piece, out);
        };
        BpeTrainer further(across, model.tokens, encode, rules);
        further.merge(below(random, 200));
        take(further, model);
    }
    check_training_without_memory(random, counts, model.tokens);
    BpeTrainer of_characters(across, {"a", " ", "漢", "é", "b"}, Symbols::kCharacters, rules);
    of_characters.merge(50);
    return model;
}

std::vector<std::uint32_t> encode(const BpeEncoder& encoder, std::string_view text, Pattern pattern,
                                  const SpecialTokens* specials) {
    VectorSink<std::uint32_t> sink(text.size());
    encoder.encode(text, pattern, specials, sink);
    return sink.values;
}

void check_encoding(const BpeEncoder& encoder, std::string_view text, Pattern pattern, const SpecialTokens& specials) {
    std::vector<std::uint32_t> expected;
    for_each_piece(pattern, text, [&](std::string_view piece) { encoder.encode_piece(piece, expected); });
    check(encode(encoder, text, pattern, nullptr) == expected, "cached ids are those of merging");
    check(encode(encoder, text, pattern, nullptr) == expected, "and again");
    std::string decoded;
    encoder.decode(expected.data(), expected.size(), decoded);
    check(decoded == text, "ids decode to the text");

    const auto whole = encode(encoder, text, pattern, &specials);
    VectorSink<std::uint32_t> in_spans(text.size());
    for (const Span& span : BpeEncoder::spans(text, &specials, 20)) encoder.encode(span, pattern, in_spans);
    check(in_spans.values == whole, "spans give the ids of the whole");
    std::vector<std::uint16_t> narrow(whole.size() / 2);
    ArraySink<std::uint16_t> sink(narrow.data(), narrow.size());
    encoder.encode(text, pattern, &specials, sink);
    check(sink.count == whole.size(), "what does not fit is counted");
}

/// Without dropout the same ids as merging, with it the same text.
void check_dropout(Dice& random, const BpeEncoder& encoder, const BpeDropout& dropout, std::string_view text,
                   Pattern pattern) {
    std::vector<std::uint32_t> expected, without, with;
    tilth::Random chance(random());
    for_each_piece(pattern, text, [&](std::string_view piece) {
        encoder.encode_piece(piece, expected);
        dropout.encode_piece(piece, 0, chance, without);
        dropout.encode_piece(piece, 0.4, chance, with);
    });
    check(without == expected, "a dropout of 0 leaves nothing out");
    std::string decoded;
    encoder.decode(with.data(), with.size(), decoded);
    check(decoded == text, "dropout keeps the text");
}

/// An encoder that met a lack of memory gives the ids of one that did not.
void check_encoding_without_memory(Dice& random, const BpeEncoder& encoder, std::string_view text, Pattern pattern) {
    std::vector<std::uint32_t> expected;
    for_each_piece(pattern, text, [&](std::string_view piece) { encoder.encode_piece(piece, expected); });
    is_ended_by_failing_allocation(random, 12, [&] { encode(encoder, text, pattern, nullptr); });
    check(encode(encoder, text, pattern, nullptr) == expected, "ids after a failed allocation are those of merging");
}

/// What could not be added leaves counts as they were.
void check_counting_without_memory(Dice& random) {
    PieceCounts counts;
    std::map<std::string, std::int64_t> expected;
    for (int i = 0; i < 6000; ++i) {
        const char* const suffix = below(random, 9) == 0 ? "-is-a-long-piece" : "";
        const std::string piece = std::to_string(below(random, 5000)) + suffix;
        const bool is_ended = is_ended_by_failing_allocation(random, 2, [&] { counts.add(piece, 1); });
        if (!is_ended) ++expected[piece];
    }
    const auto sorted = counts.sorted(1);
    const auto is_same = [](const auto& a, const auto& b) { return a.piece == b.first && a.count == b.second; };
    check(std::equal(sorted.begin(), sorted.end(), expected.begin(), expected.end(), is_same), "counts are exact");
}

/// Byte-level vocabularies that lack bytes are refused; tables of a few tokens find them.
void check_tiny_vocabularies(Dice& random) {
    const std::size_t n = below(random, 5);
    std::vector<std::string> tokens;
    TokenTable table(n);
    for (std::size_t i = 0; i < n; ++i) {
        tokens.push_back(std::string(i, 'x') + kBits[below(random, std::size(kBits))]);
        const std::uint32_t found = table.find(tokens[i]);
        check(table.insert(tokens[i], static_cast<std::uint32_t>(i)) == (found == kNone), "a token is inserted once");
        check(table.find(tokens[i]) == (found == kNone ? i : found), "a token of a few is found");
    }
    check(table.find("no token") == kNone && table.find("of which there is none so long") == kNone, "and no other");
    const auto is_refused = [](const auto& make) {
        try {
            make();
        } catch (const std::invalid_argument&) {
            return true;
        }
        return false;
    };
    check(is_refused([&] { BpeEncoder(tokens, {}, std::vector<TokenPair>(), false); }), "a vocabulary without bytes is refused");
    check(is_refused([&] { BpeEncoder::from_ranks(tokens, {}); }), "ranks without bytes are refused");
    check(is_refused([&] { SuperwordEncoder(tokens, {}, {}, 3); }), "superwords without bytes are refused");
    check(is_refused([&] { BpeDropout(tokens, {}, {}); }), "dropout without bytes is refused");
}

void check_count_files(Dice& random, const std::filesystem::path& folder) {
    PieceCounts counts;
    for (int i = 0; i < 5; ++i) counts.add(random_text(random), 1 + static_cast<std::int64_t>(below(random, 9)));
    const std::string good = folder / "good", bad = folder / "bad", merged = folder / "merged";
    counts.write(good, "label");
    merge_count_files({good, good}, merged);
    std::ifstream file(good, std::ios::binary);
    std::string data{std::istreambuf_iterator<char>(file), {}};
    if (below(random, 2) == 0) data.resize(below(random, data.size()));
    for (std::size_t i = below(random, 4); i > 0 && !data.empty(); --i) data[below(random, data.size())] ^= 1 << below(random, 8);
    std::ofstream(bad, std::ios::binary) << data;
    try {
        merge_count_files({good, bad}, merged);
        PieceCounts().read(bad, "label", 1);
    } catch (const std::runtime_error&) {
    }
}

}  // namespace

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 20;
    Dice random(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1);
    const auto folder = std::filesystem::temp_directory_path() / ("tilth-fuzz-" + std::to_string(random()));
    std::filesystem::create_directory(folder);
    const auto start = std::chrono::steady_clock::now();
    std::size_t texts = 0;
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
        const Pattern pattern = kPatterns[below(random, std::size(kPatterns))];
        Model model = train(random, pattern, SpecialTokens({{"<s>", 0}, {"<s><t>", 0}}));
        const auto n = static_cast<std::uint32_t>(model.tokens.size());
        const SpecialTokens specials({{"<s>", n}, {"<s><t>", n + 1}});
        model.tokens.insert(model.tokens.end(), {"<s>", "<s><t>"});
        const BpeEncoder by_merges(model.tokens, {n, n + 1}, model.merges, below(random, 2) == 0);
        const BpeEncoder merging(model.tokens, {n, n + 1}, model.merges, false);
        const BpeDropout dropout(model.tokens, {n, n + 1}, model.merges);
        const BpeEncoder by_ranks = BpeEncoder::from_ranks(model.tokens, {n, n + 1});
        const SuperwordEncoder by_words(model.tokens, {n, n + 1}, model.merges, 3);
        const BpeEncoder merged(model.tokens, {n, n + 1}, model.merges, false);
        for (int i = 0; i < 50; ++i, ++texts) {
            const Exact text(random_text(random));
            std::vector<std::uint32_t> whole, in_words;
            if (text.size > 0) merged.encode_piece(text.view(), whole);
            by_words.encode_piece(text.view(), in_words);
            check(in_words == whole, "words first and then across them gives the same ids");
            for (const Pattern any : kPatterns) check_cuts(text.view(), any);
            check_encoding_without_memory(random, by_merges, text.view(), pattern);
            check_encoding_without_memory(random, by_ranks, text.view(), pattern);
            check_encoding(by_merges, text.view(), pattern, specials);
            check_encoding(by_ranks, text.view(), pattern, specials);
            check_dropout(random, merging, dropout, text.view(), pattern);
        }
        check_count_files(random, folder);
        check_counting_without_memory(random);
        check_tiny_vocabularies(random);
        fuzz_sentencepiece(random);
    }
    std::filesystem::remove_all(folder);
    std::printf("%zu texts, no difference\n", texts);
}
