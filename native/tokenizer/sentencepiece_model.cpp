#include "sentencepiece_model.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace tilth {

namespace {

/// One after the other the fields of a message, which is a part of `content`.
class Fields {
  public:
    Fields(std::string_view content, std::string_view message)
        : content_(content), at_(message.data()), end_(message.data() + message.size()) {}

    std::uint64_t number = 0;
    bool is_varint = false;
    std::uint64_t value = 0;  // of a varint
    std::string_view bytes;   // of any other

    /// False at the end.
    bool next() {
        if (at_ == end_) return false;
        const std::uint64_t key = varint();
        number = key >> 3;
        is_varint = (key & 7) == 0;
        if (is_varint) {
            value = varint();
            return true;
        }
        std::uint64_t size = 0;
        switch (key & 7) {
            case 1: size = 8; break;
            case 2: size = varint(); break;
            case 5: size = 4; break;
            default: fail("there is no field of kind " + std::to_string(key & 7));
        }
        if (size > static_cast<std::uint64_t>(end_ - at_)) {
            fail("a field of " + std::to_string(size) + " bytes runs over the end");
        }
        bytes = {at_, static_cast<std::size_t>(size)};
        at_ += size;
        return true;
    }

    std::string_view need_bytes() const {
        if (is_varint) fail("expected bytes, found a number");
        return bytes;
    }
    std::uint64_t need_varint() const {
        if (!is_varint) fail("expected a number, found bytes");
        return value;
    }
    [[noreturn]] void fail(const std::string& why) const {
        throw std::invalid_argument("byte " + std::to_string(at_ - content_.data()) + ": " + why);
    }

  private:
    std::uint64_t varint() {
        std::uint64_t result = 0;
        for (int shift = 0; at_ < end_ && shift < 64; shift += 7) {
            const auto byte = static_cast<unsigned char>(*at_++);
            result |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) return result;
        }
        fail("a number is cut off");
    }

    std::string_view content_;
    const char* at_;
    const char* end_;
};

ModelPiece read_piece(std::string_view content, std::string_view message) {
    ModelPiece piece;
    for (Fields field(content, message); field.next();) {
        if (field.number == 1) {
            piece.text = field.need_bytes();
        } else if (field.number == 2) {
            if (field.need_bytes().size() != sizeof piece.score) field.fail("a score is no number of four bytes");
            std::memcpy(&piece.score, field.bytes.data(), sizeof piece.score);
        } else if (field.number == 3) {
            piece.kind = static_cast<std::uint8_t>(std::min<std::uint64_t>(field.need_varint(), 255));
        }
    }
    return piece;
}

}  // namespace

SentencePieceModel read_sentencepiece_model(std::string_view content) {
    SentencePieceModel model;
    for (Fields field(content, content); field.next();) {
        if (field.number == 1) {
            model.pieces.push_back(read_piece(content, field.need_bytes()));
        } else if (field.number <= 5 || !field.is_varint) {
            model.others.emplace_back(field.number, field.need_bytes());
        }
    }
    if (model.pieces.empty()) throw std::invalid_argument("it has no pieces");
    return model;
}

}  // namespace tilth
